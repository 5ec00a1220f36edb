"""LensResult -> a static HTML table: one row per layer, one column per position, cells coloured by two numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from bauklens.result.comparison import Comparison
from bauklens.result.result import LensResult
from bauklens.result.tokens import column_heads, visible
from bauklens.show.numbers import readable_magnitude, readable_probability

_LONGEST = 200
"""Characters of a token's text that a cell contains; the rest would never be seen."""


_MOST_CELLS = 2_500
"""The most cells of a static table in a page; a larger one needs the viewer."""


@dataclass(frozen=True)
class _Cell:
    text: str
    probability: str
    magnitude: str
    hover: str
    position: int


@dataclass(frozen=True)
class _Column:
    position: int
    token: str
    head: str
    generated: bool = False


@dataclass(frozen=True)
class _Row:
    layer: str
    text: str
    title: str
    quality: str
    cells: list[_Cell]


@cache
def templates() -> jinja2.Environment:
    """The templates in ``bauklens/viewer``; everything they show is escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent.parent / "viewer"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def table(result: LensResult, *, largest: float | None = None, hover: bool = True) -> Markup:
    """The table of a result.

    Every cell carries ``data-layer``, ``data-position``, and as CSS variables ``--p``, the top token's probability, and
    ``--m``, the magnitude over the largest, at most 1; a stylesheet makes colours of them.

    Args:
        largest: the magnitude at which the bar is full; by default :func:`largest_magnitude`.
        hover: whether every cell shows its top k on hover.
    """
    largest = largest_magnitude(result) if largest is None else largest
    columns = [
        _Column(int(position), *told, bool(generated))
        for position, told, generated in zip(result.positions, _heads(result), result.generated, strict=True)
    ]
    rows = _rows(result, columns, largest, hover)
    return Markup(templates().get_template("table.html").render(columns=columns, rows=rows))  # noqa: S704


def excerpt(result: LensResult) -> tuple[LensResult, str]:
    """The last positions of a result, as many as a static table can show, and a sentence that says so if not all."""
    count = max(1, _MOST_CELLS // len(result.layers))
    if len(result.positions) <= count:
        return result, ""
    columns = range(len(result.positions) - count, len(result.positions))
    said = (
        f"Without JavaScript you see only the last {count:,} of {len(result.positions):,} positions. The viewer shows "
        f"all of them, with the top {result.topk} of every cell."
    )
    return result.part(result.layers, columns), said


def comparison_table(comparison: Comparison) -> Markup:
    """The table of a comparison: the most probable token, of both lenses if they differ.

    ``--p`` is how little their top k have in common, ``--m`` how much their top tokens' probabilities differ.
    """
    one, other = comparison.one, comparison.other
    columns = [
        _Column(int(position), _both(told, told_there), _both(head, head_there))
        for position, (told, head), (told_there, head_there) in zip(
            one.positions, _heads(one), _heads(other), strict=True
        )
    ]
    texts = [{token_id: _text(text) for token_id, text in lens.vocabulary.items()} for lens in (one, other)]
    change = np.abs(comparison.difference("max_probability"))
    rows = []
    for row, layer in enumerate(one.layers):
        cells = []
        for place, column in enumerate(columns):
            lines = [f"layer {layer}, position {column.position}: {column.token}"]
            lines += [
                f"{name.replace('_', ' ')} {value[row, place]:.3g}" for name, value in comparison.measures.items()
            ]
            tops = []
            for lens, name, text in zip((one, other), comparison.names, texts, strict=True):
                tops.append(text[int(lens.top_ids[row, place, 0])])
                lines.append(f"{_text(name)}:")
                lines += [
                    f"{readable_probability(probability)}  {text[token_id]}"
                    for token_id, probability in zip(
                        lens.top_ids[row, place].tolist(), lens.top_probs[row, place].tolist(), strict=True
                    )
                ]
            apart = 1 - float(comparison.measures["overlap"][row, place])
            cells.append(
                _Cell(_both(*tops), _number(apart), _number(change[row, place]), "\n".join(lines), column.position)
            )
        rows.append(_Row(layer, _marked(comparison, layer), "", "", cells))
    return Markup(templates().get_template("table.html").render(columns=columns, rows=rows))  # noqa: S704


def _marked(comparison: Comparison, layer: str) -> str:
    """A layer's label, with the mark of a row that the decoder of one of the two has no map for."""
    return f"{layer}*" if any(layer in lens.unmapped for lens in (comparison.one, comparison.other)) else layer


def _heads(result: LensResult) -> list[tuple[str, str]]:
    """What each token is, with the character that it is a part of, and what the head of its column shows."""
    heads = column_heads(result.tokens, result.positions.tolist())
    return [
        (f"{_text(token)}, part of {_text(whole)}" if whole else _text(token), _text(head))
        for token, (head, whole) in zip(result.tokens, heads, strict=True)
    ]


def _both(one: str, other: str) -> str:
    return one if one == other else f"{one} | {other}"


def largest_magnitude(result: LensResult) -> float:
    """The largest magnitude from position 1 on, as position 0 dwarfs all others; of position 0 if there is no other."""
    later = result.magnitude[:, result.positions >= 1]
    magnitudes = later if later.size else result.magnitude
    return float(np.nan_to_num(magnitudes).max(initial=0.0))


def quality_legend(result: LensResult) -> str:
    """What the bars at the layers and the marks of rows mean; empty if there are none."""
    said = []
    if "kl" in result.quality:
        largest = readable_magnitude(_largest(result.quality["kl"]))
        said.append(f"bar at a layer: KL to the model’s own prediction on held-out text (full = {largest} nats)")
    if result.unmapped:
        said.append("*: the decoder has no map for this row, shown as in the logit lens")
    return "; ".join(said)


def _largest(values: np.ndarray) -> float:
    return float(values[np.isfinite(values)].max(initial=0.0))


def _head(result: LensResult, row: int) -> tuple[str, str, str]:
    """What the head of a row shows, what it says on hover, and how long its bar is."""
    layer = result.layers[row]
    known = {name: float(value[row]) for name, value in result.quality.items() if np.isfinite(value[row])}
    said = [f"layer {layer}"]
    if "kl" in known:
        said.append(f"KL to the model’s own prediction {readable_magnitude(known['kl'])} nats on held-out text")
    if "agreement" in known:
        said.append(f"the same top token in {100 * known['agreement']:.0f} %")
    bar = _number(known["kl"] / (_largest(result.quality["kl"]) or 1)) if "kl" in known else ""
    return f"{layer}*" if layer in result.unmapped else layer, "; ".join(said) if said[1:] else "", bar


def _rows(result: LensResult, columns: list[_Column], largest: float, hover: bool) -> Iterator[_Row]:
    texts = {token_id: _text(result.vocabulary[token_id]) for token_id in np.unique(result.top_ids).tolist()}
    relative = np.minimum(np.nan_to_num(result.magnitude) / (largest or 1.0), 1.0)
    for row, layer in enumerate(result.layers):
        cells = []
        for place, column in enumerate(columns):
            top = [
                (texts[token_id], probability)
                for token_id, probability in zip(
                    result.top_ids[row, place].tolist(), result.top_probs[row, place].tolist(), strict=True
                )
            ]
            lines = [f"layer {layer}, position {column.position}: {column.token}"]
            lines.append(f"magnitude {readable_magnitude(result.magnitude[row, place])}")
            lines += [f"{readable_probability(probability)}  {text}" for text, probability in top]
            cells.append(
                _Cell(
                    text=top[0][0],
                    probability=_number(top[0][1]),
                    magnitude=_number(relative[row, place]),
                    hover="\n".join(lines) if hover else "",
                    position=column.position,
                )
            )
        yield _Row(layer, *_head(result, row), cells)


def _text(text: str) -> str:
    seen = visible(text[: _LONGEST + 1])
    return seen[:_LONGEST] + "…" if len(seen) > _LONGEST else seen


def _number(value: float) -> str:
    """Three decimals without what CSS does not need: .83, 0, 1."""
    return f"{value:.3f}".rstrip("0").rstrip(".").removeprefix("0") or "0"

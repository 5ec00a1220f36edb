"""LensResult -> a static HTML table: one row per layer, one column per position, cells coloured by two numbers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from bauklens.result.columns import Band, column_head, column_name, is_part, is_unread
from bauklens.result.comparison import Comparison
from bauklens.result.result import LensResult
from bauklens.result.tokens import visible
from bauklens.show.folding import commonest, folded, folded_in_words
from bauklens.show.legends import largest_known, largest_magnitude
from bauklens.show.nouns import noun, spelling
from bauklens.show.numbers import readable_magnitude, readable_probability
from bauklens.show.sources import shortened

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
    number: str = ""
    """Its probability as text, for a table that has lost its style."""


@dataclass(frozen=True)
class _Column:
    position: int
    token: str
    generated: bool
    head: str = ""
    """What it shows, if that is not its token."""
    number: str = ""
    """What it shows above, if that is not its position."""
    kind: str = ""
    unread: bool = False
    """Whether nothing of the model's own confirms it."""


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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent.parent / "viewer"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["shortened"] = shortened
    environment.filters["hundredths"] = lambda number: _number(float(number), 2)
    return environment


def table(result: LensResult, *, largest: float | None = None, hover: bool = True, brief: bool = False) -> Markup:
    """The table of a result.

    Every cell carries ``data-layer``, ``data-position``, and as CSS variables ``--p``, the top token's probability, and
    ``--m``, the magnitude over the largest, at most 1; a stylesheet makes colours of them.

    Args:
        largest: the magnitude at which the bar is full; by default :func:`largest_magnitude`.
        hover: whether every cell shows its top k on hover.
        brief: for a table of a notebook, which is to be small and is also seen without its style: no hover texts and no
            ``data-`` attributes, but the probability as text, which the style hides.
    """
    largest = largest_magnitude(result) if largest is None else largest
    shown = folded(result)
    columns = [_band_column(result, each) if isinstance(each, Band) else _column(result, each) for each in shown]
    rows = _rows(result, columns, shown, largest, hover and not brief)
    return _rendered(columns, rows, noun(result), brief)


def _column(result: LensResult, place: int) -> _Column:
    position, generated = int(result.positions[place]), bool(result.generated[place])
    name, head = (_short(text(result, place)) for text in (column_name, column_head))
    kind = "part" if is_part(result, place) else ""
    return _Column(position, name, generated, head, kind=kind, unread=is_unread(result, place))


def _joint_column(one: LensResult, other: LensResult, place: int) -> _Column:
    """A column of two results, which may differ in it."""
    here, there = _column(one, place), _column(other, place)
    head = _both(here.head or here.token, there.head or there.token)
    unread = here.unread and there.unread
    return _Column(here.position, _both(here.token, there.token), False, head, kind=here.kind, unread=unread)


def _band_column(result: LensResult, band: Band) -> _Column:
    first, last = (int(result.positions[column]) for column in (band.first, band.last))
    name = f"{_short(band.name)}, {band.size}, to position {last}"
    number = _short(band.name.rpartition(", ")[2])
    unread = all(is_unread(result, place) for place in band.columns)
    return _Column(first, name, generated=False, head=band.size, number=number, kind="part", unread=unread)


def _short(text: str) -> str:
    return text[:_LONGEST] + "…" if len(text) > _LONGEST else text


def excerpt(result: LensResult) -> tuple[LensResult, str]:
    """The last positions of a result, as many as a static table can show, and a sentence that says so if not all."""
    count = max(1, _MOST_CELLS // len(result.layers))
    shown = folded(result)
    if len(shown) <= count:
        return result, folded_in_words(shown)
    first = shown[-count]
    columns = range(first.first if isinstance(first, Band) else first, len(result.positions))
    left_out = (
        f"Without JavaScript you see only the last {len(columns):,} of {len(result.positions):,} positions. The viewer "
        f"shows all of them, with the top {result.topk} of every cell."
    )
    part = result.part(result.layers, columns)
    return part, " ".join(filter(None, (left_out, folded_in_words(folded(part)))))


def comparison_table(comparison: Comparison, *, brief: bool = False) -> Markup:
    """The table of a comparison: the most probable token, of both lenses if they differ.

    ``--p`` is how little their top k have in common, ``--m`` how much their top tokens' probabilities differ.

    Args:
        brief: as for :func:`table`.
    """
    one, other = comparison.one, comparison.other
    shown = folded(one)
    columns = [_band_column(one, each) if isinstance(each, Band) else _joint_column(one, other, each) for each in shown]
    texts = [
        {token_id: _text(text, spelling(lens)) for token_id, text in lens.vocabulary.items()} for lens in (one, other)
    ]
    change = np.abs(comparison.difference("max_probability"))
    apart_by = 1 - comparison.measures["overlap"]
    rows = []
    for row, layer in enumerate(one.layers):
        cells = []
        for place, column in zip(shown, columns, strict=True):
            if isinstance(place, Band):
                cells.append(_joint_band_cell(comparison, row, place, column, texts, (apart_by, change)))
                continue
            lines = [f"layer {layer}, position {column.position}: {column.token}"]
            lines += [
                f"{name.replace('_', ' ')} {value[row, place]:.3g}" for name, value in comparison.measures.items()
            ]
            tops, numbers = [], []
            for lens, name, text in zip((one, other), comparison.names, texts, strict=True):
                tops.append(text[int(lens.top_ids[row, place, 0])])
                numbers.append(f"{lens.top_probs[row, place, 0]:.2f}")
                lines.append(f"{_text(name, visible)}:")
                lines += [
                    f"{readable_probability(probability)}  {text[token_id]}"
                    for token_id, probability in zip(
                        lens.top_ids[row, place].tolist(), lens.top_probs[row, place].tolist(), strict=True
                    )
                ]
            apart = float(apart_by[row, place])
            hover = "" if brief else "\n".join(lines)
            change_here, number = _number(change[row, place]), " | ".join(numbers)
            cells.append(_Cell(_both(*tops), _number(apart), change_here, hover, column.position, number))
        rows.append(_Row(layer, _marked(comparison, layer), "", "", cells))
    return _rendered(columns, rows, noun(one), brief)


def _rendered(columns: list[_Column], rows: Iterable[_Row], predicted: str, brief: bool) -> Markup:
    told = {"columns": columns, "rows": rows, "predicted": predicted, "brief": brief}
    return Markup(templates().get_template("table.html").render(told))  # noqa: S704


def _marked(comparison: Comparison, layer: str) -> str:
    """A layer's label, with the mark of a row that the decoder of one of the two has no map for."""
    return f"{layer}*" if any(layer in lens.unmapped for lens in (comparison.one, comparison.other)) else layer


def _both(one: str, other: str) -> str:
    return one if one == other else f"{one} | {other}"


def _head(result: LensResult, row: int) -> tuple[str, str, str]:
    """What the head of a row shows, what it says on hover, and how long its bar is."""
    layer = result.layers[row]
    known = {name: float(value[row]) for name, value in result.quality.items() if np.isfinite(value[row])}
    said = [f"layer {layer}"]
    if "kl" in known:
        said.append(f"KL to the model’s own prediction {readable_magnitude(known['kl'])} nats on held-out text")
    if "agreement" in known:
        said.append(f"the same top token in {100 * known['agreement']:.0f} %")
    bar = _number(known["kl"] / (largest_known(result.quality["kl"]) or 1)) if "kl" in known else ""
    return f"{layer}*" if layer in result.unmapped else layer, "; ".join(said) if said[1:] else "", bar


def _rows(
    result: LensResult, columns: list[_Column], shown: list[int | Band], largest: float, hover: bool
) -> Iterator[_Row]:
    texts = {
        token_id: _text(result.vocabulary[token_id], spelling(result))
        for token_id in np.unique(result.top_ids).tolist()
    }
    relative = np.minimum(np.nan_to_num(result.magnitude) / (largest or 1.0), 1.0)
    for row, layer in enumerate(result.layers):
        cells = []
        for place, column in zip(shown, columns, strict=True):
            if isinstance(place, Band):
                cells.append(_band_cell(result, row, place, column, relative[row], texts, hover))
                continue
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
                    number=f"{top[0][1]:.2f}",
                )
            )
        yield _Row(layer, *_head(result, row), cells)


def _band_cell(
    result: LensResult,
    row: int,
    band: Band,
    column: _Column,
    relative: np.ndarray,
    texts: Mapping[int, str],
    hover: bool,
) -> _Cell:
    """The columns of a band in one layer: the token that leads most of them, and the means of their colours."""
    inside = slice(band.first, band.last + 1)
    found = commonest(result.top_ids[row, inside, 0].tolist())
    mean = float(result.top_probs[row, inside, 0].mean())
    lines = [f"layer {result.layers[row]}, {column.token} from position {column.position}"]
    lines.append(f"top {noun(result)}, and at how many of the {len(band.columns)} positions:")
    lines += [f"{count}  {texts[token]}" for token, count in found[: result.topk]]
    lines.append(f"mean probability of the top {noun(result)} {readable_probability(mean)}")
    return _Cell(
        text=f"{found[0][1]} {texts[found[0][0]]}",
        probability=_number(mean),
        magnitude=_number(float(relative[inside].mean())),
        hover="\n".join(lines) if hover else "",
        position=column.position,
    )


def _joint_band_cell(
    comparison: Comparison,
    row: int,
    band: Band,
    column: _Column,
    texts: Sequence[Mapping[int, str]],
    colours: Sequence[np.ndarray],
) -> _Cell:
    """The same of two lenses; ``colours`` are (layer, position)."""
    inside = slice(band.first, band.last + 1)
    tops = (lens.top_ids[row, inside, 0].tolist() for lens in (comparison.one, comparison.other))
    pair, count = commonest(zip(*tops, strict=True))[0]
    found = _both(*(text[token] for text, token in zip(texts, pair, strict=True)))
    probability, magnitude = (_number(float(value[row, inside].mean())) for value in colours)
    told = f"layer {comparison.one.layers[row]}, {column.token} from position {column.position}"
    hover = f"{told}: {found} at {count} of {len(band.columns)} positions, more than any other; colours are means"
    return _Cell(f"{count} {found}", probability, magnitude, hover, column.position)


def _text(text: str, written: Callable[[str], str]) -> str:
    seen = written(text[: _LONGEST + 1])
    return seen[:_LONGEST] + "…" if len(seen) > _LONGEST else seen


def _number(value: float, decimals: int = 3) -> str:
    """Few decimals, without what CSS does not need: .83, 0, 1."""
    return f"{value:.{decimals}f}".rstrip("0").rstrip(".").removeprefix("0") or "0"

"""LensResult -> a static HTML table: one row per layer, one column per position, cells coloured by two numbers."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from bauklens.result.columns import Band, column_head, column_name, is_part, is_unread
from bauklens.result.result import LensResult
from bauklens.show.folding import commonest, folded, folded_in_words
from bauklens.show.legends import largest_known, largest_magnitude
from bauklens.show.nouns import noun, spelling
from bauklens.show.numbers import readable_magnitude, readable_probability
from bauklens.show.sources import shortened

_LONGEST = 200
"""The most characters of a token's text in a cell; the rest would never be seen."""


_MOST_CELLS = 2_500
"""The most cells of a static table in a page; a larger one needs the viewer."""

_VERY_LARGE = 25_000
"""If a table has more cells, a page has only a short excerpt, so that it opens quickly."""

_SHORT = 1_000
"""The most cells of such an excerpt."""


_PART = 12
"""The columns of one part of a wide table: as many as fit on a printed page."""


@dataclass(frozen=True)
class Cell:
    """A cell, with its numbers in the form for the stylesheet."""

    text: str
    probability: str
    magnitude: str
    hover: str
    position: int
    kind: str = ""
    """``"gap"`` in a column that only one of two lenses has."""
    number: str = ""
    """Its probability as text, for a table that has lost its style."""
    edited: bool = False
    """Whether its state was edited."""


@dataclass(frozen=True)
class Column:
    """A column's head."""

    position: int
    token: str
    generated: bool
    head: str = ""
    """The text shown, if that is not its token."""
    number: str = ""
    """The text shown above, if that is not its position."""
    kind: str = ""
    unread: bool = False
    """Whether no output of the model confirms it."""


@dataclass(frozen=True)
class Row:
    """A row, with its head."""

    layer: str
    text: str
    title: str
    quality: str
    cells: list[Cell]


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
    environment.filters["hundredths"] = lambda number: css_number(float(number), 2)
    return environment


def table(result: LensResult, *, largest: float | None = None, hover: bool = True, brief: bool = False) -> Markup:
    """The table of a result.

    Every cell has ``data-layer``, ``data-position``, and as CSS variables ``--p``, the top token's probability, and
    ``--m``, the magnitude over the largest, at most 1; a stylesheet turns them into colours.

    Args:
        largest: the magnitude at which the bar is full; by default :func:`largest_magnitude`.
        hover: whether every cell shows its top k on hover.
        brief: for a notebook, whose table should be small and may be shown without its style: no hover texts and no
            ``data-`` attributes, but the probability as text, which the style hides.
    """
    largest = largest_magnitude(result) if largest is None else largest
    shown = folded(result)
    columns = [band_column(result, each) if isinstance(each, Band) else column_shown(result, each) for each in shown]
    rows = _rows(result, columns, shown, largest, hover and not brief)
    return rendered(columns, rows, noun(result), brief)


def column_shown(result: LensResult, place: int) -> Column:
    """The head of a column."""
    position, generated = int(result.positions[place]), bool(result.generated[place])
    name, head = (_short(text(result, place)) for text in (column_name, column_head))
    kind = "part" if is_part(result, place) else ""
    return Column(position, name, generated, head, kind=kind, unread=is_unread(result, place))


def band_column(result: LensResult, band: Band) -> Column:
    """The head of a band of columns that is shown as one."""
    first, last = (int(result.positions[column]) for column in (band.first, band.last))
    name = f"{_short(band.name)}, {band.size}, to position {last}"
    number = _short(band.name.rpartition(", ")[2])
    unread = all(is_unread(result, place) for place in band.columns)
    return Column(first, name, generated=False, head=band.size, number=number, kind="part", unread=unread)


def _short(text: str) -> str:
    return text[:_LONGEST] + "…" if len(text) > _LONGEST else text


def excerpt(result: LensResult) -> tuple[LensResult, str]:
    """The last positions of a result, as many as a static table can show, and a sentence if these are not all."""
    shown = folded(result)
    is_very_large = len(result.layers) * len(shown) > _VERY_LARGE
    count = max(1, (_SHORT if is_very_large else _MOST_CELLS) // len(result.layers))
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


def rendered(columns: list[Column], rows: Iterable[Row], predicted: str, brief: bool, corner: str = "layer") -> Markup:
    """The HTML; ``predicted`` comes from :func:`bauklens.show.nouns.noun`, ``brief`` as for :func:`table`,
    and ``corner`` what a row is.

    Unless it is brief, a table that is wider than a page is split into parts. The stylesheet puts them beside each
    other on a screen and below each other on paper.
    """
    parts = 1 if brief or len(columns) <= _PART else math.ceil(len(columns) / _PART)
    size = math.ceil(len(columns) / parts) or 1
    template, lines = templates().get_template("table.html"), list(rows)
    return Markup(
        "\n"
    ).join(
        Markup(  # noqa: S704
            template.render(
                columns=columns[first : first + size],
                rows=[replace(row, cells=row.cells[first : first + size]) for row in lines],
                predicted=predicted,
                brief=brief,
                corner=corner,
            )
        )
        for first in range(0, max(1, len(columns)), size)
    )


def _head(result: LensResult, row: int) -> tuple[str, str, str]:
    """The head of a row: its text, its hover text, and the length of its bar."""
    layer = result.layers[row]
    known = {name: float(value[row]) for name, value in result.quality.items() if np.isfinite(value[row])}
    said = [f"layer {layer}"]
    if "kl" in known:
        said.append(f"KL to the model’s own prediction {readable_magnitude(known['kl'])} nats on held-out text")
    if "agreement" in known:
        said.append(f"the same top token in {100 * known['agreement']:.0f} %")
    bar = css_number(known["kl"] / (largest_known(result.quality["kl"]) or 1)) if "kl" in known else ""
    return f"{layer}*" if layer in result.unmapped else layer, "; ".join(said) if said[1:] else "", bar


def _rows(
    result: LensResult, columns: list[Column], shown: list[int | Band], largest: float, hover: bool
) -> Iterator[Row]:
    texts = {
        token_id: cell_text(result.vocabulary[token_id], spelling(result))
        for token_id in np.unique(result.top_ids).tolist()
    }
    relative = np.minimum(np.nan_to_num(result.magnitude) / (largest or 1.0), 1.0)
    for row, layer in enumerate(result.layers):
        cells = []
        ids, probabilities = result.top_ids[row].tolist(), result.top_probs[row].tolist()
        magnitudes, bars = result.magnitude[row].tolist(), relative[row].tolist()
        was_edited = result.edited_cells[row].tolist()
        for place, column in zip(shown, columns, strict=True):
            if isinstance(place, Band):
                cells.append(_band_cell(result, row, place, column, relative[row], texts, hover))
                continue
            top = [
                (texts[token_id], probability)
                for token_id, probability in zip(ids[place], probabilities[place], strict=True)
            ]
            lines = []
            if hover:
                lines.append(f"layer {layer}, position {column.position}: {column.token}")
                lines += ["edited here"] if was_edited[place] else []
                lines.append(f"magnitude {readable_magnitude(magnitudes[place])}")
                lines += [f"{readable_probability(probability)}  {text}" for text, probability in top]
            cells.append(
                Cell(
                    text=top[0][0],
                    probability=css_number(top[0][1]),
                    magnitude=css_number(bars[place]),
                    hover="\n".join(lines),
                    position=column.position,
                    number=f"{top[0][1]:.2f}",
                    edited=was_edited[place],
                )
            )
        yield Row(layer, *_head(result, row), cells)


def _band_cell(
    result: LensResult,
    row: int,
    band: Band,
    column: Column,
    relative: np.ndarray,
    texts: Mapping[int, str],
    hover: bool,
) -> Cell:
    """The columns of a band in one layer: the token that leads most of them, and the means of their colours."""
    inside = slice(band.first, band.last + 1)
    found = commonest(result.top_ids[row, inside, 0].tolist())
    mean = float(result.top_probs[row, inside, 0].mean())
    lines = [f"layer {result.layers[row]}, {column.token} from position {column.position}"]
    lines.append(f"top {noun(result)}, and at how many of the {len(band.columns)} positions:")
    lines += [f"{count}  {texts[token]}" for token, count in found[: result.topk]]
    lines.append(f"mean probability of the top {noun(result)} {readable_probability(mean)}")
    return Cell(
        text=f"{found[0][1]} {texts[found[0][0]]}",
        probability=css_number(mean),
        magnitude=css_number(float(relative[inside].mean())),
        hover="\n".join(lines) if hover else "",
        position=column.position,
        edited=bool(result.edited_cells[row, inside].any()),
    )


def cell_text(text: str, written: Callable[[str], str]) -> str:
    """A text as a cell shows it, cut if it is too long."""
    seen = written(text[: _LONGEST + 1])
    return seen[:_LONGEST] + "…" if len(seen) > _LONGEST else seen


def css_number(value: float, decimals: int = 3) -> str:
    """Few decimals, as short as CSS allows: .83, 0, 1."""
    return f"{value:.{decimals}f}".rstrip("0").rstrip(".").removeprefix("0") or "0"

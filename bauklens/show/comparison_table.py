"""Comparison -> a static HTML table: what both lenses show in each cell, coloured by how far apart they are."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from bauklens.result.columns import Band
from bauklens.result.comparison import Comparison
from bauklens.result.result import LensResult
from bauklens.result.tokens import visible
from bauklens.show.folding import commonest, folded
from bauklens.show.joint import whole_lenses
from bauklens.show.nouns import noun, spelling
from bauklens.show.numbers import readable_probability
from bauklens.show.static_table import (
    Cell,
    Column,
    Row,
    band_column,
    cell_text,
    column_shown,
    css_number,
    rendered,
)

_Gap = tuple[int, int]
"""A column that only one of two lenses has: which lens, and its place in the whole lens."""

_Texts = Sequence[Mapping[int, str]]


def comparison_table(comparison: Comparison, *, brief: bool = False) -> Markup:
    """The table of a comparison: the most probable token, of both lenses if they differ.

    ``--p`` is the distance of the predictions (:attr:`bauklens.Comparison.distance`), ``--m`` is 1 if the top tokens
    differ. A column that only one of the two has shows its top token, and has the class ``gap``.

    Args:
        brief: as for :func:`bauklens.show.static_table.table`.
    """
    one, other = comparison.one, comparison.other
    shown = _shown(comparison)
    columns = [_column(comparison, each) for each in shown]
    texts = [
        {token_id: cell_text(text, spelling(lens)) for token_id, text in lens.vocabulary.items()}
        for lens in whole_lenses(comparison)
    ]
    rows = []
    for row, layer in enumerate(one.layers):
        cells = []
        for each, column in zip(shown, columns, strict=True):
            if isinstance(each, Band):
                cells.append(_band_cell(comparison, row, each, column, texts))
            elif isinstance(each, tuple):
                cells.append(_gap_cell(comparison, row, each, column, texts))
            else:
                cells.append(_cell(comparison, row, each, column, texts))
        marked = any(layer in lens.unmapped for lens in (one, other))
        rows.append(Row(layer, f"{layer}*" if marked else layer, "", "", cells))
    return rendered(columns, rows, noun(one), brief)


def _shown(comparison: Comparison) -> list[int | Band | _Gap]:
    """The columns of both in order: places of compared ones, bands of them, and columns that only one lens has."""
    compared = {column: each for each in folded(comparison.one) for column in _columns_of(each)}
    alignment = comparison.alignment or [(place, place) for place in range(len(comparison.one.positions))]
    shown: list[int | Band | _Gap] = []
    count = 0
    for here, there in alignment:
        if here is None or there is None:
            shown.append((0, here) if here is not None else (1, there or 0))
            continue
        shown.append(compared[count])
        count += 1
    return [*dict.fromkeys(shown)]


def _columns_of(each: int | Band) -> Sequence[int]:
    return each.columns if isinstance(each, Band) else [each]


def _column(comparison: Comparison, each: int | Band | _Gap) -> Column:
    if isinstance(each, Band):
        return band_column(comparison.one, each)
    if isinstance(each, tuple):
        return column_shown(whole_lenses(comparison)[each[0]], each[1])
    here, there = (column_shown(lens, each) for lens in (comparison.one, comparison.other))
    head = _both(here.head or here.token, there.head or there.token)
    unread = here.unread and there.unread
    return Column(here.position, _both(here.token, there.token), False, head, kind=here.kind, unread=unread)


def _cell(comparison: Comparison, row: int, place: int, column: Column, texts: _Texts) -> Cell:
    layer, distance = comparison.one.layers[row], float(comparison.distance[row, place])
    lines = [f"layer {layer}, position {column.position}: {column.token}"]
    least = "" if comparison.distance_is_known else "at least "
    lines.append(f"Jensen-Shannon distance {least}{distance:.3g}")
    lines += [f"{name.replace('_', ' ')} {value[row, place]:.3g}" for name, value in comparison.measures.items()]
    tops, numbers = [], []
    for lens, name, text in zip((comparison.one, comparison.other), comparison.short_names, texts, strict=True):
        tops.append(int(lens.top_ids[row, place, 0]))
        numbers.append(f"{lens.top_probs[row, place, 0]:.2f}")
        lines += [f"{cell_text(name, visible)}:", *_top(lens, row, place, text)]
    shown = _both(*(text[top] for text, top in zip(texts, tops, strict=True)))
    differ, hover, number = css_number(tops[0] != tops[1]), "\n".join(lines), " | ".join(numbers)
    edited = any(lens.edited_cells[row, place] for lens in (comparison.one, comparison.other))
    return Cell(shown, css_number(distance), differ, hover, column.position, number=number, edited=edited)


def _gap_cell(comparison: Comparison, row: int, gap: _Gap, column: Column, texts: _Texts) -> Cell:
    side, place = gap
    lens, text, name = whole_lenses(comparison)[side], texts[side], comparison.short_names[side]
    lines = [f"layer {lens.layers[row]}, position {column.position}: {column.token}"]
    lines += [f"only in {cell_text(name, visible)}:", *_top(lens, row, place, text)]
    edited = bool(lens.edited_cells[row, place])
    shown = text[int(lens.top_ids[row, place, 0])]
    return Cell(shown, "0", "0", "\n".join(lines), column.position, "gap", edited=edited)


def _top(lens: LensResult, row: int, place: int, text: Mapping[int, str]) -> list[str]:
    top = zip(lens.top_ids[row, place].tolist(), lens.top_probs[row, place].tolist(), strict=True)
    return [f"{readable_probability(probability)}  {text[token_id]}" for token_id, probability in top]


def _band_cell(comparison: Comparison, row: int, band: Band, column: Column, texts: _Texts) -> Cell:
    """The columns of a band in one layer: the tokens that lead most of them, and the means of their colours."""
    inside = slice(band.first, band.last + 1)
    tops = [lens.top_ids[row, inside, 0] for lens in (comparison.one, comparison.other)]
    pair, count = commonest(zip(*(top.tolist() for top in tops), strict=True))[0]
    found = _both(*(text[token] for text, token in zip(texts, pair, strict=True)))
    distance, differ = float(comparison.distance[row, inside].mean()), float((tops[0] != tops[1]).mean())
    told = f"layer {comparison.one.layers[row]}, {column.token} from position {column.position}"
    hover = f"{told}: {found} at {count} of {len(band.columns)} positions, more than any other; colours are means"
    edited = any(lens.edited_cells[row, inside].any() for lens in (comparison.one, comparison.other))
    text = f"{count} {found}"
    return Cell(text, css_number(distance), css_number(differ), hover, column.position, edited=edited)


def _both(one: str, other: str) -> str:
    return one if one == other else f"{one} | {other}"

"""Rankings and charts of scores as the HTML of a notebook's cell, or of a page. Needs no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from bauklens.show import line_chart
from bauklens.show.bundle import page_style, table_style
from bauklens.show.static_table import templates


def ranking_fragment(
    caption: str,
    corner: str,
    columns: list[str],
    rows: list[tuple[str, list[tuple[str, float, str]]]],
    note: str = "",
    *,
    wide: bool = False,
) -> str:
    """The HTML of a ranking with its style, for a notebook.

    Args:
        corner: the heading of the labels of the rows.
        rows: (label, cells); a cell is its text, its value relative to the largest (-1..1), and a hover text.
        note: what the colours mean.
        wide: whether cells hold texts that are longer than a token.
    """
    template = templates().get_template("ranking.html")
    ranking = {"caption": caption, "corner": corner, "columns": columns, "rows": rows, "note": note, "wide": wide}
    return template.render(style=table_style(), ranking=ranking)


def ranking_page(title: str, rankings: Sequence[Mapping[str, Any]]) -> str:
    """The HTML of a page of rankings, each given by the arguments of :func:`ranking_fragment`."""
    template = templates().get_template("ranking_page.html")
    return template.render(title=title, style=page_style(), script_source="'none'", rankings=rankings)


def scores_page(title: str, key: Sequence[tuple[str, str]], charts: Sequence[Any], ranking: Mapping[str, Any]) -> str:
    """The HTML of a page of line charts and a ranking below them.

    Args:
        key: (name, style) of each line.
        charts: as :func:`bauklens.show.line_chart.line_chart` makes them, each with its ``"about"``.
        ranking: the arguments of :func:`ranking_fragment`.
    """
    sizes = {"width": line_chart.WIDTH, "height": line_chart.HEIGHT, "left": line_chart.LEFT}
    template = templates().get_template("scores_page.html")
    shown = {"title": title, "style": page_style(), "script_source": "'none'", "key": key, "charts": charts}
    return template.render(**shown, **sizes, ranking=ranking)

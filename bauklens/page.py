"""Results -> one fragment for a notebook, or one self-contained page that makes no request."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bauklens.comparison import Comparison
from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.readable import readable_magnitude
from bauklens.result import LensResult
from bauklens.table import comparison_table, largest_magnitude, table, templates

LOOKS = ("default", "classic")
"""Default: background by probability, a bar by magnitude. Classic: background by magnitude, ink by probability."""

Shown = LensResult | Comparison
"""What a figure can be made of."""

Colour = str | Sequence[int]
"""``#rgb`` or ``#rrggbb``, or red, green and blue in 0..255."""

_STREAMS = {
    "hidden": "Hidden states",
    "delta": "Deltas between layers",
    "attention": "What attention writes",
    "mlp": "What the MLP writes",
    "mid": "The stream between attention and MLP",
    "given": "Given states",
}
_NORMS = {
    "own": "the model’s own final norm",
    "final": "the final norm, at the scale of the final state",
    None: "no norm, the head alone",
}
_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")


def fragment(result: LensResult | Comparison, *, look: str = "default", color: Colour | None = None) -> str:
    """The HTML of one result with its style, for a notebook.

    Args:
        look: one of :data:`LOOKS`.
        color: the classic look's colour at the largest magnitude.

    Raises:
        LensError: an unknown look or colour.
    """
    return templates().get_template("fragment.html").render(style=_style(), figure=_figure(result, look, color))


def ranking_fragment(
    caption: str,
    corner: str,
    columns: list[str],
    rows: list[tuple[str, list[tuple[str, float, str]]]],
    note: str = "",
) -> str:
    """The HTML of a table of ranked things with its style, for a notebook.

    Args:
        corner: what the rows' labels are.
        rows: (label, cells); a cell is its text, its share of the largest (0..1), and a hover text.
        note: what the colours mean.
    """
    template = templates().get_template("ranking.html")
    ranking = {"caption": caption, "corner": corner, "columns": columns, "rows": rows, "note": note}
    return template.render(style=_style(), ranking=ranking)


def ranking_page(title: str, rankings: Sequence[Mapping[str, Any]]) -> str:
    """The HTML of a page of such tables, each as the arguments of :func:`ranking_fragment`."""
    template = templates().get_template("ranking_page.html")
    return template.render(title=title, style=_style(), rankings=rankings)


def page(
    results: "Iterable[Shown | tuple[str, Shown]]",
    *,
    title: str | None = None,
    look: str = "default",
    color: Colour | None = None,
) -> str:
    """The HTML of a page with all results; see :func:`save_report`."""
    titled = [each if isinstance(each, tuple) else (_heading(each), each) for each in results]
    for _, result in titled:
        if not isinstance(result, Shown):
            raise LensError(f"a report is made of LensResults; got {type(result).__name__}")
    if not titled:
        raise LensError("a report needs at least one result")
    headings = [heading for heading, _ in titled]
    title = title or (headings[0] if len(set(headings)) == 1 else "") or "What the model was about to say"
    sections: list[dict[str, Any]] = [
        {
            "heading": heading,
            "data": _json(result),
            "provenance": _provenance(result),
            "figure": _figure(result, look, color),
        }
        for heading, result in titled
    ]
    for above, section in zip([title, *headings], sections, strict=False):
        section["repeats"] = section["heading"] == above
    return templates().get_template("page.html").render(title=title, style=_style(), sections=sections)


def save_report(
    results: "Shown | Iterable[Shown | tuple[str, Shown]]",
    path: str | Path,
    *,
    title: str | None = None,
    look: str = "default",
    color: Colour | None = None,
) -> None:
    """Writes one HTML file that holds every result, its data as JSON, and its provenance, and makes no request.

    Args:
        results: a result, or several; each may come with a heading, as (heading, result).
        path: the file; it is replaced only once the new one is whole.
        title: the page's heading.
        look: one of :data:`LOOKS`.
        color: the classic look's colour at the largest magnitude: ``#rrggbb``, or three numbers 0..255.

    Raises:
        LensError: no result, an unknown look or colour, or a path that cannot be written.
    """
    several = [results] if isinstance(results, Shown) else results
    write_atomically(path, page(several, title=title, look=look, color=color).encode("utf-8", "replace"))


def _figure(result: Shown, look: str, color: Colour | None) -> dict[str, Any]:
    if look not in LOOKS:
        raise LensError(f"unknown look {look!r}: pass one of {', '.join(LOOKS)}")
    if isinstance(result, Comparison):
        return {
            "table": comparison_table(result),
            "comparison": result,
            "streams": [_STREAMS.get(lens.stream, lens.stream) for lens in (result.one, result.other)],
        }
    return {
        "comparison": None,
        "table": table(result),
        "look": look,
        "color": None if color is None else _css_colour(color),
        "stream": _STREAMS.get(result.stream, result.stream),
        "norm": _NORMS.get(result.norm, result.norm),
        "largest": readable_magnitude(largest_magnitude(result)),
        "result": result,
    }


def _heading(result: Shown) -> str:
    if isinstance(result, Comparison):
        return " | ".join(dict.fromkeys(_heading(lens) for lens in (result.one, result.other)))
    return getattr(result, "prompt", "") or "".join(getattr(result, "tokens", ()))


def _css_colour(color: Any) -> str:
    if isinstance(color, str) and _COLOUR.fullmatch(color):
        return color
    if isinstance(color, (list, tuple)) and len(color) == 3 and all(map(_is_byte, color)):
        return "rgb({:.0f} {:.0f} {:.0f})".format(*color)
    raise LensError(f"unknown colour {color!r}: pass '#rrggbb', or three numbers 0..255")


def _is_byte(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= 255


def _json(result: Shown) -> Markup:
    """JSON that is inert inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(result.to_dict(), allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def _provenance(result: Shown) -> list[tuple[str, str]]:
    if isinstance(result, Comparison):
        return [*_provenance(result.one), *_provenance(result.other)]
    lines = [("prompt", result.prompt)]
    for name, value in result.provenance.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {_said(item)}" for key, item in value.items())
        lines.append((name, _said(value)))
    return lines


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_said, value))
    return "none" if value is None else str(value)


def _style() -> Markup:
    return Markup((Path(__file__).parent / "viewer" / "lens.css").read_text(encoding="utf-8"))  # noqa: S704

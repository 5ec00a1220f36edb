"""Results -> one fragment for a notebook, or one self-contained page that makes no requests."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.result.comparison import Comparison
from bauklens.result.notes import joint_notes
from bauklens.result.result import LensResult
from bauklens.result.tokens import printable
from bauklens.show.bundle import page_style, script_source, viewer_call, viewer_script, viewer_version
from bauklens.show.cell_notes import notes_on_cells
from bauklens.show.comparison_table import comparison_table
from bauklens.show.css_colour import Colour as Colour
from bauklens.show.css_colour import css_colour
from bauklens.show.joint import MOST_BESIDE, names_of_two, whole_lenses
from bauklens.show.legends import (
    both_edited_legend,
    distance_legend,
    edited_legend,
    largest_magnitude,
    quality_legend,
    unread_legend,
)
from bauklens.show.notebook_once import carries_script
from bauklens.show.nouns import noun
from bauklens.show.numbers import readable_magnitude
from bauklens.show.overview import HEIGHT, WIDTH, overview
from bauklens.show.payload import views
from bauklens.show.pictures import static_pictures
from bauklens.show.sections import Shown, heading_of, provenance_of, together
from bauklens.show.sources import shortened, source_of
from bauklens.show.static_table import excerpt, table, templates
from bauklens.vocabulary import LOOKS, NORMS, STREAM_CAPTIONS

_MOST_HOVERED = 12
"""The most sections of a page whose static tables show the top k on hover, which is half of their size."""


def fragment(
    result: Shown | Sequence[Shown],
    *,
    look: str = "default",
    color: Colour | None = None,
    note: str = "",
    state: Mapping[str, Any] | None = None,
) -> str:
    """The HTML of one result with its style, for a notebook, which contains the viewer's script and style once.

    If a frontend removes style and script, as GitHub does, the table shows the probabilities as text.

    Args:
        result: one, or several that share a viewer.
        look: one of :data:`bauklens.vocabulary.LOOKS`.
        color: the colour of the classic look at the largest magnitude.
        note: a sentence below the tables.
        state: the viewer's state at the start, in the form of ``viewer/state.js``.

    Raises:
        LensError: the look or colour is unknown.
    """
    figure = _figure([result] if isinstance(result, Shown) else result, look, color, state, brief=True)
    figure["notes"] += [("", note)] if note else []
    carries = carries_script(viewer_version())
    return (
        templates()
        .get_template("fragment.html")
        .render(
            style=page_style() if carries else "",
            figure=figure,
            script=viewer_script() if carries else viewer_call(),
        )
    )


def figure(results: Shown | Sequence[Shown], *, state: Mapping[str, Any] | None = None) -> str:
    """The HTML of one viewer, for a page that already has the script and the style.

    Args:
        results: one, or several that share a viewer.
        state: the viewer's state at the start, in the form of ``viewer/state.js``.
    """
    shown = _figure([results] if isinstance(results, Shown) else results, LOOKS[0], None, state, brief=True)
    return templates().get_template("figure.html").render(figure=shown)


def page(
    results: "Iterable[Shown | tuple[str, Shown]]",
    *,
    title: str | None = None,
    look: str = "default",
    color: Colour | None = None,
    state: Mapping[str, Any] | None = None,
) -> str:
    """The HTML of a page with all results, whose viewers begin with the ``state``; see :func:`save_report`."""
    titled = [each if isinstance(each, tuple) else (heading_of(each), each) for each in results]
    for _, result in titled:
        if not isinstance(result, Shown):
            raise LensError(f"a report is made of LensResults and Comparisons; got {type(result).__name__}")
    if not titled:
        raise LensError("a report needs at least one result")
    groups = [[*group] for _, group in groupby(titled, together)]
    headings = [heading for (heading, _), *_ in groups]
    title = title or (headings[0] if len(set(headings)) == 1 else "") or "What the model was about to say"
    sections: list[dict[str, Any]] = []
    for above, heading, group in zip([title, *headings], headings, groups, strict=False):
        several = [result for _, result in group]
        sections.append(
            {
                "heading": heading,
                "repeats": heading == above,
                "provenance": [lines for result in several for lines in provenance_of(result)],
                "figure": _figure(several, look, color, state, hover=len(groups) <= _MOST_HOVERED),
            }
        )
    script = viewer_script()
    entries = overview(groups) if len(groups) > 1 else []
    return (
        templates()
        .get_template("page.html")
        .render(
            title=title,
            style=page_style(),
            script=script,
            script_source=script_source(script),
            sections=sections,
            overview={
                "entries": entries,
                "has_lenses": any(each.lens for each in entries),
                "width": WIDTH,
                "height": HEIGHT,
            }
            if entries
            else None,
        )
    )


def save_report(
    results: "Shown | Iterable[Shown | tuple[str, Shown]]",
    path: str | Path,
    *,
    title: str | None = None,
    look: str = "default",
    color: Colour | None = None,
) -> None:
    """Writes one HTML file with every result, its data and its provenance; the file makes no requests.

    Consecutive results for the same tokens share one viewer. If there are several viewers, a table above them has one
    row per result, with its answer, and opens one viewer at a time. If a table has too many cells, its numbers are
    rounded to about four digits, and without JavaScript only an excerpt is shown.

    Args:
        results: one result or several; each may have its own heading, as (heading, result).
        path: the file; an old one is replaced only when the new one is complete.
        title: the page's heading.
        look: one of :data:`bauklens.vocabulary.LOOKS`.
        color: the colour of the classic look at the largest magnitude: ``#rrggbb``, or three numbers 0..255.

    Raises:
        LensError: results is empty, the look or colour is unknown, or the path cannot be written.
    """
    several = [results] if isinstance(results, Shown) else results
    write_atomically(path, page(several, title=title, look=look, color=color).encode("utf-8", "replace"))


def _figure(
    results: Sequence[Shown],
    look: str,
    color: Colour | None,
    given: Mapping[str, Any] | None,
    *,
    brief: bool = False,
    hover: bool = True,
) -> dict[str, Any]:
    """The arguments of the template of a figure: the results of one viewer.

    Args:
        given: the viewer's state at the start, if it is not the usual one.
        brief: whether the static tables are as small as they can be.
        hover: whether their cells show the top k on hover.
    """
    if look not in LOOKS:
        raise LensError(f"unknown look {look!r}: pass one of {', '.join(LOOKS)}")
    beside = _differ_by_decoder(results)
    parts = [
        _comparison_part(each, brief) if isinstance(each, Comparison) else _lens_part(each, beside, brief, hover)
        for each in results
    ]
    if len({heading_of(each) for each in results}) > 1:  # True only for a list shown in a notebook
        for each, part in zip(results, parts, strict=True):
            part["prompt"] = part["caption"] = shortened(heading_of(each))
    lenses = [lens for each in results for lens in (whole_lenses(each) if isinstance(each, Comparison) else [each])]
    state: dict[str, Any] = {"show": "difference"} if isinstance(results[0], Comparison) else {}
    state |= {"colour": "classic"} if look == "classic" else {}
    state |= {"show": "beside"} if beside else {}
    state |= given or {}
    captions = [lens_caption(lens) for lens in lenses]
    named = [pair for each, part in zip(results, parts, strict=True) for pair in _named(each, part)]
    compared = results[0] if isinstance(results[0], Comparison) else None
    if compared is not None:
        captions = [f"{name.short}: {each}" for name, each in zip(names_of_two(compared), captions, strict=True)]
    return {
        "look": look,
        "brief": brief,
        "noun": noun(lenses[0]),
        "color": None if color is None else css_colour(color),
        "parts": parts,
        "pictures": static_pictures(lenses),
        "pinned": notes_on_cells(lenses[0], state.get("notes", ())),
        "notes": [(whose, printable(note)) for whose, note in joint_notes(named)],
        "data": views(lenses, captions, state, comparison=compared, brief=brief),
        "viewer": viewer_version(),
    }


def _differ_by_decoder(results: Sequence[Shown]) -> bool:
    """Whether these are a few lenses of the same states through several decoders, which are best seen side by side."""
    lenses = [each for each in results if isinstance(each, LensResult)]
    decoders = {lens.decoder for lens in lenses}
    one_stream = len({lens.stream for lens in lenses}) == 1
    return 1 < len(results) <= MOST_BESIDE and one_stream and len(decoders) == len(lenses) == len(results)


def _lens_part(result: LensResult, beside: bool, brief: bool, hover: bool) -> dict[str, Any]:
    """The arguments of the template of one lens; beside others, the logit lens is named."""
    shown, left_out = excerpt(result)
    decoder = result.decoder_called or ("logit lens" if beside else "")
    return {
        "template": "lens_part.html",
        "prompt": "",
        "table": table(shown, largest=largest_magnitude(result), hover=hover and not left_out, brief=brief),
        "left_out": left_out,
        "result": result,
        "stream": STREAM_CAPTIONS.get(result.stream, result.stream),
        "norm": NORMS.get(result.norm, result.norm),
        "noun": noun(result),
        "source": source_of(result),
        "largest": readable_magnitude(largest_magnitude(result)),
        "through": result.decoder_called,
        "strip": quality_legend(result),
        "unread": unread_legend(shown),
        "edited": edited_legend(shown),
        "caption": ", ".join(filter(None, (STREAM_CAPTIONS.get(result.stream, result.stream), decoder))),
        "check": " ".join(filter(None, (result.checked, result.mapped, result.decoded))),
    }


def _comparison_part(comparison: Comparison, brief: bool) -> dict[str, Any]:
    checks = [
        f"{name.short}: " + " ".join(filter(None, (lens.checked, lens.mapped, lens.decoded)))
        for name, lens in zip(names_of_two(comparison), (comparison.one, comparison.other), strict=True)
    ]
    if any(comparison.left_out):
        one, other = (", ".join(map(str, positions)) or "none" for positions in comparison.left_out)
        checks.append(f"Positions without a counterpart, hatched: {one} in the first, {other} in the second.")
    return {
        "template": "comparison_part.html",
        "table": comparison_table(comparison, brief=brief),
        "comparison": comparison,
        "names": names_of_two(comparison),
        "apart": distance_legend(comparison.distance_is_known),
        "gaps": any(comparison.left_out),
        "noun": noun(comparison.one),
        "unread": unread_legend(comparison.one, comparison.other),
        "edited": both_edited_legend(whole_lenses(comparison), [name.short for name in names_of_two(comparison)]),
        "check": " ".join(checks),
    }


def _named(shown: Shown, part: Mapping[str, Any]) -> list[tuple[str, LensResult]]:
    """The lenses of a part, and their names below it."""
    if isinstance(shown, Comparison):
        names = (name.short for name in names_of_two(shown))
        return [*zip(names, (shown.one, shown.other), strict=True)]
    return [(part["caption"], shown)]


def lens_caption(lens: LensResult) -> str:
    """A lens in words: its stream, model and decoder."""
    stream, norm = STREAM_CAPTIONS.get(lens.stream, lens.stream), NORMS.get(lens.norm, lens.norm)
    through = f" through the {printable(lens.decoder_called)}" if lens.decoder_called else ""
    source = source_of(lens)
    return f"{stream} of {lens.model}{through}, decoded with {norm}{source and '; source: '}{source}"

"""View: results with a chosen cell, pins, colours and notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bauklens.arguments import checked_count, one_of
from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.result.result import LensResult
from bauklens.result.targets import Which, target_names
from bauklens.show.cell_notes import checked_notes
from bauklens.show.cells import Cell, cell_of
from bauklens.show.page import fragment, page
from bauklens.show.pinnable import followed_as, in_some_top, is_single
from bauklens.show.sections import heading_of, together
from bauklens.vocabulary import LOOKS

COLOURS = ("both", "classic", "probability", "token", "rank")
"""Colours that are not measures; the last two show the first pin."""

CHARTS = {"rank": "rank", "logprob": "log", "probability": "probability", "logit": "logit", "difference": "difference"}
"""What charts show -> its name in the viewer."""

STRIDES = (1, 2, 3, 4, 6, 8)
THEMES = ("system", "light", "dark")
WIDTHS = (44, 260)
"""The least and the largest width of a column, in pixels."""

MOST_PINS = 8


@dataclass(frozen=True, eq=False, repr=False)
class View:
    """Results with chosen settings, as a notebook shows them. :meth:`bauklens.LensResult.view` makes one.

    Attributes:
        results: the results shown, in one viewer.
        state: the settings, in the viewer's form.
        look: ``"default"`` or ``"classic"``.
    """

    results: tuple[LensResult, ...]
    state: Mapping[str, Any] = field(default_factory=dict)
    look: str = "default"

    def __repr__(self) -> str:
        return f"<View of {', '.join(map(repr, self.results))}>"

    def _repr_html_(self) -> str:
        return fragment(self.results, look=self.look, state=self.state)

    def to_html(self, path: str | Path | None = None, *, title: str | None = None) -> str:
        """The view as one self-contained HTML page that makes no requests when it is opened.

        Args:
            path: the file to write, atomically; None writes nothing.
            title: the page's heading.

        Returns:
            The page's HTML.

        Raises:
            LensError: the path cannot be written.
        """
        html = page(self.results, title=title, look=self.look, state=self.state)
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    def save(self, path: str | Path, title: str | None = None) -> None:
        """Writes the page of :meth:`to_html`.

        Args:
            path: the file to write, atomically.
            title: the page's heading.

        Raises:
            LensError: the path cannot be written.
        """
        self.to_html(path, title=title)


View.__module__ = "bauklens"


def view(
    results: LensResult | Sequence[LensResult],
    *,
    pins: Sequence[Which] | None = None,
    cell: Cell | None = None,
    colour: str | None = None,
    chart: str | None = None,
    notes: Mapping[Cell, str] | None = None,
    look: str = "default",
    layers_across: bool = False,
    stride: int = 1,
    width: int | None = None,
    theme: str = "system",
) -> View:
    """Results in one viewer with chosen settings, to show in a notebook or save as a page.

    Args:
        results: one result, or several of the same model and tokens.
        pins: tokens to pin by text or id, at most 8: targets, the names of sets, tracked tokens, or tokens in the top k
            of some cell. None pins the targets.
        cell: the chosen cell: the label or number of a layer, and a position; negative ones count from the last. None
            is the last layer, at the position to look at first.
        colour: what cells show: ``"both"`` (probability, and magnitude as a bar), ``"classic"``, ``"probability"``, the
            probability (``"token"``) or the ``"rank"`` of the first pin, or a measure.
        chart: what charts show of the pins: ``"rank"``, ``"logprob"``, ``"probability"``, ``"logit"``, or the
            ``"difference"`` of the first two, the second taken from the first.
        notes: (layer, position) -> a note that is pinned to that cell, at most 500 characters; at most 200 notes.
        look: one of :data:`bauklens.vocabulary.LOOKS`.
        layers_across: whether layers are shown as columns.
        stride: show every stride-th layer: 1, 2, 3, 4, 6 or 8.
        width: the width of a column, 44..260 pixels. None is the usual width.
        theme: ``"system"``, ``"light"`` or ``"dark"``.

    Raises:
        LensError: an option is out of range, a pin, cell or colour is not known, or the results do not belong together.
    """
    shown = _checked_results(results)
    one_of("look", look, LOOKS)
    one_of("theme", theme, THEMES)
    one_of("stride", stride, STRIDES)
    if not isinstance(layers_across, bool):
        raise LensError(f"layers_across is {layers_across!r}: pass True or False")
    state: dict[str, Any] = {"theme": theme, "layersAcross": layers_across, "stride": int(stride)}
    if width is not None:
        state["width"] = _checked_width(width)
    followed = _checked_pins(shown, pins)
    if followed is not None:
        state |= {"pins": followed, "pin": next(iter(followed), None)}
    count = len(shown[0].targets) if followed is None else len(followed)
    if cell is not None:
        layer, position = cell_of(shown, cell)
        state |= {"layer": layer, "position": position}
    if colour is not None:
        state["colour"] = _checked_colour(shown, colour, count)
    if chart is not None:
        state |= _chart(shown, chart, followed)
    state["notes"] = checked_notes(shown, notes)
    return View(shown, state, look)


def _checked_results(results: LensResult | Sequence[LensResult]) -> tuple[LensResult, ...]:
    shown = (results,) if isinstance(results, LensResult) else tuple(results)
    if not shown:
        raise LensError("a view needs at least one result")
    for each in shown:
        if not isinstance(each, LensResult):
            raise LensError(f"a view is made of LensResults; got {type(each).__name__}")
    if any(together((heading_of(each), each)) != together((heading_of(shown[0]), shown[0])) for each in shown):
        raise LensError("a view shows results of one model and the same tokens: save others with save_report([...])")
    return shown


def _checked_width(width: int) -> int:
    least, most = WIDTHS
    if checked_count("width", width, least=least) > most:
        raise LensError(f"width is {width}: pass {most} or less")
    return int(width)


def _checked_pins(results: Sequence[LensResult], wanted: Sequence[Which] | None) -> list[str | int] | None:
    """The viewer's names of the pins; None if none were asked for."""
    if wanted is None:
        return None
    if isinstance(wanted, (str, int)):
        wanted = [wanted]
    if len(wanted) > MOST_PINS:
        raise LensError(f"there are {len(wanted)} pins: pass at most {MOST_PINS}, as each has its own shape")
    keys = [_key_in_any(results, each) for each in wanted]
    twice = [each for place, each in enumerate(wanted) if keys[place] in keys[:place]]
    if twice:
        raise LensError(f"the pin {twice[0]!r} is given twice: pass it once")
    return keys


def _key_in_any(results: Sequence[LensResult], which: Which) -> str | int:
    for place, result in enumerate(results):
        try:
            return _key(result, which)
        except LensError:
            if place == len(results) - 1:
                raise
    raise LensError("results is empty: pass at least one")


def _key(result: LensResult, which: Which) -> str | int:
    """The viewer's name of a token, a word or a set: see ``viewer/targets.js``."""
    target = followed_as(result, which)
    if target is not None and not is_single(target):
        return f"target: {target_names(result.targets)[result.targets.index(target)]}"
    token = in_some_top(result, which) if target is None else target.token_ids[0]
    return int(token) if min(result.vocabulary) >= 0 else result.vocabulary[token]


def _checked_colour(results: Sequence[LensResult], colour: str, pins: int) -> str:
    own = {*COLOURS, "max_probability"} | ({"magnitude"} if results[0].magnitudes_are_unknown else set())
    known = (*COLOURS, *dict.fromkeys(name for each in results for name in each.measures if name not in own))
    one_of("colour", colour, known)
    if colour in COLOURS[3:] and not pins:
        raise LensError(f"colour={colour!r} needs a pin: pass pins=[...]")
    return colour


def _chart(results: Sequence[LensResult], chart: str, pins: Sequence[str | int] | None) -> dict[str, Any]:
    one_of("chart", chart, tuple(CHARTS))
    if chart == "logit" and not any("max_logit" in each.measures for each in results):
        raise LensError("chart='logit' needs a measure: pass logit_lens(..., measures=[..., 'max_logit'])")
    state: dict[str, Any] = {"chart": CHARTS[chart]}
    if chart == "difference":
        if pins is None or len(pins) < 2:
            raise LensError("chart='difference' needs two pins: pass pins=[one, other]")
        state["difference"] = list(pins[:2])
    return state

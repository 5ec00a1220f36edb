"""What a result can be shown as: a page, figures; a part of :class:`bauklens.LensResult`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bauklens.arguments import one_of
from bauklens.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly import graph_objects

    from bauklens.result.targets import Which
    from bauklens.show.page import Colour


class Displayed:
    """The methods that show a result; each fetches what it needs when it is called."""

    def _repr_html_(self: Any) -> str:
        from bauklens.show.page import fragment

        return fragment(self)

    @property
    def is_shown(self) -> bool:
        """Whether the cell of a notebook that runs has shown this already."""
        return False

    def html_with(self: Any, others: "Sequence[Any]", count: int) -> str:
        """The HTML of several results in one viewer, for a notebook.

        Args:
            others: those beside this one.
            count: how many there are; if that is more, a note says so.
        """
        from bauklens.show.page import fragment

        shown = [self, *others]
        note = f"These are the first {len(shown)} of {count} results; bauklens.save_report(results, path) writes all."
        return fragment(shown, note=note if count > len(shown) else "")

    def to_html(
        self: Any,
        path: str | Path | None = None,
        *,
        title: str | None = None,
        look: str = "default",
        color: "Colour | None" = None,
    ) -> str:
        """The table as one self-contained HTML page that makes no requests when it is opened.

        Args:
            path: where to write it, atomically; None writes nothing.
            title: the page's heading.
            look: ``"default"``, or ``"classic"``, as in older notebooks: background from white to a colour by
                magnitude, ink from white to black by probability.
            color: the colour of the classic look, as for :func:`bauklens.show_logit_lens`.

        Returns:
            The page's HTML.
        """
        from bauklens.show.page import page

        html = page([self], title=title, look=look, color=color)
        if path is not None:
            write_atomically(path, html.encode("utf-8", "replace"))
        return html

    def plot(
        self: Any,
        measure: "Which" = "max_probability",
        *,
        kind: str = "heatmap",
        tokens: bool | str = True,
        position: int | None = None,
        layer: "int | str" = -1,
        token: "Which | None" = None,
    ) -> "Figure":
        """A matplotlib figure.

        Args:
            measure: for a heat map: a measure of this result, or a target, as in :meth:`target`.
            kind: ``"heatmap"``: layers up, positions across, on a scale that begins at 0
                (:func:`bauklens.show.figures.heat_map`);
                ``"trajectory"``: tokens across layers, the targets or else what leads in some layer at the position
                (:func:`bauklens.show.figures.trajectory`); ``"picture"``: the pictures of the prompt with the top token
                of each patch, or the probability of one token, over them
                (:func:`bauklens.show.picture_figure.picture_figure`).
            tokens: what a heat map shows in its cells: the most probable tokens (True), nothing (False), or
                ``"numbers"``.
            position: for a trajectory: its position; negative ones count from the last column. None is the last, or the
                one that a classifier of whole texts reads.
            layer: for pictures: the number or label of a layer; negative ones count blocks from the last.
            token: for pictures: a target, or a token by its id or text, whose probability they show.

        Raises:
            LensError: matplotlib is not installed, the kind, measure, position, layer or token is unknown, or there is
                no picture.
        """
        from bauklens.show.figures import KINDS, heat_map, trajectory
        from bauklens.show.picture_figure import picture_figure

        one_of("kind", kind, KINDS)
        if kind == "picture":
            return picture_figure(self, layer, token)
        return heat_map(self, measure, tokens=tokens) if kind == "heatmap" else trajectory(self, position)

    def to_plotly(
        self: Any, measure: "Which" = "max_probability", *, tokens: bool | str = True
    ) -> "graph_objects.Figure":
        """The heat map as a plotly figure, with the top k on hover; arguments as for :meth:`plot`.

        Raises:
            LensError: plotly is not installed, or the measure is unknown.
        """
        from bauklens.show.figures import plotly_heat_map

        return plotly_heat_map(self, measure, tokens=tokens)

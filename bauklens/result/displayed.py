"""What a result can be shown as: a page, figures; a part of :class:`bauklens.LensResult`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bauklens.arguments import one_of
from bauklens.errors import LensError
from bauklens.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from plotly import graph_objects

    from bauklens.arguments import Layers, Positions
    from bauklens.result.targets import Which
    from bauklens.show.cells import Cell
    from bauklens.show.lens_figure import LensFigure
    from bauklens.show.page import Colour
    from bauklens.show.view import View


class Displayed:
    """The methods that show a result; each fetches what it needs when it is called."""

    def _repr_html_(self: Any) -> str:
        from bauklens.show.page import fragment

        return fragment(self)

    @property
    def is_shown(self) -> bool:
        """Whether the notebook cell that is running has already shown this."""
        return False

    def html_with(self: Any, others: "Sequence[Any]", count: int) -> str:
        """The HTML of several results in one viewer, for a notebook.

        Args:
            others: those beside this one.
            count: how many there are; if that is more, a note shows it.
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
            path: the file to write, atomically; None writes nothing.
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

    def view(
        self: Any,
        *,
        pins: "Sequence[Which] | None" = None,
        cell: "Cell | None" = None,
        colour: str | None = None,
        chart: str | None = None,
        notes: "Mapping[Cell, str] | None" = None,
        look: str = "default",
        layers_across: bool = False,
        stride: int = 1,
        width: int | None = None,
        theme: str = "system",
    ) -> "View":
        """The table with chosen settings, to show in a notebook or save as a page; see :func:`bauklens.view`.

        Args:
            pins: tokens to pin by text or id, at most 8: targets, the names of sets, tracked tokens, or tokens in the
                top k of some cell. None pins the targets.
            cell: the chosen cell: the label or number of a layer, and a position; negative ones count from the last.
                None is the last layer, at the position to look at first.
            colour: what cells show: ``"both"`` (probability, and magnitude as a bar), ``"classic"``,
                ``"probability"``, the probability (``"token"``) or the ``"rank"`` of the first pin, or a measure.
            chart: what charts show of the pins: ``"rank"``, ``"logprob"``, ``"probability"``, ``"logit"``, or the
                ``"difference"`` of the first two, the second taken from the first.
            notes: (layer, position) -> a note that is pinned to that cell, at most 500 characters; at most 200 notes.
            look: ``"default"`` or ``"classic"``, as in :meth:`to_html`.
            layers_across: whether layers are shown as columns.
            stride: show every stride-th layer: 1, 2, 3, 4, 6 or 8.
            width: the width of a column, 44..260 pixels. None is the usual width.
            theme: ``"system"``, ``"light"`` or ``"dark"``.

        Returns:
            The view: ``save(path)``, ``to_html()``.

        Raises:
            LensError: an option is out of range, or a pin, cell or colour is not known.
        """
        from bauklens.show.view import view

        return view(
            self,
            pins=pins,
            cell=cell,
            colour=colour,
            chart=chart,
            notes=notes,
            look=look,
            layers_across=layers_across,
            stride=stride,
            width=width,
            theme=theme,
        )

    def plot(
        self: Any,
        measure: "Which" = "max_probability",
        *,
        kind: str = "heatmap",
        tokens: bool | str = True,
        position: int | None = None,
        layer: "int | str" = -1,
        token: "Which | None" = None,
        concepts: "Sequence[Which] | None" = None,
        title: str | None = None,
        cmap: str = "viridis",
        limits: "tuple[float, float] | None" = None,
    ) -> "Figure":
        """A matplotlib figure.

        Args:
            measure: for a heat map: a measure of this result, or a target, as in :meth:`target`.
            kind: ``"heatmap"``: layers up, positions across, on a scale that begins at 0
                (:func:`bauklens.show.figures.heat_map`);
                ``"trajectory"``: tokens across layers, the targets or else what leads in some layer at the position
                (:func:`bauklens.show.figures.trajectory`); ``"race"``: concepts across layers, with their crossings
                marked (:func:`bauklens.show.race_figure.race`); ``"picture"``: the pictures of the prompt with the top
                token of each patch, or the probability of one token, over them
                (:func:`bauklens.show.picture_figure.picture_figure`).
            tokens: what a heat map shows in its cells: the most probable tokens (True), nothing (False), or
                ``"numbers"``.
            position: for a trajectory or a race: its position; negative ones count from the last column. None is the
                last position, or the one that a classifier of whole texts reads.
            layer: for pictures: the number or label of a layer; negative ones count blocks from the last.
            token: for pictures: a target, or a token by its id or text, whose probability they show.
            concepts: for a race: two or more targets, or sets of ``mass=`` by name; None means all targets, or else all
                sets.
            title: a text above a heat map, a trajectory or a race.
            cmap: for a heat map: a colormap of matplotlib, by its name.
            limits: for a heat map: the ends of its scale, the lower one first; None begins it at 0.

        Raises:
            LensError: matplotlib is not installed, the kind, measure, position, layer, token or colormap is unknown,
                the limits are not two rising numbers, an option does not fit the kind, or the result has no picture.
        """
        from bauklens.show.figures import KINDS, heat_map, trajectory
        from bauklens.show.picture_figure import picture_figure
        from bauklens.show.race_figure import race

        one_of("kind", kind, KINDS)
        if kind != "heatmap" and (cmap != "viridis" or limits is not None):
            raise LensError(f"cmap and limits apply to a heat map, not to kind={kind!r}: leave them out")
        if kind != "race" and concepts is not None:
            raise LensError(f"concepts apply to a race, not to kind={kind!r}: leave them out")
        if kind == "race":
            return race(self, concepts, position, title=title)
        if kind == "picture":
            if title is not None:
                raise LensError(
                    "title applies to a heat map, a trajectory or a race, not to kind='picture': leave it out"
                )
            return picture_figure(self, layer, token)
        if kind == "trajectory":
            return trajectory(self, position, title=title)
        return heat_map(self, measure, tokens=tokens, title=title, cmap=cmap, limits=limits)

    def figure(
        self: Any,
        path: str | Path | None = None,
        *,
        layers: "Layers" = None,
        positions: "Positions" = None,
        pins: "Sequence[Which]" = (),
        colour: str = "both",
        charts: bool = False,
        width: float = 170,
        font_size: float = 7,
        palette: str = "default",
        theme: str = "light",
        color: "Colour | None" = None,
        title: str | None = None,
        caption: str | bool | None = None,
        notes: "Mapping[Cell, str] | None" = None,
        dpi: float = 300,
    ) -> "LensFigure":
        """The table as a figure for a publication, with its legend: one row per layer, one column per position.

        The viewer's "Figure…" (in its Export menu) draws the same one.

        Args:
            path: the file to write, atomically: ``.svg``, ``.pdf`` or ``.png``; None writes nothing.
            layers: which rows to show, as in :func:`bauklens.logit_lens`: numbers or labels such as ``"embed"``, in
                that order; None shows all.
            positions: which columns to show: positions in the table (negative ones count from the last column), or a
                slice of the columns; None shows all that fit, from the last on.
            pins: tokens to mark, at most 8: targets or tracked tokens as in :meth:`target`, or tokens that are in the
                top k of some cell. Each has its own shape and colour; cells in which one is the top token are framed.
            colour: what the background shows: ``"both"`` (probability, and magnitude as a bar), ``"classic"``
                (as ``look="classic"`` in :meth:`to_html`), ``"probability"``, the ``"token"`` (probability), ``"rank"``
                or ``"logprob"`` of the first pin, or a measure.
            charts: whether to add charts of rank and probability by layer at the main position (or the last that is
                shown): of the pins, or else of what leads in some layer.
            width: the figure's width in millimetres, 20..2000.
            font_size: in points, 3..40. Tokens that do not fit are set up to 28 % smaller, and then cut.
            palette: ``"default"`` (the viewer's), ``"grey"``, ``"cividis"`` or ``"viridis"``. All can be read in
                greyscale and by colour-blind eyes; pins have shapes, and lines have dashes.
            theme: ``"light"`` or ``"dark"``.
            color: the colour of the classic look at the largest magnitude, as in :meth:`to_html`.
            title: a text above the table.
            caption: a text below it; True draws the figure's own ``caption``, with model, prompt and lens.
            notes: (layer, position) -> a note on that cell, as in :meth:`view`: a number in the cell's corner, and a
                list below the caption. Notes on cells that the figure does not show are left out.
            dpi: dots per inch, if a PNG is written.

        Returns:
            The figure, which a notebook shows: ``save(path)``, ``svg()``, ``pdf()``, ``png()``, ``caption``.

        Raises:
            LensError: an argument is out of range, a pin or the cell of a note is not known, the positions do not fit,
                or matplotlib is not installed and a PDF or PNG is written.
        """
        from bauklens.show.lens_figure import lens_figure

        figure = lens_figure(
            self,
            layers=layers,
            positions=positions,
            pins=pins,
            colour=colour,
            charts=charts,
            width=width,
            font_size=font_size,
            palette=palette,
            theme=theme,
            color=color,
            title=title,
            caption=caption,
            notes=notes,
        )
        if path is not None:
            figure.save(path, dpi=dpi)
        return figure

    def to_plotly(
        self: Any,
        measure: "Which" = "max_probability",
        *,
        tokens: bool | str = True,
        title: str | None = None,
        colorscale: str = "Viridis",
        range: "tuple[float, float] | None" = None,  # noqa: A002
        midpoint: float | None = None,
    ) -> "graph_objects.Figure":
        """The heat map as a plotly figure, with the top k on hover.

        Args:
            measure: a measure of this result, or a target, as for :meth:`plot`.
            tokens: what the cells show, as for :meth:`plot`.
            title: a text above the heat map.
            colorscale: one of plotly's, by its name, such as ``"RdBu"``.
            range: the ends of the scale, the lower one first; None begins it at 0.
            midpoint: the value of the middle colour; the scale then extends equally far to both sides of it.

        Raises:
            LensError: plotly is not installed, the measure or the colorscale is unknown, the range is not two rising
                numbers, or the midpoint is not a number or not in the middle of the range.
        """
        from bauklens.show.plotly_figure import plotly_heat_map

        return plotly_heat_map(
            self, measure, tokens=tokens, title=title, colorscale=colorscale, range=range, midpoint=midpoint
        )

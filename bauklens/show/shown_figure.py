"""ShownFigure: a figure of matplotlib that pyplot does not know. Needs matplotlib."""

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure that a notebook shows once, as the value of a cell, and that nothing else keeps open.

    A figure of pyplot is shown again when its cell ends. If pyplot's inline backend is in use, IPython draws this one
    with that backend's settings; if not, with :meth:`_repr_png_`.
    """

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png")
        return drawn.getvalue()

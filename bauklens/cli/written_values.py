"""A value that is no lens, written as a page, a table, JSON or a picture, by the suffix of the file."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bauklens.cli.output import write
from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.optional import csv_text

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_PICTURES = (".png", ".svg", ".pdf")
_WRITTEN = (".html", ".csv", ".json", *_PICTURES)


class Writable(Protocol):
    """What has all these forms."""

    def to_html(self, path: Path) -> str:
        """A page."""

    def to_frame(self) -> "pandas.DataFrame":
        """A table."""

    def to_json(self) -> str:
        """One line."""

    def plot(self) -> "Figure":
        """A picture."""


def require_known(paths: tuple[Path, ...], called: str) -> None:
    """Refuses, before anything runs, a file of a kind that is not written, or a picture that cannot be drawn.

    Args:
        called: what messages call the values.
    """
    for path in paths:
        if path.suffix.lower() not in _WRITTEN:
            raise LensError(f"{called} are written as one of {', '.join(_WRITTEN)}; got {path.name!r}")
    if any(path.suffix.lower() in _PICTURES for path in paths):
        from bauklens.show.figures import new_figure

        new_figure()


def write_value(found: Writable, path: Path) -> None:
    """Writes a value in the form that the suffix says."""
    suffix = path.suffix.lower()
    if suffix == ".html":
        found.to_html(path)
    elif suffix in _PICTURES:
        drawn = io.BytesIO()
        figure: Any = found.plot()
        figure.savefig(drawn, format=suffix[1:], dpi=150, bbox_inches="tight")
        write_atomically(path, drawn.getvalue())
    else:
        write(str(path), csv_text(found.to_frame()) if suffix == ".csv" else f"{found.to_json()}\n")

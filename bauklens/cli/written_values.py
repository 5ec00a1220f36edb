"""Results other than a lens, written as a page, a table, JSON or a picture, by the suffix of the file."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from bauklens.cli.options import Command
from bauklens.cli.output import require_each_writable, say, write
from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.optional import csv_text

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_PICTURES = (".png", ".svg", ".pdf")
_WRITTEN = (".html", ".csv", ".json", *_PICTURES)


class Writable(Protocol):
    """A value that has all these forms."""

    def to_html(self, path: Path) -> str:
        """A page."""

    def to_frame(self) -> "pandas.DataFrame":
        """A table."""

    def to_json(self) -> str:
        """One line."""

    def plot(self) -> "Figure":
        """A picture."""


def value_options(called: str, row: str) -> Callable[[Command], Command]:
    """The options of a command that choose what to write.

    Args:
        called: the name of the values.
        row: the contents of one row of their table.
    """

    def add(command: Command) -> Command:
        for option in (
            click.option("--csv", "csv_path", metavar="FILE|-", help=f"Write one row per {row} as CSV."),
            click.option(
                "--json", "json_path", metavar="FILE|-", help=f"Write the {called} as JSON; - means standard output."
            ),
            click.option(
                "-o",
                "--output",
                "outputs",
                multiple=True,
                type=click.Path(path_type=Path),
                help=f"Write the {called} as .html, .csv or .json, or draw them as .png, .svg or .pdf; repeatable.",
            ),
        ):
            command = option(command)
        return command

    return add


def require_writable_values(
    outputs: tuple[Path, ...], json_path: str | None, csv_path: str | None, called: str
) -> None:
    """Refuses files that could not be written, before anything runs."""
    if json_path == csv_path == "-":
        raise LensError("JSON and CSV cannot both go to standard output: pass a file for one of them")
    require_each_writable(*outputs, json_path, csv_path)
    _require_known(outputs, called)


def write_values(found: Writable, outputs: tuple[Path, ...], json_path: str | None, csv_path: str | None) -> bool:
    """Writes everything asked for, and returns whether standard output is still free."""
    for path in outputs:
        _write(found, path)
        say(f"wrote {path}")
    if csv_path is not None:
        write(csv_path, csv_text(found.to_frame()))
    if json_path is not None:
        write(json_path, f"{found.to_json()}\n")
    return "-" not in (csv_path, json_path)


def _require_known(paths: tuple[Path, ...], called: str) -> None:
    """Refuses an unknown kind of file, or a picture that cannot be drawn."""
    for path in paths:
        if path.suffix.lower() not in _WRITTEN:
            raise LensError(f"{called} are written as one of {', '.join(_WRITTEN)}; got {path.name!r}")
    if any(path.suffix.lower() in _PICTURES for path in paths):
        from bauklens.show.figures import new_figure

        new_figure()


def _write(found: Writable, path: Path) -> None:
    """Writes a value in the form that the suffix names."""
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

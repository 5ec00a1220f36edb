"""The commands' output: what they print, and the files that they write."""

from collections.abc import Callable, Iterable
from pathlib import Path

import click

from bauklens.errors import LensError
from bauklens.files import require_writable, write_atomically
from bauklens.result.tokens import printable


def is_quiet() -> bool:
    """Whether --quiet is given."""
    return bool(click.get_current_context().find_root().obj)


def say(text: str) -> None:
    """Prints a message on standard error, unless --quiet is given."""
    if not is_quiet():
        click.echo(text, err=True)


def print_values(values: Iterable[tuple[str, str]], width: int) -> None:
    """Prints names and values, one line each, as they come."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for name, value in values:
        console.print(Text.assemble((name.ljust(width), "cyan"), printable(value)), soft_wrap=True)


def shown_first(show: Callable[[], object], write_files: Callable[[], object]) -> None:
    """Prints what a command found, and then writes its files, even if nobody reads the output."""
    unread: BaseException | None = None
    try:
        show()
    except (OSError, SystemExit) as error:  # the disk is full, or the reader of a pipe is gone (rich raises SystemExit)
        unread = error
    write_files()
    if unread is not None:
        raise unread


def write(path: str, text: str) -> None:
    """Writes a text to a file, or to standard output if the path is -."""
    if path == "-":
        click.echo(text, nl=False)
    else:
        write_atomically(path, text.encode("utf-8", "backslashreplace"))


_NO_PAGES = (".csv", ".jpeg", ".jpg", ".json", ".jsonl", ".md", ".parquet", ".pdf", ".png", ".svg", ".tsv", ".txt")


def require_page(path: Path | None) -> None:
    """Refuses to write an HTML page under the name of another kind of file."""
    if path is not None and path.suffix.lower() in _NO_PAGES:
        said = "--json and --csv write the numbers, and lens.figure() in Python draws pictures"
        raise LensError(f"-o writes a page of HTML: call it {path.stem}.html, not {path.name!r:.80} ({said})")


def require_each_writable(*paths: Path | str | None) -> None:
    """Refuses files that cannot be written, before anything runs; - means standard output, and None no file."""
    for path in paths:
        if path is not None and path != "-":
            require_writable(path)

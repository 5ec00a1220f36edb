"""Errors of the command: one line on stderr, and the status that says what kind they are."""

import io
import os
import sys
from typing import Any, NoReturn

import click

from bauklens.errors import LensError
from bauklens.result.tokens import printable

_FAILED = 2
_INTERRUPTED = 130


class OneLineErrors(click.Group):
    """Reports every user error as one line on stderr and exits with status 2, without a traceback."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Runs the command and ends the process with its status."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a pipe may have an encoding without ␣
                stream.reconfigure(errors="backslashreplace")
        try:
            sys.exit(super().main(*args, **{"prog_name": "bauklens"} | options | {"standalone_mode": False}) or 0)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(_FAILED)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            _fail(error.format_message() + (f" (see {context.command_path} --help)" if context else ""))
        except LensError as error:
            _fail(str(error))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            _fail(_what_failed(error))
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            sys.exit(_INTERRUPTED)
        except (RuntimeError, MemoryError) as error:
            from bauklens.model.memory import out_of_memory

            if not out_of_memory(error):
                raise
            _fail("out of memory: pass a shorter prompt, --dtype float16, or --device-map auto")


def _what_failed(error: OSError) -> str:
    """An error of the system in words; one that names no file is of standard output."""
    if error.strerror is None:
        return str(error)
    return f"cannot write: {error.strerror}" if error.filename is None else f"{error.filename}: {error.strerror}"


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {printable(' '.join(message.split()))}", err=True)
    sys.exit(_FAILED)

"""Errors of the command: one line on stderr, and an exit status for their kind."""

import io
import os
import sys
from typing import Any, NoReturn

import click

from bauklens.cli.held_back import standard_error_held_back
from bauklens.errors import LensError
from bauklens.result.tokens import printable

_FAILED = 2
_INTERRUPTED = 130


class OneLineErrors(click.Group):
    """Reports every user error as the only line on stderr and exits with status 2, without a traceback."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Runs the command and ends the process with its status."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a pipe's encoding may lack ␣
                stream.reconfigure(errors="backslashreplace")
        with standard_error_held_back() as forget:
            status, message = self._ended(*args, **options)
            if message:
                forget()
        if message:
            click.echo(message, err=True)
        sys.exit(status)

    def invoke(self, context: click.Context) -> Any:
        """Runs the command; errors from Python are rewritten with the command's own options."""
        try:
            return super().invoke(context)
        except LensError as error:
            command = self.get_command(context, context.invoked_subcommand or "")
            if command is None:
                raise
            from bauklens.cli.as_options import as_options

            raise LensError(as_options(str(error), command.params)) from error

    def _ended(self, *args: Any, **options: Any) -> tuple[int, str]:
        """Runs the command -> its status, and the message of an error."""
        try:
            return super().main(*args, **{"prog_name": "bauklens"} | options | {"standalone_mode": False}) or 0, ""
        except click.exceptions.NoArgsIsHelpError as error:
            return _FAILED, error.format_message()
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            return _failed(error.format_message() + (f" (see {context.command_path} --help)" if context else ""))
        except LensError as error:
            return _failed(str(error))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1, ""
        except OSError as error:
            return _failed(_what_failed(error))
        except (click.Abort, KeyboardInterrupt):
            return _INTERRUPTED, "interrupted"
        except (RuntimeError, MemoryError) as error:
            from bauklens.model.memory import out_of_memory

            if not out_of_memory(error):
                raise
            return _failed("out of memory: pass a shorter prompt, --dtype float16, or --device-map auto")


def _what_failed(error: OSError) -> str:
    """An error of the system in words; without a file, it concerns standard output."""
    if error.strerror is None:
        return str(error)
    return f"cannot write: {error.strerror}" if error.filename is None else f"{error.filename}: {error.strerror}"


def _failed(message: str) -> tuple[int, str]:
    return _FAILED, f"Error: {printable(' '.join(message.split()))}"

"""A message that names Python's arguments -> one that names the command's options."""

import re
from ast import literal_eval
from collections.abc import Iterable, Mapping
from typing import Any

import click

from bauklens.lens.options import OPTIONS

_VALUE = r"""'[^']*'|"[^"]*"|\[[^\[\]]*\]|\{[^{}]*\}|-?\w+(?:\.\d+)?|"""
_NAMED = re.compile(
    r"""(?P<apart>\w\([^()]*\)|(?<!\w)'[^']*'(?!\w)|"[^"]*")"""  # a call in Python, or a quoted value
    rf"""|(?<![\w./-])(?P<name>[a-z][a-z_]*)(?:=(?P<value>{_VALUE}))?(?![\w/=(]|\.\w)"""
)
_TWICE = re.compile(r"(--[\w-]+) \(\1\)")


def as_options(message: str, parameters: Iterable[click.Parameter]) -> str:
    """A message for someone who has called a command.

    An option with a value is written as in a shell. An argument that the command does not have is marked as Python's.
    Texts in quotes and calls of functions stay as they are.

    Args:
        parameters: the parameters of the command.

    >>> option = click.Option(["--image", "images"])
    >>> as_options("leave images= out, or pass layers=[0]", [option])
    'leave --image out, or pass layers=[0] (in Python)'
    """
    options = {name: option for option in parameters for name in _names(option)}
    return _TWICE.sub(r"\1", _NAMED.sub(lambda found: _written(found, options), message))


def _names(option: click.Parameter) -> list[str]:
    """The names that Python may have for an option: its parameter, and its own name."""
    if not isinstance(option, click.Option):
        return []
    return [str(option.name), *(each[2:].replace("-", "_") for each in option.opts if each.startswith("--"))]


def _written(found: re.Match[str], options: Mapping[str, click.Parameter]) -> str:
    name, value = found["name"], found["value"]
    if found["apart"] or value == "lambda" or (value is None and "_" not in name):  # a word, such as "images"
        return found[0]
    if name not in options:
        return f"{found[0]} (in Python)" if value is not None and name in OPTIONS else found[0]
    written = next(each for each in options[name].opts if each.startswith("--"))
    return f"{written} {_as_text(value)}".rstrip() if value else written


def _as_text(value: str) -> str:
    """A value of Python as written in a shell; empty for True, or if it only shows that there is a value."""
    try:
        known: Any = literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    if known is True or known == [...]:
        return ""
    if isinstance(known, Mapping):
        return ", ".join(
            f"{name}={str(each).lower() if isinstance(each, bool) else each}" for name, each in known.items()
        )
    return "none" if known is None else str(known)

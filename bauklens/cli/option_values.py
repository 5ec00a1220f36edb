"""Values of options -> the arguments of `logit_lens`, the switches of a chat template, and the model."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from bauklens.cli.importing import imported
from bauklens.cli.output import is_quiet, say
from bauklens.errors import LensError
from bauklens.reading_files import parse_json
from bauklens.result.tokens import printable

if TYPE_CHECKING:
    from torch import nn

_WORDS_OF_PYTHON = {"True": True, "False": False, "None": None}
"""As texts, these would all be true in a template."""


def load_model(options: dict[str, Any]) -> "tuple[nn.Module, Any]":
    """The model and the tokenizer that a command's options name; on a terminal, the first line names the model."""
    wanted = {name: value for name, value in options.items() if value}
    if sys.stderr is not None and sys.stderr.isatty():
        say(f"loading {printable(wanted['model'])}")
    loading = loading_quietly()
    return cast("tuple[nn.Module, Any]", loading.load(wanted.pop("model"), **wanted))


def loading_quietly() -> ModuleType:
    """The module that loads models; it shows no progress bars with --quiet or without a terminal."""
    loading = imported("bauklens.model.loading")
    if is_quiet():
        from bauklens.progress import hide_bars

        hide_bars()
    if is_quiet() or not sys.stderr.isatty():
        loading.hide_progress()
    return loading


def lens_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the arguments of `logit_lens` out of a command's options; the rest are for loading the model."""
    arguments = {name: options.pop(name) for name in ("stream", "topk", "norm", "missing", "precision", "measures")}
    arguments["decoder"] = decoders_named(options.pop("decoders"), force=options.pop("force_decoder"))
    if "targets" in options:
        sets = [_target_set(each) for each in options.pop("target_sets")]
        arguments |= {
            "targets": [*options.pop("targets"), *sets] or None,
            "words": options.pop("words"),
        }
    if "track" in options:
        arguments["track"] = options.pop("track")
    measures = "all" if "all" in arguments["measures"] else list(arguments["measures"]) or None
    return arguments | {"measures": measures, "norm": None if arguments["norm"] == "none" else arguments["norm"]}


def _target_set(given: str) -> dict[str, list[Any]]:
    """``NAME=TOKEN,...`` or ``NAME=[...]`` -> the name and the members of a set.

    >>> _target_set("en=270, the")
    {'en': [270, ' the']}
    """
    name, found, members = given.partition("=")
    if not found or not name:
        raise LensError(f"--target-set is {given!r:.80}: pass NAME=TOKEN,TOKEN, such as 'en=270, the'")
    if members.startswith("["):
        try:
            return {name: parse_json(members)}
        except LensError as error:
            raise LensError(f"--target-set {name}: {error}") from None
    return {name: [_id_or_text(each) for each in members.split(",")] if members else []}


def _id_or_text(given: str) -> str | int:
    digits = given.strip()
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else given


def decoders_named(names: tuple[str, ...], *, force: bool) -> Any:
    """The decoders that are named: one, or a list of several; None without any."""
    if not names:
        return None
    imported("torch")
    from bauklens.decoders.chosen import chosen_decoders

    found = chosen_decoders(names, force=force)
    return found if found[1:] else found[0]


def template_of(switches: tuple[str, ...]) -> dict[str, Any] | None:
    """The switches of a chat template from a command's options; None without any.

    Raises:
        LensError: one has no name or no value, or a value begins like JSON but is not JSON.
    """
    named = {}
    for switch in switches:
        name, sign, value = switch.partition("=")
        if not name or not sign:
            raise LensError(f"--template takes NAME=VALUE, such as enable_thinking=false; got {switch!r:.80}")
        named[name] = _switch(name, value)
    return named or None


def _switch(name: str, value: str) -> Any:
    if value in _WORDS_OF_PYTHON:
        return _WORDS_OF_PYTHON[value]
    try:
        return parse_json(value)
    except LensError as error:
        if value.lstrip()[:1] in ("{", "[", '"'):
            raise LensError(f"--template {name}: {error}; got {value!r:.80}") from None
        return value

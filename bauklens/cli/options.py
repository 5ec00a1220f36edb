"""What the commands share: options, files of prompts, what they print, and the model."""

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from bauklens.errors import LensError
from bauklens.files import is_file, require_writable, write_atomically
from bauklens.lens.options import OPTIONS
from bauklens.reading_files import parse_json, read_text
from bauklens.result.tokens import printable
from bauklens.signals import finished
from bauklens.vocabulary import LOOKS, MISSING, NORMS, ON_ERROR, PRECISIONS, STREAMS, WORDS

if TYPE_CHECKING:
    from torch import nn

_WORDS_OF_PYTHON = {"True": True, "False": False, "None": None}
"""As a text, each of these would be true in a template."""

Command = TypeVar("Command", bound=Callable[..., Any])


def _quiet() -> bool:
    return bool(click.get_current_context().find_root().obj)


def say(text: str) -> None:
    """Prints a message on standard error, unless --quiet is given."""
    if not _quiet():
        click.echo(text, err=True)


def print_values(values: Iterable[tuple[str, str]], width: int) -> None:
    """Prints names and values, one line each, as they come."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for name, value in values:
        console.print(Text(name.ljust(width), style="cyan") + Text(printable(value)), soft_wrap=True)


def write(path: str, text: str) -> None:
    """Writes a text to a file, or to standard output if the path is -."""
    if path == "-":
        click.echo(text, nl=False)
    else:
        write_atomically(path, text.encode("utf-8", "backslashreplace"))


def require_each_writable(*paths: Path | str | None) -> None:
    """Refuses files that cannot be written, before anything runs; - means standard output, and None no file."""
    for path in paths:
        if path is not None and path != "-":
            require_writable(path)


def _models(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Completions for --model: folders and files, and the models on this machine."""
    from bauklens.model.caches import cached_models

    known = [name for name in ["demo", *cached_models()] if name.startswith(begun)]
    return [CompletionItem(begun, type="file"), *map(CompletionItem, known)]  # bash drops what comes before it


def model_options(command: Command) -> Command:
    """The options of every command that loads a model."""
    options = [
        click.option(
            "--model",
            default="demo",
            show_default=True,
            help="Hub id, folder (of a model, or of an adapter of PEFT), .gguf file, or demo.",
            shell_complete=_models,
        ),
        click.option("--device", help="For example cpu or cuda:0; by default CUDA if available, else the CPU."),
        click.option(
            "--device-map", help="For example auto: spread the model over devices and offload it, with accelerate."
        ),
        click.option("--dtype", default="auto", show_default=True, help="auto, float32, float16 or bfloat16."),
        click.option("--revision", help="Branch, tag or commit on the hub."),
        click.option("--subfolder", help="The folder within --model that holds the model, such as checkpoint-10."),
        click.option("--base", help="The model that an adapter is for, if it is not where the adapter says."),
        click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def lens_options(command: Command) -> Command:
    """The options of every command that makes lenses."""
    options = [
        click.option(
            "--stream",
            default=OPTIONS["stream"],
            show_default=True,
            type=click.Choice(list(STREAMS)),
            help="States after a block, what a block adds, what its attention or MLP adds, or the state in between.",
        ),
        click.option(
            "--topk",
            default=OPTIONS["topk"],
            show_default=True,
            type=click.IntRange(min=1),
            help="Tokens to keep per cell.",
        ),
        click.option(
            "--norm",
            default=OPTIONS["norm"],
            show_default=True,
            type=click.Choice([str(name).lower() for name in NORMS]),
            help="The final norm to apply before the head: own, final (at the final state's scale) or none.",
        ),
        click.option(
            "--decoder",
            "decoders",
            multiple=True,
            metavar="NAME",
            help="What maps states before the head: logit, demo, a file, a folder or a hub id; repeatable.",
        ),
        click.option(
            "--missing",
            default=OPTIONS["missing"],
            show_default=True,
            type=click.Choice(MISSING),
            help="Rows that a decoder has no map for: leave them out, or show them plain, marked with *.",
        ),
        click.option("--force-decoder", is_flag=True, help="Use decoders that were made for another model."),
        click.option(
            "--precision",
            default=OPTIONS["precision"],
            show_default=True,
            type=click.Choice(PRECISIONS),
            help="auto: bfloat16 if faster, top k proved, the rest estimated to 0.001. exact: the model's own dtype.",
        ),
        click.option(
            "--measure",
            "measures",
            multiple=True,
            help="A measure to compute for every cell, or all; repeatable. By default most of them.",
        ),
        click.option(
            "--look",
            default=LOOKS[0],
            show_default=True,
            type=click.Choice(LOOKS),
            help="default: background by probability. classic: by magnitude.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def target_options(command: Command) -> Command:
    """The options of commands that follow tokens."""
    words = "For a target of several tokens: the probability of all of them, or only of the first."
    command = click.option(
        "--words", default=OPTIONS["words"], show_default=True, type=click.Choice(WORDS), help=words
    )(command)
    command = click.option(
        "--target-set",
        "target_sets",
        multiple=True,
        metavar="NAME=TOKEN,...",
        help="Tokens to follow together, by the sum of their probabilities: texts, and ids in digits; or NAME=[...], "
        "a list in JSON; repeatable.",
    )(command)
    return click.option(
        "--target", "targets", multiple=True, help="A token or word to follow through all layers; repeatable."
    )(command)


def window_options(command: Command) -> Command:
    """The options of commands that run a model on texts, window by window."""
    options = [
        click.option(
            "--length", type=click.IntRange(min=1), default=128, show_default=True, help="Tokens of a window of text."
        ),
        click.option(
            "--skip-first",
            type=click.IntRange(min=0),
            default=16,
            show_default=True,
            help="Positions at the beginning of a window that do not count.",
        ),
        click.option(
            "--on-error",
            type=click.Choice(ON_ERROR),
            default=ON_ERROR[0],
            show_default=True,
            help="What to do if a text fails.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def template_option(command: Command) -> Command:
    """The option of commands that take a chat."""
    return click.option(
        "--template",
        "switches",
        multiple=True,
        metavar="NAME=VALUE",
        help="A switch of the chat template, such as enable_thinking=false; the value is JSON, or text; repeatable.",
    )(command)


def template_of(switches: tuple[str, ...]) -> dict[str, Any] | None:
    """The switches of a chat template that a command is given; None if there are none.

    Raises:
        LensError: one has no name or no value, or a value that begins as JSON does and is not JSON.
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


def require_prompt(text: str) -> None:
    """Refuses the name of a file where a prompt is to be, and says which command or option takes such a file."""
    if not is_file(text):
        return
    suffix = Path(text).suffix
    if suffix == ".safetensors":
        instead = f"bauklens compare {text} OTHER"
    elif suffix == ".json":
        instead = f"bauklens lens --messages {text}, or bauklens compare {text} OTHER"
    else:
        instead = f"bauklens report {text} -o report.html"
    hint = "open it in a browser." if _is_page(suffix) else f"did you mean {instead}?"
    raise LensError(f"{text} is a file: {hint} To use its name as a prompt, run this in another folder")


def _is_page(suffix: str) -> bool:
    return suffix.lower() in (".html", ".htm")


def read_messages(file: Path) -> Any:
    """The chat in a JSON file, or in standard input; raises a LensError if there is none."""
    try:
        return parse_json(read_text(file))
    except LensError as error:
        raise LensError(f"cannot read {file}: {error}") from None


def read_prompts(file: Path) -> list[tuple[int, str, str]]:
    """(line number, heading, prompt) of every prompt in a file, or in standard input; blank lines are skipped.

    Raises:
        LensError: the file cannot be read, is a page or has no prompts, or a line of a .jsonl file is not an object
            with a prompt.
    """
    if _is_page(file.suffix):
        raise LensError(f"{file} is a page, not a file of prompts: open it in a browser")
    try:
        lines = read_text(file).split("\n")
    except LensError as error:
        raise LensError(f"cannot read {file}: {error}") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise LensError(f"{file} contains no prompts")
    if file.suffix != ".jsonl":
        return [(number, line, line) for number, line in numbered]
    return [(number, *_json_prompt(file, number, line)) for number, line in numbered]


def _json_prompt(file: Path, number: int, line: str) -> tuple[str, str]:
    try:
        entry = parse_json(line)
    except LensError as error:
        raise LensError(f"{file}, line {number}: {error}") from None
    prompt = entry.get("prompt") if isinstance(entry, dict) else None
    if not isinstance(prompt, str) or not prompt:
        raise LensError(f'{file}, line {number}: looked for an object with a "prompt" that is text')
    return str(entry.get("title") or prompt), prompt


def lens_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the arguments of `logit_lens` out of a command's options; the rest are those for loading the model."""
    arguments = {name: options.pop(name) for name in ("stream", "topk", "norm", "missing", "precision", "measures")}
    arguments["decoder"] = _decoders(options.pop("decoders"), force=options.pop("force_decoder"))
    if "targets" in options:
        sets = [_target_set(each) for each in options.pop("target_sets")]
        arguments |= {"targets": [*options.pop("targets"), *sets] or None, "words": options.pop("words")}
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


def _decoders(names: tuple[str, ...], *, force: bool) -> Any:
    """The decoders that are named: one, or a list of several; None if none is."""
    if not names:
        return None
    from bauklens.decoders.chosen import chosen_decoders

    found = chosen_decoders(names, force=force)
    return found if found[1:] else found[0]


def load_model(options: dict[str, Any]) -> "tuple[nn.Module, Any]":
    """The model and the tokenizer that a command's options name."""
    loading = finished(import_module, "bauklens.model.loading")  # an interrupt within an import can be swallowed there
    if _quiet():
        from bauklens.progress import hide_bars

        hide_bars()
    if _quiet() or not sys.stderr.isatty():
        loading.hide_progress()
    wanted = {name: value for name, value in options.items() if value}
    return cast("tuple[nn.Module, Any]", loading.load(wanted.pop("model"), **wanted))

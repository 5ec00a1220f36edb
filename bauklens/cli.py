"""The ``bauklens`` command."""

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from bauklens import __version__
from bauklens.errors import LensError, PromptError, out_of_memory
from bauklens.files import require_writable, write_atomically
from bauklens.tokens import printable

if TYPE_CHECKING:
    from torch import nn

    from bauklens.comparison import Comparison
    from bauklens.result import LensResult

Command = TypeVar("Command", bound=Callable[..., Any])

_WORDS = "Of a target of several tokens: the probability of all of them, or of the first."
_MESSAGES = 'A chat in the place of PROMPT: a JSON file, [{"role": "user", "content": "..."}].'

_FAILED = 2
_INTERRUPTED = 130


class _OneLineErrors(click.Group):
    """Says every error of a user in one line on stderr and ends with status 2, without a traceback."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
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
            _fail(f"cannot write: {error.strerror}")
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            sys.exit(_INTERRUPTED)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            _fail("out of memory: pass a shorter prompt, --dtype float16, or --device-map auto")


def _quiet() -> bool:
    return bool(click.get_current_context().find_root().obj)


def _say(text: str) -> None:
    if not _quiet():
        click.echo(text, err=True)


def _write(path: str, text: str) -> None:
    if path == "-":
        click.echo(text, nl=False)
    else:
        write_atomically(path, text.encode("utf-8", "backslashreplace"))


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {printable(' '.join(message.split()))}", err=True)
    sys.exit(_FAILED)


def _model_options(command: Command) -> Command:
    options = [
        click.option("--model", default="demo", show_default=True, help="Hub id, folder, .gguf file, or demo."),
        click.option("--device", help="Such as cpu or cuda:0; by default CUDA where there is one."),
        click.option("--device-map", help="Such as auto: spread over devices and offload, through accelerate."),
        click.option("--dtype", default="auto", show_default=True, help="auto, float32, float16 or bfloat16."),
        click.option("--revision", help="Branch, tag or commit on the hub."),
        click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _lens_options(command: Command) -> Command:
    options = [
        click.option(
            "--stream",
            default="hidden",
            show_default=True,
            type=click.Choice(["hidden", "delta", "attention", "mlp", "mid"]),
            help="States after every block, what every block adds, what its sublayers add, or the state between them.",
        ),
        click.option(
            "--topk", default=5, show_default=True, type=click.IntRange(min=1), help="Tokens to keep in a cell."
        ),
        click.option(
            "--norm",
            default="own",
            show_default=True,
            type=click.Choice(["own", "final", "none"]),
            help="What a state goes through before the head.",
        ),
        click.option(
            "--precision",
            default="auto",
            show_default=True,
            type=click.Choice(["auto", "exact"]),
            help="The model's dtype throughout, or bfloat16 where it is faster and certain to 0.001.",
        ),
        click.option(
            "--measure", "measures", multiple=True, help="A measure of every cell, or all; repeatable. By default most."
        ),
        click.option("--look", default="default", show_default=True, type=click.Choice(["default", "classic"])),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(cls=_OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
@click.option("-q", "--quiet", is_flag=True, help="No progress and no word of what was written; errors still show.")
@click.pass_context
def main(context: click.Context, quiet: bool) -> None:
    """See what a language model was about to say after every block.

    Ends with 0 where all is well, 2 after an error (one line on standard error), 130 when interrupted, and 1 when
    whoever reads the output went away.

    Example: bauklens lens "The Eiffel Tower is located in the city of" -o lens.html
    """
    context.obj = quiet


@main.command(short_help="Print what the model was about to say, layer by layer.")
@click.argument("prompt", required=False)
@_model_options
@_lens_options
@click.option("--target", "targets", multiple=True, help="A token or word to follow through all layers; repeatable.")
@click.option("--words", default="whole", show_default=True, type=click.Choice(["whole", "first"]), help=_WORDS)
@click.option("--messages", type=click.Path(path_type=Path), help=_MESSAGES)
@click.option("--max-new-tokens", type=click.IntRange(min=0), default=0, help="Generate so many tokens after PROMPT.")
@click.option("--blocks", help="Dotted name of the list of blocks, where the wrong one is found.")
@click.option("--head", help="Dotted name of the head, likewise.")
@click.option("--position", type=int, default=-1, help="Position to print; by default the last.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the table of all positions as HTML.")
@click.option("--json", "json_path", metavar="FILE|-", help="Write the result as JSON; - is standard output.")
@click.option("--csv", "csv_path", metavar="FILE|-", help="Write a line for each layer, position and rank as CSV.")
def lens(
    prompt: str | None,
    look: str,
    targets: tuple[str, ...],
    words: str,
    messages: Path | None,
    max_new_tokens: int,
    blocks: str | None,
    head: str | None,
    position: int,
    output: Path | None,
    json_path: str | None,
    csv_path: str | None,
    **options: Any,
) -> None:
    """Print what the model was about to say after every block of PROMPT.

    Example: bauklens lens "The Space Needle is located in" --target " Seattle" -o lens.html
    """
    if json_path == csv_path == "-":
        raise LensError("JSON and CSV cannot both go to standard output: name a file for one of them")
    for path in (output, json_path, csv_path):
        if path is not None and path != "-":
            require_writable(path)
    if messages is not None and prompt is not None:
        raise LensError("a prompt and --messages are given: pass one of them")
    chat = None if messages is None else _read_messages(messages)
    if not prompt and chat is None:
        raise LensError("the prompt is empty: pass at least one token")
    arguments = _lens_arguments(options)
    model, tokenizer = _load(options)
    from bauklens.lens import logit_lens
    from bauklens.select import chosen_positions

    arguments |= {"targets": targets or None, "words": words, "blocks": blocks, "head": head}
    result = logit_lens(model, tokenizer, prompt, **arguments, messages=chat, max_new_tokens=max_new_tokens)
    (shown,) = chosen_positions(len(result.tokens), position)
    if output is not None:
        result.to_html(output, look=look)
    if csv_path is not None:
        _write(csv_path, result.to_csv())
    if json_path is not None:
        _write(json_path, result.to_json() + "\n")
    if "-" not in (csv_path, json_path):
        _print_table(result, shown)
    if output is not None:
        _say(f"wrote {output}")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@_model_options
@_lens_options
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The HTML file to write.")
@click.option("--title", help="The report's heading.")
def report(file: Path, look: str, output: Path, title: str | None, **options: Any) -> None:
    """Write one HTML report of all prompts in FILE.

    FILE holds one prompt a line, or, where its name ends in .jsonl, one object a line with "prompt" and, if wanted,
    "title".

    Example: bauklens report prompts.txt -o report.html
    """
    require_writable(output)
    prompts = read_prompts(file)
    arguments = _lens_arguments(options)
    model, tokenizer = _load(options)
    from bauklens.lens import logit_lens
    from bauklens.page import save_report
    from bauklens.progress import bar

    results = []
    for line, heading, prompt in bar("Prompts", "prompt", prompts):
        try:
            result = logit_lens(model, tokenizer, prompt, **arguments)
        except LensError as error:
            raise LensError(f"{file}, line {line}: {error}") from None
        results.append((heading, result))
    save_report(results, output, title=title or file.stem, look=look)
    _say(f"wrote {output}")


@main.command(short_help="Set two prompts, two models or two saved lenses beside each other.")
@click.argument("one")
@click.argument("other", required=False)
@_model_options
@_lens_options
@click.option("--other-model", help="Run ONE through this model too, in the place of OTHER.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write both as one table, as HTML.")
@click.option("--csv", "csv_path", metavar="FILE|-", help="Write a line for each layer and position as CSV.")
@click.option("--position", type=int, default=-1, help="Place in the table to print; by default the last.")
def compare(
    one: str,
    other: str | None,
    look: str,
    other_model: str | None,
    output: Path | None,
    csv_path: str | None,
    position: int,
    **options: Any,
) -> None:
    """Set two lenses beside each other: of the prompts ONE and OTHER, or of two results that were saved.

    Example: bauklens compare "The Eiffel Tower is in" "The Space Needle is in" -o compared.html
    """
    del look  # there is one only
    for path in (output, csv_path):
        if path is not None and path != "-":
            require_writable(path)
    if (other is None) == (other_model is None):
        raise LensError("pass OTHER, a prompt or a saved result, or --other-model")
    if other is None and _is_saved(one):
        raise LensError("a saved result holds one model's lens: pass the prompt, to run it through --other-model")
    arguments = _lens_arguments(options)
    comparison = _compared(one, other, other_model, arguments, options)
    if output is not None:
        comparison.to_html(output)
        _say(f"wrote {output}")
    if csv_path is not None:
        _write(csv_path, comparison.to_frame().to_csv(index=False))
    if csv_path != "-":
        from bauklens.terminal import print_comparison

        print_comparison(comparison, position)


def _compared(
    one: str, other: str | None, other_model: str | None, arguments: dict[str, Any], options: dict[str, Any]
) -> "Comparison":
    from bauklens.comparison import compare
    from bauklens.result import LensResult

    if other is not None and _is_saved(one) and _is_saved(other):
        return compare(LensResult.load(one), LensResult.load(other))
    second = options | {"model": other_model}
    model, tokenizer = _load(options)
    if other is None:
        from bauklens.apart import compare_models

        return compare_models(model, _load(second)[0], tokenizer, one, **arguments)
    from bauklens.lens import logit_lens

    def lens_of(each: str) -> "LensResult":
        return LensResult.load(each) if _is_saved(each) else logit_lens(model, tokenizer, each, **arguments)

    return compare(lens_of(one), lens_of(other))


def _is_saved(text: str) -> bool:
    return text.endswith((".json", ".safetensors")) and Path(text).is_file()


@main.command(short_help="Average the measures of many prompts, layer by layer.")
@click.argument("file", type=click.Path(path_type=Path))
@_model_options
@_lens_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the averages as an HTML page.")
@click.option("--csv", "csv_path", metavar="FILE|-", help="Write them as CSV.")
@click.option("--title", help="The page's heading.")
def summarize(
    file: Path, look: str, output: Path | None, csv_path: str | None, title: str | None, **options: Any
) -> None:
    """Average every measure over all prompts in FILE, layer by layer; prompts as for `report`.

    Example: bauklens summarize prompts.txt -o summary.html
    """
    del look  # there is one only
    for path in (output, csv_path):
        if path is not None and path != "-":
            require_writable(path)
    prompts = read_prompts(file)
    arguments = _lens_arguments(options)
    model, tokenizer = _load(options)
    from bauklens.progress import bar
    from bauklens.summary import summarize as summarized

    several = bar("Prompts", "prompt", [prompt for _, _, prompt in prompts])
    try:
        summary = summarized(several, model, tokenizer, **arguments)
    except PromptError as error:
        raise LensError(f"{file}, line {prompts[error.number - 1][0]}: {error.reason}") from None
    if output is not None:
        summary.to_html(output, title=title)
        _say(f"wrote {output}")
    if csv_path is not None:
        _write(csv_path, summary.to_frame().to_csv(index=False))
    if csv_path != "-":
        _print_summary(summary)


@main.command(short_help="Print the anatomy of a model, and the check.")
@_model_options
@click.option("--prompt", default="The Eiffel Tower is in", show_default=True, help="What the check is run on.")
def inspect(prompt: str, **model_options: Any) -> None:
    """Print the anatomy of a model: its blocks, its tail, and the check against its own logits.

    Example: bauklens inspect --model gpt2-xl
    """
    model, tokenizer = _load(model_options)
    from rich.console import Console
    from rich.text import Text

    from bauklens.inspection import describe

    console = Console()
    for name, value in describe(model, tokenizer, prompt):
        console.print(Text(f"{name:<12}", style="cyan") + Text(value), soft_wrap=True)


def _read_messages(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise LensError(f"cannot read {file}: {error.strerror}") from None
    except ValueError:
        raise LensError(f"cannot read {file}: it is not JSON") from None


def read_prompts(file: Path) -> list[tuple[int, str, str]]:
    """(line number, heading, prompt) of every prompt in a file; blank lines are passed over.

    Raises:
        LensError: the file cannot be read, holds no prompt, or a line of a .jsonl file is no object with a prompt.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise LensError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LensError(f"cannot read {file}: it is not UTF-8 text") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise LensError(f"{file} holds no prompt")
    if file.suffix != ".jsonl":
        return [(number, line, line) for number, line in numbered]
    return [(number, *_json_prompt(file, number, line)) for number, line in numbered]


def _json_prompt(file: Path, number: int, line: str) -> tuple[str, str]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise LensError(f"{file}, line {number}: not JSON ({error.msg})") from None
    prompt = entry.get("prompt") if isinstance(entry, dict) else None
    if not isinstance(prompt, str) or not prompt:
        raise LensError(f'{file}, line {number}: looked for an object with a "prompt" that is text')
    return str(entry.get("title") or prompt), prompt


def _lens_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Takes what `logit_lens` is given out of a command's options; what is left is what a model is loaded by."""
    arguments = {name: options.pop(name) for name in ("stream", "topk", "norm", "precision", "measures")}
    measures = "all" if "all" in arguments["measures"] else list(arguments["measures"]) or None
    return arguments | {"measures": measures, "norm": None if arguments["norm"] == "none" else arguments["norm"]}


def _load(options: dict[str, Any]) -> "tuple[nn.Module, Any]":
    with _interrupts_after():
        from bauklens.loading import hide_progress, load
        from bauklens.progress import hide_bars

    if _quiet():
        hide_bars()
    if _quiet() or not sys.stderr.isatty():
        hide_progress()
    wanted = {name: value for name, value in options.items() if value}
    return load(wanted.pop("model"), **wanted)


@contextmanager
def _interrupts_after() -> Iterator[None]:
    """Keeps Ctrl-C back until the long imports are done: raised within one, it can be swallowed there."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _print_summary(summary: Any) -> None:
    from bauklens.terminal import print_summary

    print_summary(summary)


def _print_table(result: "LensResult", position: int) -> None:
    from bauklens.terminal import print_position

    print_position(result, position)

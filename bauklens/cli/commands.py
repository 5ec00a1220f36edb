"""The ``bauklens`` command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import get_completion_class

from bauklens import __version__
from bauklens.cli.attribute import attribute
from bauklens.cli.edits import edit_options, edits_of
from bauklens.cli.effect import effect
from bauklens.cli.evaluation import evaluate
from bauklens.cli.fits import fit, merge
from bauklens.cli.one_line import OneLineErrors
from bauklens.cli.option_values import lens_arguments, load_model, template_of
from bauklens.cli.options import lens_options, model_options, target_options, template_option
from bauklens.cli.output import print_values, require_each_writable, require_page, say, shown_first, write
from bauklens.cli.prompt_files import read_messages, read_prompts, require_prompt
from bauklens.cli.results import as_csv, write_json
from bauklens.cli.scores import score
from bauklens.cli.serve import serve
from bauklens.cli.several import compare, summarize
from bauklens.cli.sweep import sweep
from bauklens.errors import LensError
from bauklens.reading_files import STANDARD_INPUT

if TYPE_CHECKING:
    from bauklens.result.result import LensResult

_MESSAGES = 'A chat instead of PROMPT: a JSON file, [{"role": "user", "content": "..."}]; - reads standard input.'


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
@click.option(
    "-q", "--quiet", is_flag=True, help="Hide progress bars and messages about loading and writing; still show errors."
)
@click.pass_context
def main(context: click.Context, quiet: bool) -> None:
    """See what a language model was about to say after every block.

    \b
    bauklens lens "The Eiffel Tower is located in the city of" -o lens.html
    bauklens lens "The Space Needle is in" --model ./my-model --stream delta
    bauklens report prompts.txt -o report.html
    bauklens COMMAND --help

    PROMPT is any text. --model is a folder, a .gguf file, a hub id, or demo: SmolLM2-135M-Instruct,
    dequantized from a 4-bit GGUF file in a separate package; "bauklens doctor" shows whether that is installed.

    Exit status: 0 on success, 2 on error (one line on standard error), 130 on interrupt, 1 if the reader of the output
    exited.
    """
    context.obj = quiet


@main.command(short_help="Print what the model was about to say, layer by layer.")
@click.argument("prompt", required=False)
@model_options
@lens_options
@target_options
@edit_options
@click.option("--messages", type=click.Path(path_type=Path), help=_MESSAGES)
@template_option
@click.option("--text-target", help="The text so far of an encoder-decoder's decoder; PROMPT is then the source.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file with an image for a model that reads images; repeatable.",
)
@click.option(
    "--audio",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A WAV file for a model that reads sounds; repeatable.",
)
@click.option(
    "--max-new-tokens", type=click.IntRange(min=0), default=0, help="Generate up to this many tokens after PROMPT."
)
@click.option("--blocks", help="Dotted name of the list of blocks, if the wrong one is found.")
@click.option("--head", help="Dotted name of the head, if the wrong one is found.")
@click.option(
    "--position", type=int, help="Position to print; by default the last, or the one that a classifier reads."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the table of all positions as HTML.")
@click.option("--json", "json_path", metavar="FILE|-", help="Write the result as JSON; - means standard output.")
@click.option("--csv", "csv_path", metavar="FILE|-", help="Write one row per layer, position and rank as CSV.")
def lens(
    prompt: str | None,
    look: str,
    messages: Path | None,
    switches: tuple[str, ...],
    text_target: str | None,
    images: tuple[Path, ...],
    audio: tuple[Path, ...],
    max_new_tokens: int,
    blocks: str | None,
    head: str | None,
    position: int | None,
    output: Path | None,
    json_path: str | None,
    csv_path: str | None,
    **options: Any,
) -> None:
    """Print what the model was about to say after every block of PROMPT.

    \b
    Example: bauklens lens "The Space Needle is located in" --target " Seattle" -o lens.html
             bauklens lens "The Space Needle is located in" --decoder logit --decoder demo -o lens.html
    """
    if json_path == csv_path == "-":
        raise LensError("JSON and CSV cannot both go to standard output: pass a file for one of them")
    require_page(output)
    require_each_writable(output, json_path, csv_path)
    if messages is not None and prompt is not None:
        raise LensError("both a prompt and --messages are given: pass one of them")
    if prompt is not None:
        require_prompt(prompt)
    chat = None if messages is None else read_messages(messages)
    if prompt is None and chat is None and not images and not audio:
        raise LensError("the prompt is missing: pass a text, or a chat with --messages")
    template = template_of(switches)
    if template is not None and chat is None:
        raise LensError("--template is for a chat: pass one with --messages")
    arguments = lens_arguments(options)
    arguments["edits"] = edits_of(options, arguments["decoder"])
    model, tokenizer = load_model(options)
    from bauklens.arguments import chosen_positions
    from bauklens.lens.lens import logit_lens

    arguments |= {
        "blocks": blocks,
        "head": head,
        "messages": chat,
        "template": template,
        "text_target": text_target,
        "images": list(images) or None,
        "audio": list(audio) or None,
    }
    found: Any = logit_lens(model, tokenizer, prompt, **arguments, max_new_tokens=max_new_tokens)
    results: list[LensResult] = found if isinstance(found, list) else [found]
    wanted = results[0].main_position if position is None else position
    (shown,) = chosen_positions(len(results[0].tokens), wanted)

    def show() -> None:
        if "-" not in (csv_path, json_path):
            from bauklens.show.terminal import print_decoders, print_position

            if results[1:]:
                print_decoders(results, shown)
            else:
                print_position(results[0], shown)

    def write_files() -> None:
        written = [] if output is None else [str(output)]
        if output is not None:
            from bauklens.show.page import save_report

            save_report(results, output, look=look)
        if csv_path is not None:
            write(csv_path, as_csv(results))
        if json_path is not None:
            written += write_json(json_path, results)
        for each in written:
            say(f"wrote {each}")

    shown_first(show, write_files)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@model_options
@lens_options
@target_options
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The HTML file to write.")
@click.option("--title", help="The report's heading.")
def report(file: Path, look: str, output: Path, title: str | None, **options: Any) -> None:
    """Write one HTML report of all prompts in FILE.

    FILE has one prompt per line. If its name ends in .jsonl, each line is an object with "prompt" and, optionally,
    "title". - reads standard input, one prompt per line.

    Example: bauklens report prompts.txt -o report.html
    """
    require_page(output)
    require_each_writable(output)
    prompts = read_prompts(file)
    arguments = lens_arguments(options)
    model, tokenizer = load_model(options)
    from bauklens.lens.lens import logit_lens
    from bauklens.progress import bar
    from bauklens.show.page import save_report

    results = []
    for line, heading, prompt in bar("Prompts", "prompt", prompts):
        try:
            found: Any = logit_lens(model, tokenizer, prompt, **arguments)
        except LensError as error:
            raise LensError(f"{file}, line {line}: {error}") from None
        results += [(heading, result) for result in (found if isinstance(found, list) else [found])]
    save_report(results, output, title=title or ("prompts" if str(file) == STANDARD_INPUT else file.stem), look=look)
    say(f"wrote {output}")


main.add_command(compare)
main.add_command(summarize)
main.add_command(fit)
main.add_command(merge)
main.add_command(attribute)
main.add_command(effect)
main.add_command(evaluate)
main.add_command(score)
main.add_command(serve)
main.add_command(sweep)


@main.command(short_help="Print the parts of a model, and check its lens.")
@model_options
@click.option("--prompt", default="The Eiffel Tower is in", show_default=True, help="The prompt for the check.")
def inspect(prompt: str, **options: Any) -> None:
    """Print the parts of a model: its blocks, its tail, and how closely the lens matches its own logits.

    Example: bauklens inspect --model gpt2-xl
    """
    model, tokenizer = load_model(options)
    from bauklens.lens.inspection import describe

    print_values(describe(model, tokenizer, prompt), width=12)


@main.command(short_help="Print versions, devices, caches, and whether the demo model is installed.")
def doctor() -> None:
    """Print what is installed here: versions, devices, the tracer in use, caches, and the demo model.

    Include this in any bug report. It contains no prompts, but it names some of your folders and the
    models in the hub's cache.

    Example: bauklens doctor
    """
    from bauklens.cli.doctor import examined

    print_values(examined(), width=17)


@main.command(short_help="Print a shell script that completes bauklens commands.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands, options and cached models in SHELL.

    \b
    Example, for the current shell:   eval "$(bauklens completion bash)"
    For every new shell:              bauklens completion bash >> ~/.bashrc
                                      bauklens completion zsh >> ~/.zshrc
                                      bauklens completion fish > ~/.config/fish/completions/bauklens.fish
    """
    completer = get_completion_class(shell)
    if completer is None:
        raise LensError(f"completion for {shell} is not available here")
    click.echo(completer(main, {}, "bauklens", "_BAUKLENS_COMPLETE").source())

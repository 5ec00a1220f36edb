"""The commands about several prompts, models or saved lenses: compare and summarize."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bauklens.cli.option_values import lens_arguments, load_model
from bauklens.cli.options import lens_options, model_options, target_options
from bauklens.cli.output import require_each_writable, require_page, say, shown_first, write
from bauklens.cli.prompt_files import read_prompts, require_prompt
from bauklens.errors import LensError, PromptError
from bauklens.files import is_file
from bauklens.optional import csv_text, joined_frames

if TYPE_CHECKING:
    from bauklens.result.comparison import Comparison
    from bauklens.result.result import LensResult


@click.command(short_help="Compare two prompts, two models or two saved lenses.")
@click.argument("one")
@click.argument("other", required=False)
@model_options
@lens_options
@target_options
@click.option("--other-model", help="Run ONE through this model as well, instead of passing OTHER.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the comparison as HTML.")
@click.option("--csv", "csv_path", metavar="FILE|-", help="Write one row per layer and position as CSV.")
@click.option("--position", type=int, default=-1, help="Position to print; by default the last.")
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
    """Compare two lenses: those of the prompts ONE and OTHER, or two saved results.

    Example: bauklens compare "The Eiffel Tower is in" "The Space Needle is in" -o compared.html
    """
    del look  # these pages have only one look
    require_page(output)
    require_each_writable(output, csv_path)
    if (other is None) == (other_model is None):
        raise LensError("pass either OTHER, a prompt or a saved result, or --other-model")
    if other is None and _is_saved(one):
        raise LensError(
            "a saved result is the lens of one model: to run its prompt through --other-model, pass the prompt"
        )
    for each in filter(None, (one, other)):
        if not _is_saved(each):
            require_prompt(each)
    arguments = lens_arguments(options)
    if isinstance(arguments["decoder"], list):
        raise LensError("compare takes one --decoder: to see several side by side, use bauklens lens")
    comparison = _compared(one, other, other_model, arguments, options)

    def show() -> None:
        if csv_path != "-":
            from bauklens.show.terminal import print_comparison

            print_comparison(comparison, position)

    def write_files() -> None:
        if output is not None:
            comparison.to_html(output)
            say(f"wrote {output}")
        if csv_path is not None:
            write(csv_path, csv_text(comparison.to_frame()))

    shown_first(show, write_files)


def _compared(
    one: str, other: str | None, other_model: str | None, arguments: dict[str, Any], options: dict[str, Any]
) -> "Comparison":
    from bauklens.result.comparison import compare
    from bauklens.result.result import LensResult

    if other is not None and _is_saved(one) and _is_saved(other):
        return compare(LensResult.load(one), LensResult.load(other))
    second = options | {"model": other_model, "subfolder": None, "base": None}
    model, tokenizer = load_model(options)
    if other is None:
        from bauklens.lens.two_models import compare_models

        return compare_models(model, load_model(second)[0], tokenizer, one, **arguments)
    from bauklens.lens.lens import logit_lens

    def lens_of(each: str) -> "LensResult":
        return LensResult.load(each) if _is_saved(each) else logit_lens(model, tokenizer, each, **arguments)

    return compare(lens_of(one), lens_of(other))


def _is_saved(text: str) -> bool:
    """Whether an argument is a file with a result; anything else is a prompt, even if it ends like a file's name."""
    return text.endswith((".json", ".safetensors")) and is_file(text)


@click.command(short_help="Average the measures of many prompts, layer by layer.")
@click.argument("file", type=click.Path(path_type=Path))
@model_options
@lens_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the averages as an HTML page.")
@click.option("--csv", "csv_path", metavar="FILE|-", help="Write the averages as CSV.")
@click.option("--title", help="The page's heading.")
@click.option(
    "--skip-first",
    default=1,
    show_default=True,
    type=int,
    help="How many positions at the beginning of each prompt to leave out.",
)
def summarize(
    file: Path,
    look: str,
    output: Path | None,
    csv_path: str | None,
    title: str | None,
    skip_first: int,
    **options: Any,
) -> None:
    """Average every measure over all prompts in FILE, layer by layer; FILE is as for `report`.

    Example: bauklens summarize prompts.txt -o summary.html
    """
    del look  # these pages have only one look
    require_page(output)
    require_each_writable(output, csv_path)
    prompts = read_prompts(file)
    arguments = lens_arguments(options)
    model, tokenizer = load_model(options)
    from bauklens.lens.corpus import summarize as summarized
    from bauklens.progress import bar

    several = bar("Prompts", "prompt", [prompt for _, _, prompt in prompts])
    try:
        found = summarized(several, model, tokenizer, skip_first=skip_first, **arguments)
    except PromptError as error:
        raise LensError(f"{file}, line {prompts[error.number - 1][0]}: {error.reason}") from None
    summaries = found if isinstance(found, list) else [found]
    if output is not None:
        from bauklens.show.summary import summaries_page

        write(str(output), summaries_page(summaries, title=title))
        say(f"wrote {output}")
    if csv_path is not None:
        write(csv_path, csv_text(joined_frames([summary.to_frame() for summary in summaries])))
    if csv_path != "-":
        from bauklens.show.averages_terminal import print_summary

        for summary in summaries:
            print_summary(summary)

"""The attribute command."""

from pathlib import Path
from typing import Any

import click

from bauklens.cli.option_values import load_model
from bauklens.cli.options import model_options
from bauklens.cli.output import require_each_writable, say, write
from bauklens.cli.prompt_files import require_prompt
from bauklens.cli.written_values import require_known, write_value
from bauklens.errors import LensError
from bauklens.optional import csv_text

_PARTS = ("head", "sublayer")


@click.command(short_help="What each head and MLP adds to the logit of a token.")
@click.argument("prompt")
@model_options
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="The token whose logit it is; given twice, the logit of the first less that of the second. By default the "
    "model's own next token.",
)
@click.option("--position", type=int, default=-1, show_default=True, help="The position whose logits are read.")
@click.option(
    "--by", type=click.Choice(("head", "sublayer")), default="head", show_default=True, help="What is a part."
)
@click.option(
    "--neurons",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Name so many neurons, those that add or take away most.",
)
@click.option("-k", "shown", type=click.IntRange(min=1), default=20, show_default=True, help="How many parts to print.")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Write the parts as .html, .csv or .json, or draw them as .png, .svg or .pdf; repeatable.",
)
@click.option("--json", "json_path", metavar="FILE|-", help="Write all parts as JSON; - means standard output.")
@click.option("--csv", "csv_path", metavar="FILE|-", help="Write one row per part as CSV.")
def attribute(
    prompt: str,
    targets: tuple[str, ...],
    position: int,
    by: str,
    neurons: int,
    shown: int,
    outputs: tuple[Path, ...],
    json_path: str | None,
    csv_path: str | None,
    **options: Any,
) -> None:
    """Print what the embedding, each attention head and each MLP add to the logit of a token after PROMPT.

    The final norm is taken at the scale that it has there, so that the parts add up to the logit. What a part does
    through later blocks is not in it.

    \b
    Example: bauklens attribute "The Eiffel Tower is located in the city of" --target " Paris" --target " London"
    """
    if json_path == csv_path == "-":
        raise LensError("JSON and CSV cannot both go to standard output: pass a file for one of them")
    if len(targets) > 2:
        raise LensError(f"--target is given once, or twice for the difference of two; got {len(targets)}")
    require_each_writable(*outputs, json_path, csv_path)
    require_known(outputs, "contributions")
    require_prompt(prompt)
    model, tokenizer = load_model(options)
    from bauklens.lens.contributions import contributions

    found = contributions(model, tokenizer, prompt, list(targets) or None, position=position, neurons=neurons)
    found = found.by_sublayer() if by == "sublayer" else found
    for path in outputs:
        write_value(found, path)
        say(f"wrote {path}")
    if csv_path is not None:
        write(csv_path, csv_text(found.to_frame()))
    if json_path is not None:
        write(json_path, f"{found.to_json()}\n")
    if "-" not in (csv_path, json_path):
        from bauklens.show.contributions_terminal import print_contributions

        print_contributions(found, shown)

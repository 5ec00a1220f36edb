"""The attribute command."""

from pathlib import Path
from typing import Any

import click

from bauklens.cli.option_values import load_model
from bauklens.cli.options import model_options
from bauklens.cli.prompt_files import require_prompt
from bauklens.cli.written_values import require_writable_values, value_options, write_values
from bauklens.errors import LensError

_PARTS = ("head", "sublayer")


@click.command(short_help="Show what each head and MLP adds to the logit of a token.")
@click.argument("prompt")
@model_options
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="The token with the logit; given twice, the logit of the first less that of the second. By default the "
    "model's own next token.",
)
@click.option("--position", type=int, default=-1, show_default=True, help="The position whose logits are read.")
@click.option(
    "--by", type=click.Choice(("head", "sublayer")), default="head", show_default=True, help="What counts as one part."
)
@click.option(
    "--neurons",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Also list this many neurons: those that add or take away most.",
)
@click.option("-k", "shown", type=click.IntRange(min=1), default=20, show_default=True, help="How many parts to print.")
@value_options("contributions", "part")
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

    The final norm keeps the scale that it has there, so the parts add up to the logit. Effects of a part through later
    blocks are not included.

    \b
    Example: bauklens attribute "The Eiffel Tower is located in the city of" --target " Paris" --target " London"
    """
    if len(targets) > 2:
        raise LensError(f"--target is given once, or twice for the difference of two; got {len(targets)}")
    require_writable_values(outputs, json_path, csv_path, "contributions")
    require_prompt(prompt)
    model, tokenizer = load_model(options)
    from bauklens.lens.contributions import contributions

    found = contributions(model, tokenizer, prompt, list(targets) or None, position=position, neurons=neurons)
    found = found.by_sublayer() if by == "sublayer" else found
    if write_values(found, outputs, json_path, csv_path):
        from bauklens.show.contributions_terminal import print_contributions

        print_contributions(found, shown)

"""The effect command."""

from pathlib import Path
from typing import Any

import click

from bauklens.cli.option_values import load_model
from bauklens.cli.options import model_options
from bauklens.cli.prompt_files import require_prompt
from bauklens.cli.written_values import require_writable_values, value_options, write_values
from bauklens.errors import LensError
from bauklens.vocabulary import PATCHED, PROMPTS


@click.command(short_help="Put each state of one prompt into another, and see what changes.")
@click.argument("clean")
@click.argument("corrupted")
@model_options
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="The answer: a token, by its log probability; given twice, the clean and the corrupted answer, by the "
    "difference of their logits. By default the two prompts' own next tokens.",
)
@click.option(
    "--where",
    default=PATCHED[0],
    show_default=True,
    type=click.Choice(PATCHED),
    help="What is replaced: the state after a block or between its sublayers, or what its attention or MLP adds, or "
    "what each head does.",
)
@click.option(
    "--into",
    default=PROMPTS[0],
    show_default=True,
    type=click.Choice(PROMPTS),
    help="The prompt to run; states of the other one are put into it.",
)
@click.option("--layer", "layers", multiple=True, help="A layer, or a head such as 20.h3; repeatable. By default all.")
@click.option(
    "--position", "positions", multiple=True, type=int, help="A position of the prompt that is run; repeatable."
)
@click.option(
    "--align",
    "pairs",
    multiple=True,
    metavar="N=M",
    help="Position N of CORRUPTED has its counterpart at M of CLEAN; repeatable. Needed if their lengths differ.",
)
@value_options("effects", "layer and position")
def effect(
    clean: str,
    corrupted: str,
    targets: tuple[str, ...],
    where: str,
    into: str,
    layers: tuple[str, ...],
    positions: tuple[int, ...],
    pairs: tuple[str, ...],
    outputs: tuple[Path, ...],
    json_path: str | None,
    csv_path: str | None,
    **options: Any,
) -> None:
    """Put each state of CLEAN into CORRUPTED, one at a time, and print how much of the clean answer comes with it.

    0 means that the model answers as after CORRUPTED, 1 as after CLEAN. Preferably, both prompts have the same length.

    \b
    Example: bauklens effect "The Eiffel Tower is located in the city of" \\
                             "The Colosseum is located in the city of" --where attention -o effects.html
    """
    require_writable_values(outputs, json_path, csv_path, "effects")
    for prompt in (clean, corrupted):
        require_prompt(prompt)
    align = dict(map(_pair, pairs)) or None
    model, tokenizer = load_model(options)
    from bauklens.edits.effect import trace_effect

    found = trace_effect(
        model,
        tokenizer,
        clean,
        corrupted,
        list(targets) or None,
        into=into,
        where=where,
        layers=list(layers) or None,
        positions=list(positions) or None,
        align=align,
    )
    if write_values(found, outputs, json_path, csv_path):
        from bauklens.show.effects_terminal import print_effects

        print_effects(found)


def _pair(given: str) -> tuple[int, int]:
    """``N=M`` -> two positions.

    >>> _pair("3=-1")
    (3, -1)
    """
    here, _, there = given.partition("=")
    try:
        return int(here), int(there)
    except ValueError:
        raise LensError(f"--align takes N=M, two positions, such as 3=4; got {given!r:.80}") from None

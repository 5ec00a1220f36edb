"""The command that runs a corpus through a model, in shards."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bauklens.cli.option_values import lens_arguments, loading_quietly
from bauklens.cli.options import followed_options, model_options, reading_options
from bauklens.cli.output import is_quiet, say
from bauklens.vocabulary import FAILED_PROMPTS, PER_SHARD, ROWS

if TYPE_CHECKING:
    from bauklens.corpus.opened import Sweep

_COUNT = click.IntRange(min=1)


@click.command(short_help="Run a corpus through a model, and write Parquet files.")
@click.argument("prompts")
@click.argument("more_models", nargs=-1, metavar="[MODEL]...")
@model_options
@reading_options
@followed_options
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder to write.")
@click.option("--layer", "layers", multiple=True, help="A layer to read; repeatable. By default all.")
@click.option("--per", type=_COUNT, default=PER_SHARD, show_default=True, help="Prompts per file.")
@click.option("--rows", type=click.Choice(ROWS), help="One row per prompt and layer, or also per position.")
@click.option("--positions", metavar="last|all|N", help="The positions to read; by default those that --rows is for.")
@click.option("--column", help="The column of the prompts; by default prompt, text or messages.")
@click.option("--keep", help="Columns of the input to keep, with commas between; by default numbers, texts and dates.")
@click.option("--split", default="train", show_default=True, help="The split of a data set on the hub.")
@click.option("--config", help="The configuration of a data set on the hub.")
@click.option("--limit", type=_COUNT, help="The most prompts to take, from the first.")
@click.option("--streaming", is_flag=True, help="Stream a data set from the hub as needed; requires --limit.")
@click.option(
    "--on-error",
    type=click.Choice(FAILED_PROMPTS),
    default=FAILED_PROMPTS[0],
    show_default=True,
    help="What to do if a prompt fails: write its error as a row, or stop.",
)
@click.option("--worker", type=click.IntRange(min=0), help="The number of this worker, if no launcher sets it.")
@click.option("--workers", type=_COUNT, help="How many workers there are; with --ray, how many to start.")
@click.option(
    "--ray",
    "ray",
    is_flag=False,
    flag_value="",
    metavar="[ADDRESS]",
    help="Let Ray start the workers, on this machine or others.",
)
def sweep(
    prompts: str,
    more_models: tuple[str, ...],
    output: Path,
    layers: tuple[str, ...],
    positions: str | None,
    keep: str | None,
    **options: Any,
) -> None:
    """Run the prompts in PROMPTS through a model, and write the results as Parquet files.

    PROMPTS is a file (.jsonl, .parquet, .csv, or .txt with one prompt per line) or a data set on the hub. Run the same
    command again to continue after an interruption. Started by torchrun, accelerate launch, srun or an array job of
    Slurm, the workers share the prompts. Several MODELs, such as run/checkpoint-*, are read one after another.

    \b
    Example: bauklens sweep prompts.jsonl --model gpt2-xl --measure entropy --target " Paris" -o out
             torchrun --nproc-per-node 8 -m bauklens sweep prompts.jsonl --model gpt2-xl -o out
             bauklens sweep prompts.jsonl --model 'run/checkpoint-*' -o out
    """
    names = ("per", "rows", "column", "split", "config", "limit", "streaming", "on_error", "worker", "workers", "ray")
    own = {name: options.pop(name) for name in names}
    arguments = lens_arguments(options)
    arguments["layers"] = [int(each) if each.removeprefix("-").isdecimal() else each for each in layers] or None
    model = options.pop("model")
    loading_quietly()
    from bauklens.corpus.sweep import sweep as swept
    from bauklens.corpus.workers import this_worker

    found = swept(
        prompts,
        output,
        [model, *more_models] if more_models else model,
        positions=_positions(positions),
        keep=None if keep is None else [each for each in keep.split(",") if each],
        load={name: value for name, value in options.items() if value},
        tell=None if is_quiet() or sys.stderr.isatty() else say,
        **own,
        **arguments,
    )
    if this_worker(own["worker"], own["workers"] if own["ray"] is None else None).is_first:
        _say_what_is_there(found, output)


def _positions(given: str | None) -> str | int | None:
    return int(given) if given is not None and given.removeprefix("-").isdecimal() else given


def _say_what_is_there(found: "Sweep", output: Path) -> None:
    failed = len(found.failed())
    if failed:
        say(f"{failed:,} of {found.manifest.prompts:,} prompts failed: see the column error of their rows")
    say(
        f"{found.done:,} of {found.shards:,} files are in {output}"
        + ("" if found.is_complete else ": the rest are still missing")
    )

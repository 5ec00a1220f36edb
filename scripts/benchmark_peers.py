#!/usr/bin/env python3
"""The time and memory for reading every layer with bauklens and with other tools.

Each way runs in its own process; they alternate round by round. A tool that is not installed beside bauklens gets
a virtual environment in the --cache folder, which is kept and takes 1.3 GB. Two tools are only on GitHub; --repository
installs one of them from another copy of its repository.

.venv/bin/python scripts/benchmark_peers.py --tokens 128
"""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import torch
from benchmark import DOCS, TEXT, machine, write_docs
from peers.environments import Environments, NotMeasuredError
from peers.measuring import measure
from peers.processes import Process
from peers.prompts import prompt_of
from peers.table import COLUMNS, PEERS, heading, left_out, notes, rows_of
from peers.ways import FLOOR, NAMED, OURS, REPOSITORIES, WAYS, Way
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

import bauklens
from bauklens.decoders import LearnedDecoder
from bauklens.model.caches import cache_folder


def chosen(names: tuple[str, ...]) -> list[Way]:
    """The ways with these names, and those that they are compared with; without names, all."""
    if not names:
        return [*WAYS]
    needed = {FLOOR, OURS, *names, *(NAMED[name].measure for name in names)}
    return [way for way in WAYS if way.name in needed]


def lens_of(name: str, model: Any) -> LearnedDecoder:
    """The Jacobian lens of the demo model; for another model a random one, in float16 as in files."""
    if name == "demo":
        return bauklens.load_decoder("demo")
    text = model.config.get_text_config()
    generator, size = torch.Generator().manual_seed(0), (text.hidden_size, text.hidden_size)
    maps = {str(layer): torch.randn(size, generator=generator).half() for layer in range(text.num_hidden_layers - 1)}
    return bauklens.JacobianLens(maps, name="random")


def started(ways: list[Way], **job: Any) -> tuple[dict[str, Process], dict[str, str]]:
    """Name -> its process, or the reason why it has none."""
    running: dict[str, Process] = {}
    missing: dict[str, str] = {}
    progress = tqdm(ways, desc="Starting", unit="way", disable=None)
    for way in progress:
        progress.set_postfix_str(f"{'installing ' if job['environments'].missing(way) else ''}{way.name}")
        try:
            running[way.name] = Process(way, **job)
        except NotMeasuredError as error:
            missing[way.name] = str(error)
    return running, missing


def measured(
    name: str, ways: list[Way], lengths: tuple[int, ...], rounds: int, environments: Environments
) -> list[dict[str, Any]]:
    """A run for each length, as plain values."""
    model: Any
    model, tokenizer = bauklens.load(name, device="cpu")
    if tokenizer is None:
        raise click.UsageError(f"{name} has no tokenizer, and some tools take only texts: pass a model that has one")
    text, layers = TEXT.read_text(encoding="utf-8"), model.config.get_text_config().num_hidden_layers
    prompts = {length: prompt_of(tokenizer, text, length) for length in lengths}
    vocabulary = model.get_output_embeddings().weight.shape[0]
    about = {
        "model": name,
        "dtype": str(model.dtype).removeprefix("torch."),
        "layers": layers,
        "rounds": rounds,
        "machine": machine(model.device),
    }
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        lens_of(name, model).save(folder / "lens.pt")
        del model
        numbers = {length: (1 + layers) * length * vocabulary for length in lengths}
        job = {"folder": folder, "lens": folder / "lens.pt", "prompts": prompts, "numbers": numbers}
        running, missing = started(ways, environments=environments, **job)
        for process in running.values():
            ends.callback(process.close)
        for needed in (FLOOR, OURS):
            if needed in missing:
                raise click.ClickException(f"{needed}: {missing[needed]}")
        versions = {each: process.versions for each, process in running.items()}
        runs = []
        for length, found in measure(running, lengths, rounds).items():
            for needed in (FLOOR, OURS):
                if "reason" in found[needed]:
                    raise click.ClickException(f"{needed}, {length} tokens: {found[needed]['reason']}")
            rows = {way.name: {"reason": missing[way.name]} if way.name in missing else found[way.name] for way in ways}
            runs.append({**about, "tokens": length, "ways": rows, "versions": versions})
    return runs


def show(run: dict[str, Any]) -> None:
    """Prints one run."""
    console = Console()
    table = Table(title=heading(run), caption="\n".join([*left_out(run), notes(run)]))
    for column in COLUMNS:
        table.add_column(column, justify="right" if column else "left")
    for row in rows_of(run):
        table.add_row(*row)
    if not console.is_terminal:
        console.width = max(console.width, 140)  # a pipe has no width of its own, and every word is to be read
    console.print(table)


def merged(path: Path, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These runs and those of the file; they replace runs of the same model and length."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    every = {(run["model"], run["dtype"], run["tokens"]): run for run in [*before, *runs]}
    return [every[kind] for kind in sorted(every)]


def addresses(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """NAME=ADDRESS, several times."""
    found = dict(each.partition("=")[::2] for each in given)
    if set(found) - set(REPOSITORIES) or not all(found.values()):
        raise click.BadParameter(f"pass NAME=ADDRESS, with NAME one of {', '.join(REPOSITORIES)}")
    return found


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", default="demo", show_default=True, help="A model that transformers loads, and its tokenizer.")
@click.option(
    "--tokens", multiple=True, default=[32, 128, 512], show_default=True, help="Lengths of the prompt; may be repeated."
)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--way",
    "names",
    multiple=True,
    type=click.Choice([*NAMED]),
    help="Measure only this, besides the floor and bauklens; repeatable.",
)
@click.option(
    "--cache",
    default=cache_folder() / "peers",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The folder with the virtual environments of the tools.",
)
@click.option("--install/--no-install", default=True, show_default=True, help="Install tools that are missing there.")
@click.option(
    "--repository",
    "repositories",
    multiple=True,
    callback=addresses,
    metavar="NAME=ADDRESS",
    help=f"The address of {' or '.join(REPOSITORIES)} for git, instead of GitHub; the commit stays the same.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option(
    "--docs",
    is_flag=False,
    flag_value=DOCS,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="[FOLDER]",
    help="Write them to PERFORMANCE.md, in docs/ or in another folder.",
)
def main(
    model: str,
    tokens: tuple[int, ...],
    rounds: int,
    names: tuple[str, ...],
    cache: Path,
    install: bool,
    repositories: dict[str, str],
    json_path: Path | None,
    docs: Path | None,
) -> None:
    """Prints the tables."""
    runs = measured(model, chosen(names), tokens, rounds, Environments(cache, repositories, install))
    for run in runs:
        show(run)
    if json_path is not None:
        json_path.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    if docs is not None:
        (docs / PEERS).write_text(json.dumps(merged(docs / PEERS, runs), indent=1) + "\n", encoding="utf-8")
        write_docs([], docs)


if __name__ == "__main__":
    main()

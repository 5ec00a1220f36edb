#!/usr/bin/env python3
"""Measures and checks bauklens on an NVIDIA GPU, with one command in under ten minutes.

Times the lens on models of real sizes with random weights, compared with a lower bound, the notebook's way, and
TransformerLens if it is installed; shows what the time is spent on; lets CUDA run out of memory; runs the tests that
need CUDA; and compares the experimental kernel of gpu_kernels.py with torch's operators. The most important parts come
first. A part that fails gives a line with the reason. Parts for which no time is left are listed.

.venv/bin/python scripts/gpu_session.py --json gpu.json --docs
"""

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import Any

import click
import torch
from benchmark import DOCS, SHAPES, machine, write_docs
from gpu_checks import Outcome, cuda_tests, memory_runs_out, two_gpus
from gpu_table import GPU, show
from gpu_timing import free, reason
from gpu_transformer_lens import NAME as TRANSFORMER_LENS
from gpu_transformer_lens import add
from gpu_ways import build, measure

DTYPES = ("bfloat16", "float32", "float16")
TESTS_SECONDS = 120.0


@dataclass(frozen=True)
class Part:
    """A part of the session, with the approximate seconds that it needs on an H100."""

    name: str
    needs: float
    run: Callable[[], None]


class Session:
    """One run of the script.

    Args:
        minutes: the time limit.
        json_path: the file to which the figures are written after every part, so that nothing is lost.
    """

    def __init__(self, device: torch.device, minutes: float, rounds: int, json_path: Path | None) -> None:
        self.device, self.rounds, self.json_path = device, rounds, json_path
        self.started = time.monotonic()
        self.until = self.started + 60 * minutes
        self.model: Any = None
        self.built: tuple[str, str] | None = None
        self.found: dict[str, Any] = {
            "machine": machine(device),
            "versions": _versions(),
            "command": f".venv/bin/python scripts/gpu_session.py --minutes {minutes:g} --rounds {rounds} --docs",
            "minutes": minutes,
            "rounds": rounds,
            "seconds": 0.0,
            "runs": [],
            "kernel": {"equality": [], "times": []},
            "checks": [],
            "left out": [],
        }

    def run(self, parts: list[Part]) -> None:
        """Runs the parts for which there is time, in order."""
        for part in parts:
            left = self.until - time.monotonic()
            if left < part.needs:
                self.leave_out(part.name, f"it needs about {part.needs:.0f} seconds, {max(0.0, left):.0f} were left")
                continue
            click.echo(f"{time.monotonic() - self.started:5.0f} s  {part.name}", err=True)
            try:
                part.run()
            except Exception as error:
                self.leave_out(part.name, reason(error))
                error.__traceback__ = None
                free()
            self.keep()
        self.keep()

    def keep(self) -> None:
        """Writes the figures so far."""
        self.found["seconds"] = time.monotonic() - self.started
        if self.json_path is not None:
            self.json_path.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")

    def leave_out(self, what: str, why: str) -> None:
        """Records why something is missing."""
        self.found["left out"].append({"what": what, "reason": why})

    def times(self, shape: str, dtype: str, tokens: int, most: int) -> None:
        """One model at one length; the model is kept for the next."""
        if self.built != (shape, dtype):
            self.drop()
            self.model = build(shape, dtype, most, self.device)
            self.built = shape, dtype
        run = measure(self.model, tokens, self.rounds, self.until)
        for name, why in run["failed"].items():
            self.leave_out(f"{shape}, {dtype}, {tokens:,} tokens: {name}", why)
        self.found["runs"].append({"shape": shape, **run})

    def transformer_lens(self, shape: str, dtype: str) -> None:
        """TransformerLens at all lengths that were timed; it changes the model."""
        if util.find_spec("transformer_lens") is None:
            raise RuntimeError("it is not installed")
        runs = [run for run in self.found["runs"] if (run["shape"], run["dtype"]) == (shape, dtype)]
        if self.built != (shape, dtype) or not runs:
            raise RuntimeError("no model was timed before")
        try:
            before = [dict(run["failed"]) for run in runs]
            add(runs, self.model, self.rounds, self.until)
            for run, known in zip(runs, before, strict=True):
                for name in run["failed"].keys() - known.keys():
                    self.leave_out(f"{shape}, {dtype}, {run['tokens']:,} tokens: {name}", run["failed"][name])
        finally:
            self.drop()

    def drop(self) -> None:
        """Makes room for another model."""
        self.model, self.built = None, None
        free()

    def kernel(self, rows: int, vocabulary: int) -> None:
        """The kernel is compared with float64, and with torch's operators for time."""
        from gpu_kernel_check import equality, not_finite, times

        cases = self.found["kernel"]["equality"] = equality(self.device)
        wrong = [case["case"] for case in cases if not case["equal"]]
        if not not_finite(self.device):
            wrong.append("a NaN or an infinite logit is not seen")
        line = f"{sum(case['equal'] for case in cases)} of {len(cases)} cases equal float64" + "".join(
            f"; wrong: {each}" for each in wrong
        )
        self.check(Outcome("the experimental kernel", "FAILED" if wrong else "ok", line))
        self.found["kernel"]["times"] += times(self.device, rows, vocabulary, 4 * self.rounds)

    def compiled(self, rows: int, vocabulary: int) -> None:
        """Torch's operators under torch.compile."""
        from gpu_kernel_check import times

        self.found["kernel"]["times"] += times(self.device, rows, vocabulary, 4 * self.rounds, compiled=True)

    def check(self, outcome: Outcome) -> None:
        """Keeps the result of a check."""
        self.found["checks"].append(asdict(outcome))


def parts_of(session: Session, shapes: tuple[str, ...], dtypes: tuple[str, ...], tokens: tuple[int, ...]) -> list[Part]:
    """The parts of a session, the most important first."""
    tiny, on_gpu = set(shapes) == {"tiny"}, session.device.type == "cuda"
    slow = 0.0 if tiny else 1.0
    tile = (4, 5000) if tiny else (640, 50257)
    peers = util.find_spec("transformer_lens") is not None
    models: dict[str, list[Part]] = {}
    for dtype in dtypes:
        models[dtype] = []
        for shape in shapes:
            for length in tokens:
                name, needs = f"{shape}, {dtype}, {length:,} tokens", slow * (10 + length / 200)
                models[dtype].append(Part(name, needs, partial(session.times, shape, dtype, length, max(tokens))))
            if peers:
                name = f"{shape}, {dtype}: {TRANSFORMER_LENS}"
                models[dtype].append(Part(name, slow * 20, partial(session.transformer_lens, shape, dtype)))
    first, *others = models.values()

    def tests() -> None:
        session.drop()
        seconds = min(TESTS_SECONDS, session.until - time.monotonic())
        session.check(cuda_tests(seconds) if on_gpu else Outcome("pytest -m cuda", "left out", "it needs CUDA"))

    def memory() -> None:
        session.drop()
        session.check(memory_runs_out(session.device))

    def spread() -> None:
        session.drop()
        session.check(two_gpus())

    found = [
        Part("the experimental kernel", slow * 15, partial(session.kernel, *tile)),
        Part("out of CUDA memory", slow * 15, memory),
        *first,
        Part("pytest -m cuda", slow * 30, tests),
        Part("two GPUs", 0.0, spread),
        *(part for each in others for part in each),
        *([Part("torch.compile's reduction", slow * 60, partial(session.compiled, *tile))] if on_gpu else []),
    ]
    if not peers:
        session.leave_out(TRANSFORMER_LENS, "it is not installed")
    return found


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), "torch": torch.__version__}
    if torch.version.cuda:
        found["CUDA"] = torch.version.cuda
    for name in ("transformers", "triton", "transformer-lens"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--shape", "shapes", type=click.Choice([*sorted(SHAPES), "tiny"]), multiple=True)
@click.option("--dtype", "dtypes", type=click.Choice(DTYPES), multiple=True, default=DTYPES, show_default=True)
@click.option("--tokens", type=click.IntRange(2), multiple=True, default=(1024, 128, 4096), show_default=True)
@click.option("--device", default="cuda", show_default=True, help="cpu tries the script itself, with --shape tiny.")
@click.option("--minutes", type=float, default=9.0, show_default=True, help="The time limit.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option("--docs", is_flag=True, help="Write them to docs/PERFORMANCE.md.")
def main(
    shapes: tuple[str, ...],
    dtypes: tuple[str, ...],
    tokens: tuple[int, ...],
    device: str,
    minutes: float,
    rounds: int,
    json_path: Path | None,
    docs: bool,
) -> None:
    """Prints the tables."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise click.ClickException(
            f"torch {torch.__version__} sees no CUDA device: run this on a machine with an NVIDIA GPU and a CUDA build "
            "of torch, or try the script itself with --device cpu --shape tiny --tokens 16"
        )
    session = Session(torch.device(device), minutes, rounds, json_path)
    session.run(parts_of(session, shapes or ("gpt2-xl", "gptj"), dtypes, tokens))
    show(session.found)
    if docs:
        (DOCS / GPU).write_text(json.dumps(session.found, indent=1) + "\n", encoding="utf-8")
        write_docs([], DOCS)


if __name__ == "__main__":
    main()

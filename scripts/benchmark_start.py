#!/usr/bin/env python3
"""How long commands take from a shell, compared with a bare program that loads the same model, and why.

Every command runs several times, each in its own process, the commands alternating; read the ratios. The tables are
printed and, with --docs, written to docs/PERFORMANCE.md.

.venv/bin/python scripts/benchmark_start.py --rounds 5
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import torch
import transformers
from benchmark import DOCS, START, machine, write_docs
from start_imports import LARGE, large_imports
from start_table import of_the_start

import bauklens
from bauklens.model.caches import demo_folder

_PARTS = Path(__file__).parent / "start_parts.py"
_MODULE = (sys.executable, "-m", "bauklens")
_PROMPT = "The Eiffel Tower is located in the city of"

BARE = "bare: import torch, transformers; load the model"
LENS = "bauklens lens PROMPT -o lens.html"

_BARE = """
import sys
import torch, transformers
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
"""
_FORWARD = f"""{_BARE}
from transformers import AutoTokenizer
ids = AutoTokenizer.from_pretrained(sys.argv[1])(sys.argv[2], return_tensors="pt")["input_ids"]
with torch.inference_mode():
    print(model(input_ids=ids).logits[0, -1].argmax())
"""
_SAVED = 'import bauklens; bauklens.LensResult.load("lens.json").to_html("saved.html")'


def commands_of(model: str, prompt: str) -> dict[str, list[str]]:
    """The name of each measurement for a reader -> how it is started."""
    source = str(demo_folder()) if model == "demo" else model
    python = sys.executable
    return {
        "python -c pass": [python, "-c", "pass"],
        "import bauklens": [python, "-c", "import bauklens"],
        "bauklens --help": [*_MODULE, "--help"],
        "a saved lens, loaded and written as HTML": [python, "-c", _SAVED],
        "bauklens compare one.json other.json": [*_MODULE, "compare", "lens.json", "lens.json"],
        "bauklens doctor": [*_MODULE, "doctor"],
        BARE: [python, "-c", _BARE, source],
        "bare, with its tokenizer and a forward pass": [python, "-c", _FORWARD, source, prompt],
        LENS: [*_MODULE, "lens", prompt, "--model", model, "-o", "lens.html"],
    }


PARTS, IMPORTS = "parts", "imports"
CASES = (*commands_of("", ""), PARTS, IMPORTS)
"""What can be measured: the commands, the parts of a lens, and who imports what."""


class Shell:
    """Runs programs in a separate folder, which may keep their bytecode."""

    def __init__(self, folder: Path, *, keeps_bytecode: bool) -> None:
        self._folder, self._environment = folder, dict(os.environ)
        if keeps_bytecode:
            self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
            self._environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")

    def timed(self, command: Sequence[str]) -> dict[str, float | None]:
        """Seconds until its end, of the processor, and until its first output, if any."""
        first = None
        with tempfile.TemporaryFile() as errors:
            started = time.perf_counter()
            process = subprocess.Popen(  # noqa: S603 - our own commands
                command, stdout=subprocess.PIPE, stderr=errors, cwd=self._folder, env=self._environment
            )
            assert process.stdout is not None
            while os.read(process.stdout.fileno(), 1 << 16):
                first = first or time.perf_counter() - started
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            process.stdout.close()
            if process.returncode:
                errors.seek(0)
                raise SystemExit(f"{' '.join(command)} failed: {errors.read().decode()}")
        return {"seconds": seconds, "processor": used.ru_utime + used.ru_stime, "first": first}

    def parts(self, model: str, prompt: str) -> dict[str, float]:
        """Seconds of each part of a lens."""
        begun = time.time()
        ran = self._run([sys.executable, str(_PARTS), model, prompt, "parts.html"])
        ended = time.time()
        stamps = [("begun", begun), *json.loads(ran.stdout.splitlines()[-1]), ("end the process", ended)]
        return {part: at - before for (_, before), (part, at) in pairwise(stamps)}

    def told(self, command: Sequence[str]) -> str:
        """Python's report on the imports of a program."""
        return self._run([command[0], "-X", "importtime", *command[1:]]).stderr

    def _run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        ran = subprocess.run(  # noqa: S603 - our own commands
            command, capture_output=True, text=True, cwd=self._folder, env=self._environment, check=False
        )
        if ran.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {ran.stderr[-2000:]}")
        return ran


def measure(model: str, prompt: str, rounds: int, cases: Sequence[str]) -> dict[str, Any]:
    """Everything that the tables need, as plain values."""
    commands = {name: each for name, each in commands_of(model, prompt).items() if name in (BARE, *cases)}
    with tempfile.TemporaryDirectory() as place:
        shell = Shell(Path(place), keeps_bytecode=rounds > 0)
        lens = bauklens.logit_lens(*bauklens.load(model), prompt)
        lens.save(Path(place) / "lens.json")
        taken: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
        parts: list[dict[str, float]] = []
        for number in range(rounds + 1):
            for name, command in commands.items():
                taken[name].append(shell.timed(command))
            parts += [shell.parts(model, prompt)] if PARTS in cases else []
            if number == 0 < rounds:  # it made the bytecode, and brought files into the cache
                taken, parts = {name: [] for name in commands}, []
        found: dict[str, Any] = {}
        if IMPORTS in cases:
            told = {name: shell.told(commands_of(model, prompt)[name]) for name in (LENS, BARE)}
            ours, theirs = large_imports(told[LENS]), large_imports(told[BARE])
            found["imports"] = {name: each._asdict() | {"bare": name in theirs} for name, each in ours.items()}
            found["not imported"] = [name for name in LARGE if name not in ours]
        if parts:
            found["parts"] = {part: statistics.median(each[part] for each in parts) for part in parts[0]}
    return {
        "model": model,
        "tokens": len(lens.tokens),
        "machine": machine(torch.device("cpu")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "rounds": rounds,
        "bare": BARE,
        "commands": {name: _medians(each) for name, each in taken.items()},
        **found,
    }


def _medians(runs: list[dict[str, Any]]) -> dict[str, float | None]:
    return {name: None if runs[0][name] is None else statistics.median(each[name] for each in runs) for name in runs[0]}


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", default="demo", show_default=True, help="A model on this machine: demo, or a folder.")
@click.option("--prompt", default=_PROMPT, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="0 runs each command once, without warming up.")
@click.option("--case", "cases", multiple=True, type=click.Choice(CASES), help="What to measure; by default all.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option("--docs", is_flag=True, help="Write the tables to docs/PERFORMANCE.md.")
def main(model: str, prompt: str, rounds: int, cases: tuple[str, ...], json_path: Path | None, docs: bool) -> None:
    """Prints the tables."""
    model = model if model == "demo" else str(Path(model).resolve())
    found = measure(model, prompt, rounds, cases or CASES)
    print(of_the_start(found))
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if docs:
        (DOCS / START).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        write_docs([], DOCS)


if __name__ == "__main__":
    main()

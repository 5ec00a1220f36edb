"""How many prompts a second a sweep reads, compared with forward passes of the same batches: benchmark.py --sweep."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import bauklens
from bauklens.model.inputs import context_length

SWEEP = "performance_sweep.json"
_TEXTS = Path(__file__).parent.parent / "docs" / "guide"
_SHORT, _LONG = 12, 36
_EQUAL, _PROMPTS = 24, 16
_LONGER = 1.25


def prompts_of(tokenizer: Any, count: int) -> list[list[int]]:
    """Ids of this many pieces of the guide, of 12 to 36 tokens."""
    text = " ".join(path.read_text(encoding="utf-8") for path in sorted(_TEXTS.glob("*.md")))
    ids = tokenizer(text)["input_ids"]
    found: list[list[int]] = []
    start = 0
    while len(found) < count:
        length = _SHORT + len(found) * 7 % (_LONG - _SHORT + 1)
        if start + length > len(ids):
            start = len(found) % _SHORT
        found.append(ids[start : start + length])
        start += length
    return found


def batches(prompts: Sequence[list[int]], most: int = 64) -> list[list[list[int]]]:
    """Batches of about the same length."""
    found: list[list[list[int]]] = []
    for each in sorted(prompts, key=len):
        if found and len(found[-1]) < most and len(each) <= _LONGER * len(found[-1][0]):
            found[-1].append(each)
        else:
            found.append([each])
    return found


def forward(model: Any, prompts: Sequence[list[int]]) -> float:
    """Seconds of the bare forward passes."""
    begin = time.perf_counter()
    with torch.inference_mode():
        for batch in batches(prompts):
            longest = max(map(len, batch))
            ids = torch.tensor([each + each[-1:] * (longest - len(each)) for each in batch], device=model.device)
            places = torch.arange(longest, device=model.device)
            mask = places < torch.tensor([[len(each)] for each in batch], device=model.device)
            model(input_ids=ids, attention_mask=mask.long())
    return time.perf_counter() - begin


def bytes_of_row(folder: Path) -> float:
    """The bytes of a sweep's files."""
    found = bauklens.open_sweep(folder)
    return sum(path.stat().st_size for path in found.files) / int(found.dataset.count_rows())


def swept(model: str, prompts: Path, folder: Path, workers: int, threads: int, rows: str) -> float:
    """Seconds of a sweep by this many workers, each with its share of the threads, without loading."""
    out = folder / f"{rows}-{workers}"
    command = [sys.executable, "-m", "bauklens", "-q", "sweep", str(prompts), "--model", model, "-o", str(out)]
    command += ["--rows", rows, "--per", "64"]
    each = {"OMP_NUM_THREADS": str(max(1, threads // workers)), "WORLD_SIZE": str(workers)}
    started = [
        subprocess.Popen(command, env=os.environ | each | {"RANK": str(rank), "LOCAL_RANK": str(rank)})  # noqa: S603
        for rank in range(workers)
    ]
    statuses = [process.wait() for process in started]
    if any(statuses):
        raise SystemExit("a sweep failed")
    return float(max(run["seconds"] for run in bauklens.open_sweep(out).runs))


def ratio_of_many(model: Any, tokenizer: Any, prompts: Sequence[list[int]], rounds: int, equal: int) -> float:
    """How long this many prompts of 24 tokens take, relative to one prompt of as many tokens."""
    ids = [token for each in prompts for token in each][: _EQUAL * equal]
    parts = [ids[start : start + _EQUAL] for start in range(0, len(ids), _EQUAL)]

    def seconds(run: Callable[[], object]) -> float:
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin

    def one() -> object:
        return bauklens.logit_lens(model, tokenizer, ids, track=0)

    def many() -> object:
        return list(bauklens.lenses(parts, model, tokenizer))

    one(), many()
    pairs = [(seconds(one), seconds(many)) for _ in range(rounds)]
    return statistics.median(several for _, several in pairs) / statistics.median(single for single, _ in pairs)


def measure(name: str, model: Any, tokenizer: Any, prompts: int, rounds: int, about: dict[str, str]) -> dict[str, Any]:
    """Prompts a second of every case."""
    equal = min(_PROMPTS, (context_length(model) or _EQUAL * _PROMPTS) // _EQUAL)
    given, threads = prompts_of(tokenizer, prompts), torch.get_num_threads()
    forward(model, given[:64])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = folder / "prompts.jsonl"
        path.write_text("".join(json.dumps({"prompt": each}) + "\n" for each in given), encoding="utf-8")
        taken = {
            "bare forward pass, in batches": forward(model, given),
            "sweep, 1 worker, last position": swept(name, path, folder, 1, threads, "layer"),
            "sweep, 2 workers, last position": swept(name, path, folder, 2, threads, "layer"),
            "sweep, 1 worker, every cell": swept(name, path, folder, 1, threads, "cell"),
            "sweep, 2 workers, every cell": swept(name, path, folder, 2, threads, "cell"),
        }
        again, size = forward(model, given), bytes_of_row(folder / "layer-1")
    taken["bare forward pass, in batches"] = (taken["bare forward pass, in batches"] + again) / 2
    return {
        "model": name,
        "prompts": prompts,
        "tokens": sum(map(len, given)),
        "layers": len(bauklens.logit_lens(model, tokenizer, given[0], track=0).layers),
        "threads": threads,
        "prompts a second": {case: prompts / seconds for case, seconds in taken.items()},
        "bytes a row": size,
        "equal": equal,
        "many, times one": ratio_of_many(model, tokenizer, given, rounds, equal),
        **about,
    }


def of_sweeps(run: dict[str, Any]) -> str:
    """The section of docs/PERFORMANCE.md."""
    rates = run["prompts a second"]
    bare = rates["bare forward pass, in batches"]
    lines = [
        "## Sweeps",
        "",
        f"{run['model']}, {run['machine']}, which two workers share: {run['prompts']:,} "
        f"prompts of {_SHORT} to {_LONG} tokens, {run['tokens']:,} tokens in all, {run['layers']} rows each. Loading "
        "is left out.",
        "",
        "| | prompts a second | times the time of the forward pass |",
        "| --- | ---: | ---: |",
        *(f"| {case} | {rate:.3g} | {bare / rate:.2f} |" for case, rate in rates.items()),
        "",
        f"A row of the last position takes {run['bytes a row']:.0f} bytes, with 64 prompts in a file.",
        "",
        f"{run['equal']} prompts of {_EQUAL} tokens, decoded together, take {run['many, times one']:.2f} times as long "
        f"as one of {run['equal'] * _EQUAL}.",
        "",
        f"`.venv/bin/python scripts/benchmark.py --sweep --prompts {run['prompts']} --docs`",
    ]
    return "\n".join(lines) + "\n"

"""Damaged files by the thousand: each loads and can be shown, or is one LensError of one line; all else is a finding.

Run ``python -m tests.fuzz 30000`` for a long one; ``python -m tests.fuzz 1 4711`` repeats the file of a seed.
"""

import copy
import io
import json
import pickle
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from safetensors.numpy import load as arrays_of
from safetensors.numpy import save as bytes_of

from bauklens import LensError, LensResult, compare, summarize
from bauklens.show.terminal import print_comparison, print_position
from tests.made import made

SECONDS = 10
"""How long a file may take."""

GRID = (3, 4)
TARGET = {"text": "b", "token_ids": [1], "part": "token", "note": ""} | {
    name: [[0.5] * GRID[1]] * GRID[0] for name in ("probability", "logit", "rank")
}
SET = TARGET | {"text": "set", "token_ids": [1, 2], "part": "set"}
WHOLE = made(*GRID, measures={"entropy": np.ones(GRID)}, targets=[TARGET, SET], generated_from=2)
KIT = {name: value for name, value in WHOLE.to_logitlenskit().items() if name != "bauklens"}
FIRST_KIT = {
    "meta": {"version": 1, "model": "made"},
    "layers": [0, 1],
    "tokens": ["a", "b"],
    "cells": [[{"topk": [{"token": "x", "prob": 0.5}]}] * 2] * 2,
}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ODD = [
    *(None, True, False, 0, -1, 1.5, -0.0, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400),
    *(1e39, -1e39, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", "0", "-1", "٣", "1e999", "NaN", "\ud800", "\0", "\x1b[2J", "=1+1", "</script>", "A" * 10_000),
    *("__proto__", "constructor", "top", "layer", "rank", "target_rank", "probability", "vocabulary", "magnitude"),
    *([], {}, [[]], [None], [1, 2, 3], [[1, 2], [3]], ["a"], {"1": "x", "01": "y"}, {"": {}}, [0] * 1000),
    *(nested(30), nested(95), nested(120)),
]
"""Values that a program may stumble over."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to everything inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def mutated(data: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A copy with one to three values changed, removed, added or moved; half of them near the top."""
    data = copy.deepcopy(data)
    for _ in range(chance.choice([1, 1, 2, 3])):
        paths = list(places(data))
        high = [path for path in paths if len(path) <= 2]
        *above, key = chance.choice(high if high and chance.random() < 0.5 else paths)
        holder = data
        for step in above:
            holder = holder[step]
        odd = copy.deepcopy(chance.choice(ODD))
        match chance.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(key, odd)
            case 1:
                holder[str(chance.choice(ODD))[:50]] = odd
            case 2:
                moved: Any = data
                for step in chance.choice(paths[: len(paths) // 2 + 1]):
                    moved = moved[step] if isinstance(moved, (dict, list)) else moved
                holder[key] = copy.deepcopy(moved)
            case _:
                holder[key] = odd
        if not data:
            break
    return data


def flipped(raw: bytes, chance: random.Random) -> bytes:
    """Bytes with some changed, removed, repeated or cut off."""
    changed = bytearray(raw)
    for _ in range(chance.choice([1, 1, 3, 20])):
        place = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[place : place + 1] = chance.randbytes(1)
            case 1:
                del changed[place : place + chance.randrange(1, 50)]
            case 2:
                changed[place:place] = changed[place : place + chance.randrange(1, 60)]
            case 3:
                del changed[place + chance.randrange(1 + len(changed) - place) :]
    return bytes(changed)


def saved(suffix: str) -> bytes:
    """What a whole result is as a file."""
    with tempfile.TemporaryDirectory() as folder:
        WHOLE.save(Path(folder) / f"lens{suffix}")
        return (Path(folder) / f"lens{suffix}").read_bytes()


JSON, TENSORS = saved(".json"), saved(".safetensors")


def damaged_tensors(chance: random.Random) -> bytes:
    """A .safetensors file in whose header or arrays something else stands."""
    size = int.from_bytes(TENSORS[:8], "little")
    header = json.loads(TENSORS[8 : 8 + size])
    rest = json.loads(header["__metadata__"]["bauklens.lens"])
    if chance.random() < 0.3:
        written = json.dumps(mutated(header, chance)).encode("utf-8", "surrogatepass")
        return len(written).to_bytes(8, "little") + written + TENSORS[8 + size :]
    arrays = dict(arrays_of(TENSORS))
    if chance.random() < 0.5:
        rest = mutated(rest, chance)
    else:
        name = chance.choice([*arrays, "measures", "measures/x", "vocabulary/5", "prompt", "check/x", "targets/0", "/"])
        array = arrays.get(name, np.zeros(GRID, np.float32))
        shape = chance.choice([array.shape, (0,), (1,) * 30, array.shape[::-1], (array.size,)])
        dtype = chance.choice([array.dtype, np.float16, np.float64, np.int8, np.bool_, np.uint64])
        fill = chance.choice([0, 1, -1, np.nan, 2**40])
        with np.errstate(all="ignore"):
            arrays[name] = np.full(shape, fill, np.float64).astype(dtype)
    return bytes_of(arrays, metadata={"bauklens.lens": json.dumps(rest)})


def damaged(chance: random.Random) -> bytes | dict[str, Any]:
    """A damaged file, or LogitLensKit's JSON, damaged."""
    match chance.randrange(7):
        case 0 | 1:
            return json.dumps(mutated(json.loads(JSON), chance)).encode("utf-8", "surrogatepass")
        case 2:
            return flipped(JSON, chance)
        case 3:
            return flipped(TENSORS, chance)
        case 4:
            return damaged_tensors(chance)
        case 5:
            return mutated(KIT, chance)
        case _:
            return mutated(FIRST_KIT, chance)


def show(lens: LensResult, folder: Path) -> None:
    """Everything that can be done with a result; what was saved must load equal."""
    unseen = Console(file=io.StringIO(), width=80)
    lens.to_html()
    print_position(lens, int(lens.positions[0]), unseen)
    lens.to_csv(folder / "lens.csv")
    lens.to_parquet(folder / "lens.parquet")
    lens.to_xarray()
    lens.to_plotly()
    summarize([lens]).to_html()
    for suffix in (".json", ".safetensors"):
        lens.save(folder / f"again{suffix}")
        assert LensResult.load(folder / f"again{suffix}") == lens, f"{suffix} changes it"
    assert pickle.loads(pickle.dumps(lens)) == lens, "pickling changes it"
    for may_be_refused in (lens.to_logitlenskit, lambda: show_compared(lens, unseen)):
        with suppress(LensError):  # the models may share no block or token
            may_be_refused()


def show_compared(lens: LensResult, unseen: Console) -> None:
    comparison = compare(lens, WHOLE)
    comparison.to_html()
    comparison.to_frame()
    print_comparison(comparison, console=unseen)


@contextmanager
def time_limit() -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TimeoutError(f"over {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


REFUSED, SHOWN = "refused", "shown"
"""What may become of a damaged file."""


def outcome(seed: int, folder: Path) -> str:
    """What becomes of the damaged file of a seed: it is refused, it is shown, or something is wrong, in words."""
    content = damaged(random.Random(seed))
    loaded = False
    try:
        with time_limit():
            if isinstance(content, bytes):
                (folder / "lens").write_bytes(content)
                lens = LensResult.load(folder / "lens")
            else:
                lens = LensResult.from_logitlenskit(content)
            loaded = True
            show(lens, folder)
    except LensError as error:
        return (
            f"loaded, and then LensError: {error!s:.80}"
            if loaded
            else "several lines"
            if "\n" in str(error)
            else REFUSED
        )
    except Exception as error:
        last = [each for each in traceback.extract_tb(error.__traceback__) if "bauklens/" in each.filename][-1:]
        where = "".join(f" at {Path(each.filename).name}:{each.lineno}" for each in last)
        return f"{type(error).__name__}{where}: {error!s:.80}"
    return SHOWN


def outcomes(count: int, start: int = 0) -> dict[str, list[int]]:
    """What became of so many damaged files -> their seeds."""
    found: dict[str, list[int]] = {REFUSED: [], SHOWN: []}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(start, start + count):
            found.setdefault(outcome(seed, Path(folder)), []).append(seed)
    return found


if __name__ == "__main__":
    count, start = (*map(int, sys.argv[1:]), 0)[:2]
    found = outcomes(count, start)
    for what, seeds in found.items():
        print(f"{len(seeds):,} {what}", *([] if what in (REFUSED, SHOWN) else [f"(seed {seeds[0]})"]))
    findings = sum(len(seeds) for what, seeds in found.items() if what not in (REFUSED, SHOWN))
    print(f"{count:,} files, {findings} findings")
    sys.exit(findings > 0)

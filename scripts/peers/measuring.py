"""Whether all ways agree, and what each costs."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from peers.environments import NotMeasuredError
from peers.processes import Process
from peers.prompts import Told
from peers.ways import NAMED

AGREE = 0.99
"""The share of rows whose first token must equal that of bauklens. The rest are ties up to rounding."""

Row = dict[str, Any]


def compared(found: Told, ours: Told) -> Row:
    """How far an answer agrees with ours, over the rows that both have.

    Returns:
        ``same`` rows of ``of`` whose first token is ours, and the largest ``difference`` of its probability in those.

    Raises:
        NotMeasuredError: it is of other tokens, or too few rows have our first token.
    """
    both = [layer for layer in ours.layers if layer in found.layers]
    if found.top_ids.shape[1] != ours.top_ids.shape[1] or not both:
        raise NotMeasuredError(
            f"reads {found.top_ids.shape[1]} tokens and {len(found.layers)} layers, of which {len(both)} are ours, "
            f"where bauklens reads {ours.top_ids.shape[1]} tokens"
        )
    theirs, mine = ([side.layers.index(layer) for layer in both] for side in (found, ours))
    equal = found.top_ids[theirs, :, 0] == ours.top_ids[mine, :, 0]
    apart = abs(found.top_probs[theirs, :, 0] - ours.top_probs[mine, :, 0])[equal]
    same, rows = int(equal.sum()), int(equal.size)
    if same < AGREE * rows:
        raise NotMeasuredError(f"does not agree: the first token is that of bauklens in {same:,} of {rows:,} rows")
    return {"same": same, "of": rows, "difference": float(apart.max())}


def answers(processes: Mapping[str, Process], length: int) -> dict[str, Row]:
    """Name -> how many layers it reads and how it agrees, or the ``reason`` why it is not measured."""
    found: dict[str, Row] = {}
    told: dict[str, Told] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, process in tqdm(processes.items(), desc=f"Answers, {length} tokens", unit="way", disable=None):
            try:
                answer = process.answer(length, Path(folder) / "answer.npz")
                found[name] = {}
                if answer is not None:
                    told[name] = answer
                    ours = told.get(NAMED[name].measure)
                    if ours is None:
                        raise NotMeasuredError("bauklens gave no answer that it could be compared with")
                    found[name] = {"layers": len(answer.layers), **compared(answer, ours)}
            except NotMeasuredError as error:
                found[name] = {"reason": str(error)}
    return found


def timed(processes: Mapping[str, Process], length: int, rounds: int) -> dict[str, Row]:
    """Name -> the value of :func:`answers`, with ``seconds``, the median of the rounds."""
    found = answers(processes, length)
    taken: dict[str, list[float]] = {name: [] for name in processes}
    for _ in tqdm(range(rounds), desc=f"Rounds, {length} tokens", unit="round", disable=None):
        for name, row in found.items():
            if "reason" in row:
                continue
            try:
                taken[name].append(processes[name].seconds(length))
            except NotMeasuredError as error:
                row["reason"] = str(error)
    for name, row in found.items():
        if "reason" not in row:
            row["seconds"] = statistics.median(taken[name])
    return found


def measure(processes: Mapping[str, Process], lengths: Sequence[int], rounds: int) -> dict[int, dict[str, Row]]:
    """Length -> the value of :func:`timed`, with ``peak`` and ``kept`` (bytes, or None), which are measured last."""
    found = {length: timed(processes, length, rounds) for length in lengths}
    for name, process in tqdm(processes.items(), desc="Memory", unit="way", disable=None):
        for length in lengths:
            if "reason" in found[length][name]:
                continue
            try:
                found[length][name] |= process.memory(length)
            except NotMeasuredError as error:
                found[length][name]["reason"] = str(error)
    return found

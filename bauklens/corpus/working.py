"""The work of one worker: its shards, one after another, and a record of what it did."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bauklens.corpus.asked import Asked
from bauklens.corpus.depends import manifest_of
from bauklens.corpus.manifest import RUNS, Manifest, begun
from bauklens.corpus.shards import Sweeper
from bauklens.corpus.texts import Corpus
from bauklens.corpus.workers import Worker
from bauklens.decode.compiled import at_once
from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.model.in_hand import in_hand
from bauklens.model.ranks import Ranks, ranks_of
from bauklens.model.together import on_all_ranks
from bauklens.progress import bar


class Progress:
    """How far a worker is: a bar on a terminal, or a line for each shard.

    Args:
        worker: only the first shows anything.
        prompts: how many there are to do.
        shards: in how many shards.
        tell: called with each line; None for no lines.
    """

    def __init__(self, worker: Worker, prompts: int, shards: int, tell: Callable[[str], None] | None) -> None:
        self._total, self._shards, self._ended = prompts, shards, 0
        self._tell = tell if worker.is_first else None
        what = "Prompts" if worker.of == 1 else f"Prompts of {worker}"
        self._bar = bar(what, "prompt", total=prompts, hidden=not worker.is_first)
        self._begin, self.written = time.monotonic(), 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return max(time.monotonic() - self._begin, 1e-9)

    def prompts(self, count: int) -> None:
        """Counts prompts that are done."""
        self.written += count
        self._bar.update(count)

    def shard(self) -> None:
        """Counts a shard that is written."""
        self._ended += 1
        if self._tell is not None:
            rate = self.written / self.seconds
            left = timedelta(seconds=round((self._total - self.written) / max(rate, 1e-9)))
            self._tell(f"{self._ended} of {self._shards} shards: {rate:.3g} prompts a second, {left} left")


@on_all_ranks
def swept(
    corpus: Corpus,
    folder: Path,
    model: nn.Module,
    tokenizer: Any,
    asked: Asked,
    worker: Worker,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Writes the shards of a worker that are not there yet.

    The ranks of a model that is spread over them are one worker: all run, and the first writes.

    Args:
        tell: as for :func:`bauklens.sweep`.
    """
    ranks = ranks_of(model)
    writes = ranks is None or ranks.is_first
    with _as_first(ranks):
        sweeper, manifest = prepared(corpus, folder, model, tokenizer, asked, writes=writes)
    with computing_with(manifest.threads):
        done = set(manifest.done(folder))
        own = [shard for shard in range(worker.number, manifest.shards, worker.of) if shard not in done]
        if ranks is not None:
            ranks.require_alike("sweep()", {"the shards that are left": " ".join(map(str, own))})
        total = sum(len(manifest.prompts_of(shard)) for shard in own)
        with Progress(worker, total, len(own), tell) as progress:
            for shard in own:
                with _as_first(ranks):
                    if not writes:
                        sweeper.follow(manifest, shard)
                        continue
                    try:
                        sweeper.write(folder, manifest, shard, progress.prompts, followed=ranks is not None)
                    except LensError:
                        if shard not in manifest.done(folder):  # otherwise another process has just written it
                            raise
                    progress.shard()
    with _as_first(ranks):  # no rank looks before the first has written
        if progress.written:
            note(folder, worker, progress.written, progress.seconds)
        if writes:
            tidy(folder, manifest)


def _as_first(ranks: Ranks | None) -> AbstractContextManager[None]:
    """Within this the first rank writes, and the others wait for it."""
    return nullcontext() if ranks is None else ranks.as_first("sweep()")


def prepared(
    corpus: Corpus, folder: Path, model: nn.Module, tokenizer: Any, asked: Asked, *, writes: bool = True
) -> tuple[Sweeper, Manifest]:
    """The maker of shards, and the manifest of the folder, which is written if it is missing.

    Args:
        writes: whether this process writes; if not, the manifest is its own.

    Raises:
        LensError: the folder holds another sweep; the options do not fit the model.
    """
    model, tokenizer = in_hand(model, tokenizer)
    sweeper = Sweeper.of(model, tokenizer, corpus, asked.options, asked.decoders, raises=asked.raises)
    own = manifest_of(corpus, model, tokenizer, asked)
    return sweeper, begun(folder, own) if writes else own


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """With what a row's last digits depend on: the number of threads that the sweep began with, and one code path."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with at_once():
            yield
    finally:
        torch.set_num_threads(before)


def note(folder: Path, worker: Worker, prompts: int, seconds: float) -> None:
    """Notes what a worker has done, beside the manifest."""
    ended = datetime.now(timezone.utc).isoformat(timespec="seconds")
    about = {
        "worker": worker.number,
        "workers": worker.of,
        "prompts": prompts,
        "seconds": round(seconds, 3),
        "prompts_per_second": round(prompts / max(seconds, 1e-9), 3),
        "ended": ended,
    }
    runs = folder / RUNS
    try:
        runs.mkdir(exist_ok=True)
    except OSError as error:
        raise LensError(f"cannot write {runs}: {error.strerror or error}") from None
    name = f"{ended.replace(':', '')}-{worker.number}-of-{worker.of}-{secrets.token_hex(3)}.json"
    write_atomically(runs / name, (json.dumps(about) + "\n").encode())


def tidy(folder: Path, manifest: Manifest) -> None:
    """Removes what workers that were killed have left, once nothing is left to do."""
    if len(manifest.done(folder)) == manifest.shards:
        for each in folder.glob(".bauklens-*"):
            each.unlink(missing_ok=True)

"""A decoder fitted by several workers: each fits a part on its share of the texts, and the last to end merges all."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from bauklens.corpus.workers import Worker
from bauklens.decoders.learned import LearnedDecoder
from bauklens.decoders.loading import load_decoder
from bauklens.errors import LensError

_EVERY = 20
"""The first of every so many texts is kept apart, to measure the merged decoder on."""

_READ = 1 << 20
"""Bytes at the beginning and at the end of a file of texts that identify it."""

_MEASURED = 20
"""Texts, at most, to measure it on."""


@dataclass(frozen=True)
class Share:
    """The texts of one worker only: of those that are not kept apart, one in every ``worker.of``."""

    texts: Iterable[Any]
    worker: Worker

    def __iter__(self) -> Iterator[Any]:
        others = (text for number, text in enumerate(self.texts) if number % _EVERY)
        return islice(others, self.worker.number, None, self.worker.of)


@dataclass(frozen=True)
class KeptApart:
    """The texts that no worker fits on."""

    texts: Iterable[Any]

    def __iter__(self) -> Iterator[Any]:
        return islice(self.texts, 0, _EVERY * _MEASURED, _EVERY)


def part_of(path: Path, worker: Worker, asked: str) -> Path:
    """The file of a worker's part.

    Args:
        asked: a digest of what is fitted, so that a part of another fit is not mistaken for one of this fit.

    >>> part_of(Path("lens.safetensors"), Worker(1, 4), "3fa9").name
    'lens.part-1-of-4-3fa9.safetensors'
    """
    return path.with_name(f"{path.stem}.part-{worker.number}-of-{worker.of}-{asked}{path.suffix}")


def digest_of(file: Path | None) -> str:
    """A digest of a file of texts: of its size, its beginning and its end, as it may be larger than is read at once."""
    if file is None:
        return ""
    found = hashlib.sha256()
    with file.open("rb") as opened:
        size = file.stat().st_size
        found.update(f"{size} ".encode() + opened.read(_READ))
        opened.seek(max(0, size - _READ))
        found.update(opened.read(_READ))
    return found.hexdigest()


def fit_part(path: Path, fit: Callable[[], LearnedDecoder]) -> None:
    """Fits and saves a part, if it does not exist yet."""
    if not path.exists():
        fit().save(path)


def merged_parts(
    path: Path,
    parts: Sequence[Path],
    model: nn.Module,
    tokenizer: Any,
    texts: Iterable[Any] | None,
    name: str,
) -> LearnedDecoder | None:
    """Merges and saves the parts, if all are there; None if some worker has not finished its own.

    The last worker to finish finds all of them, and removes them afterwards; if two finish at once, both write the
    same.

    Args:
        parts: the files of all workers.
        texts: all texts, of which those that are kept apart measure the decoder; None if the model wrote its own.
    """
    try:
        decoders = [load_decoder(each) for each in parts if each.exists()]
    except LensError:
        if all(each.exists() for each in parts):
            raise
        return None  # another worker has merged and removed them meanwhile
    if len(decoders) < len(parts):
        return None
    apart = None if texts is None else KeptApart(texts)
    found = LearnedDecoder.merge(decoders, model, tokenizer, apart, name=name)
    found.save(path)
    for each in parts:
        each.unlink(missing_ok=True)
    return found

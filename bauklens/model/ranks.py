"""The processes (ranks) that hold one model together, and whether all of them make the same call.

A model whose weights are spread over ranks runs on all of them at once. If one rank passed other inputs, they would be
mixed into everyone's results, and a rank that calls by itself would wait forever. So the calls are compared first,
through the store of torch.distributed, which every launcher sets up. That needs no tensors, and a wait can end.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from torch import distributed, nn

from bauklens.errors import LensError

PATIENCE = 120.0
"""Seconds that a rank waits for the others to make the same call."""

_SOON = 4.0
"""Seconds that ranks whose calls differ wait for each other's arguments, to report the difference."""

_SHORTEST, _LONGEST = 0.001, 0.05
"""Seconds between two looks at the store, which increase."""

_SHOWN = 60
"""The most characters of a text that an error shows."""

_GO, _GAVE_UP = "go", "gave up"

_SHARED = "shared"
"""The key in the store of a text of the first rank."""

_calls: dict[tuple[int, ...], int] = {}
"""Ranks -> how often they have been compared."""


@dataclass(frozen=True)
class Ranks:
    """The ranks that hold a model together.

    Attributes:
        members: their numbers among all processes, in order.
        own: the number of this one.
    """

    members: tuple[int, ...]
    own: int

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that shows the results."""
        return self.own == self.members[0]

    def require_alike(self, what: str, given: Mapping[str, str]) -> None:
        """Compares the ranks' arguments, and waits for all of them.

        Args:
            what: the name of the called function in an error.
            given: names -> texts, the same on each rank.

        Raises:
            LensError: on every rank, if they differ; or some rank does not arrive within :data:`PATIENCE` seconds.
        """
        store = distributed.distributed_c10d._get_default_store()
        text = json.dumps({"what": what, **given}, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        base = self._joined(store, digest, what)
        digests = {rank: store.get(f"{base}/{rank}").decode() for rank in self.members}
        if len(set(digests.values())) > 1:
            raise LensError(self._difference(store, base, text))

    def of_first(self, what: str, text: str) -> str:
        """The text of the first rank, which every rank receives.

        Args:
            what: the name of the called function in an error.
            text: this rank's own text.

        Raises:
            LensError: some rank does not arrive within :data:`PATIENCE` seconds.
        """
        store = distributed.distributed_c10d._get_default_store()
        key = f"{self._joined(store, '', what)}/{_SHARED}"
        if self.is_first:
            store.set(key, text)
        elif not _came(store, [key], PATIENCE):
            raise LensError(f"rank {self.members[0]} ended during {what}")
        return str(store.get(key).decode())

    @contextmanager
    def as_first(self, what: str) -> Iterator[None]:
        """Runs what only the first rank does: all others wait for it, and raise the error that it raises.

        Args:
            what: the name of the called function in an error.
        """
        failed: LensError | OSError | None = None
        try:
            yield
        except (LensError, OSError) as error:
            failed = error
        said = self.of_first(what, "" if failed is None else str(failed))
        if failed is not None:
            raise failed
        if said:
            raise LensError(said)

    def _joined(self, store: Any, digest: str, what: str) -> str:
        """Tells the others that this rank is here, and waits for them; returns the prefix of their digests' keys."""
        while True:
            number = _calls[self.members] = _calls.get(self.members, 0) + 1
            base = f"bauklens/{'-'.join(map(str, self.members))}/{number}"
            verdict = f"{base}/verdict"
            if store.check([verdict]):  # the others gave up on that call before this rank came
                continue
            store.set(f"{base}/{self.own}", digest)
            if store.add(f"{base}/came", 1) == len(self.members):
                store.compare_set(verdict, "", _GO)
            if not _came(store, [verdict], PATIENCE):
                store.compare_set(verdict, "", _GAVE_UP)
            if store.get(verdict).decode() == _GO:
                self._forget(store, number - 2)
                return base
            missing = [rank for rank in self.members if not store.check([f"{base}/{rank}"])]
            if not missing:  # the last rank came just as the first gave up
                raise LensError(f"the ranks of this model called {what} more than {PATIENCE:g} seconds apart")
            raise LensError(
                f"{what} was called on {_named([each for each in self.members if each not in missing])}, but not on "
                f"{_named(missing)} within {PATIENCE:g} seconds: a model that is spread over ranks must be called on "
                "each of them, with the same arguments"
            )

    def _forget(self, store: Any, number: int) -> None:
        """Deletes from the store what no rank needs any more."""
        base = f"bauklens/{'-'.join(map(str, self.members))}/{number}"
        ends = [str(self.own), *(("came", "verdict", _SHARED) if self.is_first else ())]
        for end in ends:
            with suppress(RuntimeError):  # a store in a file cannot
                store.delete_key(f"{base}/{end}")

    def _difference(self, store: Any, base: str, text: str) -> str:
        """How the ranks' arguments differ, in words."""
        store.set(f"{base}/given/{self.own}", text)
        keys = [f"{base}/given/{rank}" for rank in self.members]
        if not _came(store, keys, _SOON):
            return "the ranks of this model were given different arguments: give each of them the same"
        given = [json.loads(store.get(key).decode()) for key in keys]
        first, *others = given
        rank, other = next((rank, each) for rank, each in zip(self.members[1:], others, strict=True) if each != first)
        name = next(name for name in {"what": "", **first, **other} if first.get(name) != other.get(name))
        pair = [each.get(name, "nothing") for each in (first, other)]
        asked = "" if name == "what" else f"{name} of {first['what']}: "
        return (
            f"the ranks of this model were asked for different things: {asked}"
            f"{_apart(pair, (self.members[0], rank))}; give each rank the same"
        )


def ranks_of(model: nn.Module) -> Ranks | None:
    """The ranks that a model's weights are spread over; None if this process has all of it."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    from torch.distributed.tensor import DTensor  # takes a second, which only a model over ranks needs

    meshes = {each.device_mesh for each in model.parameters() if isinstance(each, DTensor)}
    staged = getattr(model, "_device_mesh", None)  # set by transformers; a stage of a pipeline has whole weights
    members = {
        rank for mesh in (*meshes, *([] if staged is None else [staged])) for rank in mesh.mesh.flatten().tolist()
    }
    return Ranks(tuple(sorted(members)), distributed.get_rank()) if len(members) > 1 else None


def _came(store: Any, keys: list[str], patience: float) -> bool:
    """Waits until keys are in a store, for a limited number of seconds; returns whether they are."""
    end, pause = time.monotonic() + patience, _SHORTEST
    while not store.check(keys):
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(_LONGEST, 1.2 * pause)
    return True


def _named(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks[:8]))}"


def _apart(pair: list[str], ranks: tuple[int, int]) -> str:
    """Two texts, cut to where they differ; for lists of tokens, their lengths and the first difference."""
    ids: list[list[int]] = []
    with suppress(ValueError):
        ids = [[int(each) for each in text.split()] for text in pair]
    if max(map(len, ids), default=0) < 2:
        start = max(0, next((place for place, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), 0) - 20)
        return " and ".join(f"{_short(text, start)} on rank {rank}" for text, rank in zip(pair, ranks, strict=True))
    most = min(map(len, ids))
    place = next((place for place in range(most) if ids[0][place] != ids[1][place]), most)
    lengths = " and ".join(f"{len(each)} tokens on rank {rank}" for each, rank in zip(ids, ranks, strict=True))
    which = [str(each[place]) if place < len(each) else "none" for each in ids]
    return f"{lengths}, first different at position {place} ({which[0]} and {which[1]})"


def _short(text: str, start: int) -> str:
    """A text, or the part of it that begins near the first difference from another."""
    if len(text) <= _SHOWN:
        return repr(text)
    return ("..." if start else "") + repr(text[start : start + _SHOWN]) + ("..." if start + _SHOWN < len(text) else "")

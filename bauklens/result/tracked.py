"""Tokens whose probabilities and ranks are known in every cell beside the top k, stored compactly. Needs no torch."""

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bauklens.errors import LensError
from bauklens.result.frozen import frozen_array, require

_MINUS_INFINITY = 0xFC00
"""The bits of minus infinity in float16; larger ones are not a number."""

BUDGET = 64 << 20
"""The most bytes that tracked tokens take, over all results of a call."""


@dataclass(frozen=True, eq=False, repr=False)
class Tracked:
    """Tokens that were tracked, and their values in every cell.

    Attributes:
        token_ids: (token,) int64, the most important first.
        log_probability: (token, layer, position) float16, the natural logs of their probabilities, to three digits.
        rank: (token, layer, position) uint16, or uint32 if the vocabulary has more than 65,535 tokens: 1 + how many
            tokens are more probable.
        exact_to: (layer, position) uint32, the rank up to which the ranks in a cell are exact. The others are within
            2 %. If rows were decoded in int8 or bfloat16, they are estimates: in our measurements, 99 of 100 were
            within 2.5 %.
    """

    token_ids: np.ndarray
    log_probability: np.ndarray
    rank: np.ndarray
    exact_to: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "token_ids", frozen_array("tracked token_ids", self.token_ids, np.int64))
        logs = np.asarray(self.log_probability)
        require(logs.dtype == np.float16, "tracked log_probability is not float16")
        ranks = np.asarray(self.rank)
        require(ranks.dtype in (np.uint16, np.uint32), "tracked rank is neither uint16 nor uint32")
        require(
            self.token_ids.ndim == 1 and logs.ndim == 3 and logs.shape == ranks.shape and len(logs) == len(self),
            "tracked values do not match their tokens",
        )
        require(len(np.unique(self.token_ids)) == len(self), "a token is tracked twice")
        require(_none_positive(logs), "a tracked log_probability is above 0, or is not a number")
        require(not ranks.size or bool(ranks.min() > 0), "a tracked rank is 0: ranks begin at 1")
        sure = np.asarray(self.exact_to)
        require(sure.dtype == np.uint32 and sure.shape == ranks.shape[1:], "tracked exact_to does not match the cells")
        for name, value in (("log_probability", logs), ("rank", ranks), ("exact_to", sure)):
            value = value.view() if not value.flags.writeable else value.copy()
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.token_ids)

    def __repr__(self) -> str:
        _, layers, positions = self.rank.shape
        return f"<Tracked: {len(self)} tokens in {layers} layers x {positions} positions>"

    def place(self, token_id: int) -> int | None:
        """The place of a token among those that are tracked; None if it is not."""
        places = np.flatnonzero(self.token_ids == token_id)
        return int(places[0]) if len(places) else None

    def part(self, rows: Sequence[int], columns: Sequence[int]) -> "Tracked":
        """The values of some rows and columns, by their places in the table."""
        cells = np.ix_(range(len(self)), list(rows), list(columns))
        return Tracked(
            self.token_ids,
            self.log_probability[cells],
            self.rank[cells],
            self.exact_to[np.ix_(list(rows), list(columns))],
        )

    def to_dict(self, apart: Collection[str] = ()) -> dict[str, Any]:
        """Plain values, ready for JSON: the arrays in base64, little-endian.

        Args:
            apart: names of arrays to leave out.
        """
        size = self.rank.itemsize
        data: dict[str, Any] = {} if "token_ids" in apart else {"token_ids": self.token_ids.tolist()}
        for name, dtype in (("log_probability", "<f2"), ("rank", f"<u{size}"), ("exact_to", "<u4")):
            if name not in apart:
                data[name] = _written(getattr(self, name), dtype)
            if name == "rank":
                data["rank_bytes"] = size
        return data

    @staticmethod
    def from_dict(data: Any, grid: tuple[int, ...]) -> "Tracked":
        """Reads what :meth:`to_dict` wrote.

        Args:
            grid: how many layers and positions the result has.

        Raises:
            LensError: it is damaged.
        """
        if isinstance(data, Tracked):
            require(data.rank.shape[1:] == grid, "tracked values do not match the layers and positions")
            return data
        require(isinstance(data, Mapping), "tracked is not a mapping")
        token_ids = frozen_array("tracked token_ids", data.get("token_ids", ()), np.int64)
        held = data.get("rank")
        size = held.itemsize if isinstance(held, np.ndarray) else data.get("rank_bytes", 2)
        require(size in (2, 4), "tracked rank_bytes is neither 2 nor 4")
        shape = (len(token_ids), *grid)
        kind = np.uint16 if size == 2 else np.uint32
        logs = _read("log_probability", data, "<f2", shape).astype(np.float16, copy=False)
        ranks = _read("rank", data, f"<u{size}", shape).astype(kind, copy=False)
        return Tracked(token_ids, logs, ranks, _read("exact_to", data, "<u4", grid).astype(np.uint32, copy=False))

    def arrays(self) -> dict[str, np.ndarray]:
        """The same as arrays by name, for a file that holds arrays as they are."""
        return {
            "token_ids": self.token_ids,
            "log_probability": self.log_probability,
            "rank": self.rank,
            "exact_to": self.exact_to,
        }


Tracked.__module__ = "bauklens"  # so that pickles load wherever the class is defined


def tracked_of(token_ids: Sequence[int], logs: np.ndarray, ranks: np.ndarray, exact_to: np.ndarray) -> Tracked:
    """From what was read.

    Args:
        logs, ranks: (layer, position, token).
        exact_to: (layer, position).
    """
    small = np.uint16 if not ranks.size or ranks.max() < 1 << 16 else np.uint32
    first = (2, 0, 1)
    return Tracked(
        np.array(token_ids, dtype=np.int64),
        np.ascontiguousarray(logs.transpose(first)),
        np.ascontiguousarray(ranks.transpose(first)).astype(small),
        exact_to.astype(np.uint32),
    )


def most_tracked(most: int, cells: int, vocabulary: int, results: int) -> int:
    """How many tokens can be tracked within the budget.

    Args:
        most: how many are asked for.
        cells: layers times positions of a result.
        vocabulary: how many tokens there are.
        results: how many results share the budget.
    """
    size = 4 if vocabulary < 1 << 16 else 6
    return min(most, BUDGET // (size * max(1, cells) * max(1, results)))


def _none_positive(logs: np.ndarray) -> bool:
    """Whether no number of a float16 array is above 0 or NaN, by its bits, as comparing float16 is slow."""
    if not logs.size:
        return True
    signed, unsigned = logs.view(np.int16), logs.view(np.uint16)
    return bool(signed.max() <= 0 and unsigned.max() <= _MINUS_INFINITY)


def _written(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array).astype(dtype).tobytes()).decode("ascii")


def _read(name: str, data: Mapping[str, Any], dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    value = data.get(name)
    if isinstance(value, np.ndarray):
        require(value.shape == shape, f"tracked {name} has shape {value.shape}, which does not match {shape}")
        return value
    try:
        raw = base64.b64decode(value, validate=True)  # type: ignore[arg-type]
        return np.frombuffer(raw, dtype=dtype).reshape(shape)
    except (binascii.Error, TypeError, ValueError):
        raise LensError(f"tracked {name} is not base64 of {shape} numbers") from None

"""The attention weights that a lens keeps, of every cell. Needs no torch."""

import base64
import binascii
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bauklens.arguments import chosen_layers
from bauklens.errors import LensError
from bauklens.result.attention import Attention, attention_of
from bauklens.result.frozen import frozen_array, require
from bauklens.row_labels import block_of
from bauklens.vocabulary import EMBED

BUDGET = 64 << 20
"""Bytes that the attention weights of all results of a call take at most."""


@dataclass(frozen=True, eq=False, repr=False)
class Attended:
    """From which positions blocks take information, at every position of a table.

    Attributes:
        layers: (layer,), the labels of the blocks that have attention weights.
        heads: (layer,) int64, how many heads each has.
        tokens: (source,), all tokens of the prompt, and what was generated.
        weights: (layer, 1, position, source) float16, the mean over heads; or (layer, head, position, source), each
            head, with zeros beyond the heads that a block has. To three digits, 0..1.
        has_heads: whether the second axis runs over the heads.
    """

    layers: tuple[str, ...]
    heads: np.ndarray
    tokens: tuple[str, ...]
    weights: np.ndarray
    has_heads: bool

    def __post_init__(self) -> None:
        for name in ("layers", "tokens"):
            texts = getattr(self, name)
            require(
                isinstance(texts, (list, tuple)) and all(isinstance(each, str) for each in texts),
                f"attended {name} are not texts",
            )
            object.__setattr__(self, name, tuple(texts))
        object.__setattr__(self, "heads", frozen_array("attended heads", self.heads, np.int64))
        weights = np.asarray(self.weights)
        require(
            weights.dtype == np.float16 and weights.ndim == 4, "attended weights are not a float16 array with four axes"
        )
        require(isinstance(self.has_heads, bool), "attended has_heads is neither true nor false")
        axis = int(self.heads.max(initial=1)) if self.has_heads else 1
        shape = (len(self.layers), axis, weights.shape[2], len(self.tokens))
        require(
            weights.shape == shape and self.heads.shape == shape[:1], "attended weights do not match layers and tokens"
        )
        require(bool((self.heads >= 1).all()), "an attended block has no heads")
        require(bool(((weights >= 0) & (weights <= 1.01)).all()), "an attention weight is not in 0..1")
        weights = weights.view() if not weights.flags.writeable else weights.copy()
        weights.setflags(write=False)
        object.__setattr__(self, "weights", weights)

    @property
    def mean(self) -> np.ndarray:
        """(layer, 1, position, source) float32, the mean over the heads that each block has."""
        weights = self.weights.astype(np.float32)
        if not self.has_heads:
            return weights
        found: np.ndarray = weights.sum(axis=1, keepdims=True) / self.heads[:, None, None, None]
        return found.astype(np.float32)

    def at(self, layer: str, column: int, position: int, head: int | None) -> Attention:
        """The attention of one cell.

        Args:
            layer: a block's label.
            column: the place of its position in the table.

        Raises:
            LensError: the block has no attention weights, or the head does not exist.
        """
        if layer not in self.layers:
            raise LensError(f"layer {layer} has no attention weights; those of {', '.join(self.layers):.80} are known")
        row = self.layers.index(layer)
        own = self.weights[row, :, column].astype(np.float32)
        by_head = own[: int(self.heads[row])] if self.has_heads else None
        return attention_of(layer, position, head, self.tokens, own[0] if by_head is None else by_head.mean(0), by_head)

    def part(self, layers: Sequence[str], columns: Sequence[int]) -> "Attended | None":
        """Of some layers, by the labels of a table's rows, and some columns; None if none of these has any."""
        kept = [row for row, label in enumerate(self.layers) if label in {*map(block_of, layers)}]
        if not kept:
            return None
        weights = self.weights[np.ix_(kept, range(self.weights.shape[1]), list(columns))]
        axis = int(self.heads[kept].max()) if self.has_heads else 1
        return replace(
            self,
            layers=tuple(self.layers[row] for row in kept),
            heads=self.heads[kept],
            weights=weights[:, :axis],
        )

    def to_dict(self, apart: Collection[str] = ()) -> dict[str, Any]:
        """Plain values, ready for JSON: the weights in base64, little-endian.

        Args:
            apart: ``"weights"`` in it leaves these out.
        """
        data: dict[str, Any] = {
            "layers": list(self.layers),
            "heads": self.heads.tolist(),
            "tokens": list(self.tokens),
            "has_heads": self.has_heads,
        }
        if "weights" not in apart:
            raw = np.ascontiguousarray(self.weights).astype("<f2").tobytes()
            data["weights"] = base64.b64encode(raw).decode("ascii")
        return data

    @staticmethod
    def from_dict(data: Any, columns: int) -> "Attended":
        """Reads what :meth:`to_dict` wrote.

        Args:
            columns: how many positions the result has.

        Raises:
            LensError: it is damaged.
        """
        if isinstance(data, Attended):
            require(data.weights.shape[2] == columns, "attended weights do not match the positions")
            return data
        require(isinstance(data, Mapping), "attended is not a mapping")
        layers, tokens = data.get("layers", ()), data.get("tokens", ())
        heads = frozen_array("attended heads", data.get("heads", ()), np.int64)
        axis = int(heads.max(initial=1)) if data.get("has_heads") else 1
        weights = _read(data.get("weights"), (len(layers), axis, columns, len(tokens)))
        return Attended(layers, heads, tokens, weights, data.get("has_heads"))


class Attending:
    """The method of a result that looks up attention weights: a part of :class:`bauklens.LensResult`."""

    layers: tuple[str, ...]
    positions: np.ndarray
    column_of: Callable[[int | None], int]
    attended: Attended | None

    def attention(self, layer: int | str, position: int | None = None, head: int | None = None) -> Attention:
        """From which positions the attention of a block takes information, at a position of the table.

        Args:
            layer: the number or label of a row; negative numbers count blocks from the last.
            position: a position in the table; negative ones count from the last column; None is the main one.
            head: the number of a head, if ``attention="heads"`` was passed; None is the mean over heads.

        Raises:
            LensError: ``attention=True`` was not passed; the layer, position or head is not known; or the row has no
                attention, such as ``"embed"``.
        """
        if self.attended is None:
            raise LensError("no attention weights were kept: pass attention=True to logit_lens, or use attention()")
        label = block_of(self.layers[chosen_layers(self.layers, layer)[0]])
        if label == EMBED:
            raise LensError("'embed' is the state before the first block, and has no attention: pass a block")
        column = self.column_of(position)
        return self.attended.at(label, column, int(self.positions[column]), head)


def _read(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    try:
        return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f2").reshape(shape).astype(np.float16)
    except (binascii.Error, TypeError, ValueError):
        raise LensError(f"attended weights are not base64 of {shape} numbers") from None


Attended.__module__ = "bauklens"  # so that pickles load wherever the class is defined

"""The readout in low precision: when it is used, and which rows it leaves to the exact one.

It is used if the CPU multiplies int8 or bfloat16 in hardware, the table is large enough, and a trial on a few of its
rows shows that most of them are certain. Int8 also needs compiled code.
"""

import torch

from bauklens.decode import compiled
from bauklens.decode.cpu import bfloat16_features, has_int8
from bauklens.decode.int8_product import WIDEST
from bauklens.decode.low_head import TOLERANCE, LowPrecisionHead
from bauklens.decode.reading import Reading, Values
from bauklens.decode.readout import Exact
from bauklens.decode.tiles import Some, Tile
from bauklens.model.memory import free_memory, out_of_memory
from bauklens.result.measures import MEASURES

FEWEST_ROWS = 512
"""The number of rows from which the conversion of the weights pays off."""

FEWEST_TOKENS = 8_192
"""The size of a vocabulary from which its groups are many more than the candidates."""

MOST_K = 32
"""The largest top-k whose candidates are few enough."""

_TRIAL = 32
"""Rows that are tried in low precision first."""

_MOST_UNCERTAIN = 0.25
"""The share of uncertain rows in a table from which the next table of its kind is tried again."""

_TRIED = 4
"""How many of these are compared with full precision."""


def pays(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a bfloat16 product is so much faster than one in this dtype that it pays off.

    Only on a CPU: this has not been run on other devices yet.
    """
    return device.type == "cpu" and dtype == torch.float32 and bool(bfloat16_features())


class LowPrecision:
    """Rows in low precision, the best tokens of each scored again in float32; made by :func:`low_precision`."""

    def __init__(self, exact: Exact, trial: Tile, numbers: str) -> None:
        unembed = self.unembed = exact.unembed
        scale, inputs = unembed.post_ops.scale, unembed.head_inputs(trial)
        self.head = LowPrecisionHead(unembed.head, unembed.anatomy.vocabulary, scale, inputs, numbers)

    @property
    def precision(self) -> str:
        """The format of the numbers that are multiplied."""
        return self.head.precision

    def read(self, tile: Some, reading: Reading) -> tuple[Values, torch.Tensor]:
        """Reads rows, not all of which may be certain."""
        return self.head.read(self.unembed.head_inputs(tile), reading, self.unembed.columns(tile))

    def note(self, uncertain: int, count: int) -> None:
        """Remembers what share of the rows was not certain, so that others of their kind need no trial."""
        self.head.uncertain[self._kind] = uncertain / max(1, count)

    @property
    def is_known(self) -> bool:
        """Whether most rows of this kind were certain the last time."""
        return self.head.is_right and self.head.uncertain.get(self._kind, 1.0) < _MOST_UNCERTAIN

    @property
    def _kind(self) -> tuple[str, str]:
        return self.unembed.rows.stream, self.unembed.decoder

    def mean_weights(self, probabilities: torch.Tensor) -> torch.Tensor:
        """See :meth:`bauklens.decode.readout.Readout.mean_weights`."""
        return self.head.mean_weights(probabilities)


def low_precision(exact: Exact, everything: Tile, reading: Reading) -> LowPrecision | None:
    """The readout in low precision, if it is faster for these rows, and right for most of them; else None."""
    if not _may_pay(exact, everything.count, reading):
        return None
    trial = everything.some(_TRIAL)
    try:
        for numbers in _numbers(exact, everything.count):
            low = LowPrecision(exact, trial, numbers)
            if is_worth_it(low, exact, trial, reading):
                return low
    except (RuntimeError, MemoryError) as error:  # a second head may not fit
        if not out_of_memory(error):
            raise
        free_memory(error)
    return None


def is_worth_it(low: LowPrecision, exact: Exact, trial: Tile, reading: Reading) -> bool:
    """Whether most rows of a trial are certain, and a few of these are right, which is checked once for each head.

    If most rows of this kind were certain the last time, no trial is made. Rows that are not certain are read exactly.
    """
    if low.is_known:
        return True
    values, certain = low.read(trial, reading)
    sure = certain.nonzero()[:, 0]
    if 2 * len(sure) < trial.count:
        return False
    if low.head.is_right:
        return True
    some = sure[:: max(1, len(sure) // _TRIED)]
    right, _ = exact.read(exact.unembed.scattered(trial, some), reading)
    low.head.is_right = bool((values["top_probs"][some] - right["top_probs"]).abs().max() <= TOLERANCE)
    return low.head.is_right


def _may_pay(exact: Exact, rows: int, reading: Reading) -> bool:
    """Whether it can be faster here, only the product has errors, and nothing needs every logit."""
    unembed = exact.unembed
    return (
        unembed.is_linear
        and unembed.post_ops.scale > 0
        and rows >= FEWEST_ROWS
        and unembed.anatomy.vocabulary >= FEWEST_TOKENS
        and reading.topk <= MOST_K
        and not any(MEASURES[name].exact for name in reading.measures)
        and not len(reading.targets)
    )


def _numbers(exact: Exact, rows: int) -> list[str]:
    """The formats that are multiplied faster than float32 here, the fastest first."""
    weight, device = exact.unembed.head.weight, exact.unembed.rows.states.device
    has = device.type == "cpu" and has_int8() and weight.shape[1] <= WIDEST and compiled.starts(rows)
    return [*(["int8"] if has else []), *(["bfloat16"] if pays(device, weight.dtype) else [])]

"""Reads logits in compiled code: the results of :mod:`bauklens.decode.pass_kernels` and similar modules as tensors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from bauklens.decode.compiled import array_of, bits_of, side_by_side


@dataclass(frozen=True)
class Surveyed:
    """The memory for the results of some rows, with the names that the kernels use."""

    found: torch.Tensor
    ids: torch.Tensor
    sums: torch.Tensor
    drawn_ids: torch.Tensor
    drawn: torch.Tensor

    @staticmethod
    def of(rows: int, count: int, draws: int) -> "Surveyed":
        """Memory for a number of rows, of tokens that are found, and of tokens that are drawn."""
        found, sums, drawn = (torch.empty(rows, each, dtype=torch.float32, device="cpu") for each in (count, 5, draws))
        ids, drawn_ids = (torch.empty(rows, each, dtype=torch.int64, device="cpu") for each in (count, draws))
        return Surveyed(found, ids, sums, drawn_ids, drawn)

    def rows(self, some: slice) -> "Surveyed":
        """The part for some rows."""
        return Surveyed(*(each[some] for each in self._all))

    @property
    def arrays(self) -> list[np.ndarray]:
        """The same memory as arrays."""
        return [each.numpy() for each in self._all]

    @property
    def _all(self) -> tuple[torch.Tensor, ...]:
        return self.found, self.ids, self.sums, self.drawn_ids, self.drawn


def survey(logits: torch.Tensor, places: torch.Tensor, lowest: float, into: Surveyed) -> None:
    """See :func:`bauklens.decode.pass_kernels.survey`.

    Args:
        logits: (row, padded vocabulary) bfloat16, for which :func:`ready` has said so.
        places: (2, draw) float32, where to draw.
        lowest: what the largest become.
        into: the results.
    """
    from bauklens.decode import pass_kernels

    bits, where, results = bits_of(logits), array_of(places), into.arrays
    lowest_bits = bits_of(torch.full((1,), lowest, dtype=torch.bfloat16, device="cpu"))[0]

    def run(some: slice) -> None:
        pass_kernels.survey(bits[some], where, lowest_bits, *(each[some] for each in results))

    side_by_side(run, len(logits))


def survey_int8(
    of_rows: tuple[torch.Tensor, ...],
    of_tokens: tuple[torch.Tensor, ...],
    places: torch.Tensor,
    lowest: float,
    into: Surveyed,
    kept: torch.Tensor,
) -> None:
    """See :func:`bauklens.decode.int8_kernels.survey`.

    Args:
        of_rows: products (row, vocabulary) int32, for which :func:`ready` has said so, scales and margins (row,).
        of_tokens: scales, margins and bias, (vocabulary,).
        places: (2, draw) float32, where to draw.
        lowest: what the logits that are found become.
        into: the results.
        kept: (row, vocabulary) bfloat16, to write to; or no rows.
    """
    from bauklens.decode import int8_kernels

    rows, tokens, where = [array_of(each) for each in of_rows], [array_of(each) for each in of_tokens], array_of(places)
    arrays, bits, low = into.arrays, bits_of(kept), np.float32(lowest)

    def run(some: slice) -> None:
        given = [*(each[some] for each in rows), *tokens, where, low]
        int8_kernels.survey(*given, *(each[some] for each in arrays), bits[some])  # type: ignore[call-arg]

    side_by_side(run, len(of_rows[0]))


def score(inputs: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The logits of some tokens of each row: (row, width) float32 and (row, token) int64 -> (row, token) float32.

    Args:
        inputs: for which :func:`ready` has said so.
        weights: (vocabulary, width) float32.
        bias: (vocabulary,) float32.
    """
    from bauklens.decode import pass_kernels

    scores = torch.empty(ids.shape, dtype=torch.float32, device="cpu")
    rows, into, of_tokens = (
        (array_of(inputs), array_of(ids)),
        scores.numpy(),
        (weights.detach().numpy(), array_of(bias)),
    )

    def run(some: slice) -> None:
        pass_kernels.score(rows[0][some], *of_tokens, rows[1][some], into[some])

    side_by_side(run, len(inputs))
    return scores


def summarize(logits: torch.Tensor, count: int, groups: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The largest logits of each row, and sums over all of them.

    Args:
        logits: (row, vocabulary) float32, for which :func:`ready` has said so.
        count: how many of the largest to find; fewer than the groups.

    Returns:
        ``found``, ``ids`` and ``sums`` of :func:`bauklens.decode.pass_kernels.summarize`.
    """
    from bauklens.decode import pass_kernels

    found = torch.empty(len(logits), count, dtype=torch.float32, device="cpu")
    ids, sums = torch.empty_like(found, dtype=torch.int64), found.new_empty(len(logits), 2, dtype=torch.float64)
    array, results = logits.detach().numpy(), [each.numpy() for each in (found, ids, sums)]

    def run(some: slice) -> None:
        pass_kernels.summarize(array[some], groups, *(each[some] for each in results))

    side_by_side(run, len(logits))
    return found, ids, sums


def compare(
    logits: torch.Tensor, scales: torch.Tensor, factor: float, own: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """As :func:`bauklens.decode.pass_kernels.compare`: (row,) float64.

    Args:
        logits: (row, vocabulary) float32 or bfloat16, for which :func:`ready` has said so.
        scales: (row, 2) float32.
        factor: bits for each unit of the logits.
        own: (column, vocabulary) float32.
        columns: (row,) int64.
    """
    from bauklens.decode import pass_kernels

    sums = torch.empty(len(logits), dtype=torch.float64, device="cpu")
    rows = bits_of(logits) if logits.dtype == torch.bfloat16 else logits.detach().numpy()
    by_row, probabilities = [array_of(scales), array_of(columns), sums.numpy()], array_of(own)

    def run(some: slice) -> None:
        lines, places, into = (each[some] for each in by_row)
        pass_kernels.compare(rows[some], lines, np.float32(factor), probabilities, places, into)

    side_by_side(run, len(logits))
    return sums


def runs() -> list[Callable[[], object]]:
    """Runs each of these loops on tiny inputs, so that it is compiled."""
    rows, one = torch.zeros(1, 64, device="cpu", dtype=torch.float32), torch.ones(64, device="cpu", dtype=torch.float32)
    low, ids = rows.bfloat16(), torch.zeros(1, 1, device="cpu", dtype=torch.int64)
    into, places = Surveyed.of(1, 1, 1), torch.full((2, 1), 0.5, device="cpu", dtype=torch.float32)
    products = rows.to(torch.int32), one[:1], one[:1]
    return [
        lambda: survey(low, places, -1.0, into),
        lambda: survey_int8(products, (one, one, one[:0]), places, -1.0, into, low[:0]),
        lambda: score(rows, rows, one[:1], ids),
        lambda: summarize(rows, 1, 4),
    ]

"""The ends of a colour scale, which a few odd cells do not decide. Needs no torch."""

import numpy as np

from bauklens.result.result import LensResult

_SAMPLE = 20_000
"""Values that a quantile is taken of."""

_FAR = 2
"""How many times the 99th percentile the largest value is, if it does not decide."""


def scale_of(result: LensResult, values: np.ndarray) -> tuple[float, float]:
    """The ends of a scale over the cells of a result; it has 0 in it.

    The row "embed" and position 0 are often far beyond all else, and left out. If the largest value is more than twice
    the 99th percentile, that is the end; the same below 0. ``scaleOf`` of ``bauklens/viewer/scale.js`` is the same.

    Args:
        values: (layer, position); what is not finite is left out.
    """
    rows = int(result.layers[0] == "embed" and len(result.layers) > 1)
    columns = int(result.positions[0] == 0 and len(result.positions) > 1)
    inside = values[rows:, columns:].astype(np.float32).ravel()
    known = inside[np.isfinite(inside)]
    if not known.size:
        return 0.0, 0.0
    least, most = float(known.min()), float(known.max())
    some = inside[:: max(1, -(-inside.size // _SAMPLE))]
    some = np.sort(some[np.isfinite(some)])
    first, last = (float(some[int(part * (some.size - 1) + 0.5)]) if some.size else 0.0 for part in (0.01, 0.99))
    high = last if most > _FAR * last and last > 0 else max(0.0, most)
    low = first if least < _FAR * first and first < 0 else min(0.0, least)
    return low, high

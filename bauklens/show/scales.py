"""The ends of a colour scale, not decided by a few odd cells. Needs no torch."""

import numpy as np

from bauklens.result.result import LensResult

_SAMPLE = 20_000
"""The most values that a quantile is computed from."""

_FAR = 2
"""If the largest value is more than this many times the 99th percentile, it does not decide."""


def scale_of(result: LensResult, values: np.ndarray) -> tuple[float, float]:
    """The ends of a scale over the cells of a result; the scale includes 0.

    The row "embed" and position 0 are left out, as they are often far beyond all others. If the largest value is more
    than twice the 99th percentile, that is the end; the same below 0. ``scaleOf`` of ``bauklens/viewer/scale.js`` is
    the same.

    Args:
        values: (layer, position); values that are not finite are left out.
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

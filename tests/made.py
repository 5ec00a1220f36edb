"""Results made by hand, for what no tiny model would say."""

import numpy as np

from bauklens.result import LensResult

HOSTILE = [
    '"><script>window.ran=1</script>',
    "</script><script>window.ran=1</script>",
    "<!-- <script>",
    "--><img src=x onerror=window.ran=1>",
    "' onmouseover='window.ran=1",
    "a\u2028b\u2029c",
    "&lt;b&gt; &amp;",
    "{{ 7 * 7 }}{% raw %}",
    "\u202eright to left\u2066",
    "\u0301combining",
    "👩\u200d👩\u200d👧",
    " \n\t\r\x00\x1b[31m\xa0",
    "x" * 10_000,
    "]]></td></table><h1>out</h1>",
    "same",
    "same",
]


def made(rows=3, columns=4, k=2, *, texts=None, probabilities=None, magnitude=None, **changes):
    """A result of any size; ``texts`` are the vocabulary, one an id, and run through the cells in order."""
    texts = texts or ["a", " b", "c\n", "é"]
    ids = np.arange(rows * columns * k).reshape(rows, columns, k) % len(texts)
    falling = np.linspace(0.5, 0.1, k) if k > 1 else np.array([0.5])
    token_ids = np.arange(columns) % len(texts)
    fields = {
        "model": "made",
        "prompt": "".join(texts[each] for each in token_ids),
        "stream": "hidden",
        "decoder": "logit",
        "norm": "own",
        "token_ids": token_ids,
        "tokens": [texts[each] for each in token_ids],
        "positions": np.arange(columns),
        "layers": ["embed", *map(str, range(rows - 1))],
        "top_ids": ids,
        "top_probs": np.broadcast_to(falling, ids.shape) if probabilities is None else probabilities,
        "magnitude": np.arange(1.0, rows * columns + 1).reshape(rows, columns) if magnitude is None else magnitude,
        "vocabulary": dict(enumerate(texts)),
        "check": {"max_abs_logit_difference": 0.0},
        "provenance": {"model": "made", "packages": {"bauklens": "0"}, "arguments": {"layers": [1]}},
    }
    return LensResult(**fields | changes)

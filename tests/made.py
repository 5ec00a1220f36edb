"""Results made by hand, for what no tiny model would say; and what a page holds of them."""

import base64
import json
import re
import zlib

import numpy as np

from bauklens.result.result import LensResult

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


def unpacked(html, lens=0):
    """Name -> the numbers or texts of a lens that a page carries for its viewer."""
    given = json.loads(re.search(r'class="bauklens-data">(.*?)</script>', html)[1])["lenses"][lens]
    block = base64.b64decode(given["blob"])
    block = zlib.decompress(block) if given["packed"] else block
    parts, start = {}, 0
    for each in given["arrays"]:
        size = 1 if each["kind"] == "json" else np.dtype(each["kind"]).itemsize
        some = np.frombuffer(block[start : start + size * each["count"]], np.uint8)
        start += len(some)
        if each["kind"] == "json":
            parts[each["name"]] = json.loads(some.tobytes())
        else:
            some = some.reshape(size, -1).T if given["packed"] else some
            parts[each["name"]] = np.frombuffer(some.tobytes(), each["kind"])
    assert start == len(block)
    return parts

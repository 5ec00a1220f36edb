"""Results of random numbers, in the sizes for measuring the viewer.

They are a little harder to compress than real ones: 31 layers x 1,024 positions, top 10, with 200 tracked tokens take
3.80 MB packed, where those of SmolLM2-135M-Instruct for the first tokens of the README take 3.38 MB.
"""

from dataclasses import dataclass, replace

import numpy as np

import bauklens
from bauklens.result.pictures import Picture, column_labels
from bauklens.result.tracked import Tracked, most_tracked, tracked_of

TOKENS = 6_000
"""How many tokens have a text and can be at the top."""

VOCABULARY = 50_257
"""How many ranks there are."""

TRACKED = 200
"""How many tokens a result tracks at most, as :func:`bauklens.logit_lens` does by default."""


@dataclass(frozen=True)
class Case:
    """A size of a result; with many cells, as many tokens are tracked as the budget of a call allows."""

    layers: int
    positions: int
    topk: int

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"{self.layers} x {self.positions:,}, top {self.topk}"

    @property
    def tracked(self) -> int:
        """How many tokens are tracked."""
        return most_tracked(TRACKED, self.layers * self.positions, VOCABULARY, 1)


CASES = (Case(49, 128, 10), Case(49, 1024, 10), Case(80, 4096, 5), Case(49, 32_768, 5))


def lens_of(case: Case) -> bauklens.LensResult:
    """A result of random numbers with every default measure."""
    random = np.random.default_rng(0)
    shape = (case.layers, case.positions)
    probabilities = np.sort(random.dirichlet(np.ones(12) / 3, shape), axis=-1)[..., ::-1][..., : case.topk]
    top_ids = _kept(random, (random.zipf(1.2, (*shape, case.topk)) - 1) % TOKENS)
    nats = {name: random.gamma(2, 2, shape) for name in ("entropy", "kl", "surprisal", "max_logit")}
    cosines = {"cosine_to_final": random.beta(2, 3, shape), "cosine_to_previous": 1 - 0.1 * random.beta(2, 4, shape)}
    overlap = random.binomial(case.topk, 0.2, shape) / case.topk
    texts = [f" token {number}" for number in range(TOKENS)]
    token_ids = np.arange(case.positions) % TOKENS
    return bauklens.LensResult(
        model="random numbers",
        prompt="random numbers",
        stream="hidden",
        decoder="logit",
        norm="own",
        token_ids=token_ids,
        tokens=tuple(texts[token] for token in token_ids.tolist()),
        positions=np.arange(case.positions),
        layers=("embed", *map(str, range(case.layers - 1))),
        top_ids=top_ids,
        top_probs=probabilities,
        magnitude=random.gamma(3, 100, shape),
        vocabulary=dict(enumerate(texts)),
        check={"max_abs_logit_difference": None},
        measures=nats | cosines | {"agreement": (random.random(shape) < 0.15).astype(int), "overlap": overlap},
        tracked=_tracked(case, random, top_ids) if case.tracked else None,
    )


def _kept(random: np.random.Generator, top_ids: np.ndarray) -> np.ndarray:
    """Top tokens (layer, position, k), half of them as in the layer before, as in real layers."""
    kept = top_ids.copy()
    for layer in range(1, len(kept)):
        same = random.random(kept.shape[1]) < 0.55
        kept[layer][same] = kept[layer - 1][same]
    return np.asarray(kept)


def _tracked(case: Case, random: np.random.Generator, top_ids: np.ndarray) -> Tracked:
    """The tokens that are most often in a top k; ranks drift from layer to layer, and probabilities follow them."""
    ids, counts = np.unique(top_ids, return_counts=True)
    shape = (case.layers, case.positions, case.tracked)
    drift = random.normal(0, 1, shape).astype(np.float32)
    for layer in range(1, case.layers):
        drift[layer] = 0.93 * drift[layer - 1] + np.sqrt(1 - 0.93**2) * drift[layer]
    ranks = np.exp(8.2 - 5 * np.exp(-np.arange(case.tracked) / 12) + 3 * drift).clip(1, VOCABULARY).astype(np.int64)
    steepness = random.uniform(0.9, 1.6, (*shape[:2], 1))
    logs = (-1 - steepness * np.log(ranks)).astype(np.float16)
    most = ids[np.argsort(-counts, kind="stable")][: case.tracked]
    return tracked_of(most.tolist(), logs, ranks, random.integers(128, 192, shape[:2]))


def pins_of(lens: bauklens.LensResult) -> list[int]:
    """Three tokens to pin: the first and the last that are tracked, and one that is not."""
    tracked = [] if lens.tracked is None else lens.tracked.token_ids.tolist()
    others = set(lens.top_ids[-1].ravel().tolist()) - set(tracked)
    return [*tracked[:1], *tracked[-1:], min(others)]


def with_images(lens: bauklens.LensResult, images: int) -> bauklens.LensResult:
    """The lens of a prompt that begins with this many images of 24 x 24 positions."""
    size = 24 * 24
    grids = [np.arange(size).reshape(24, 24) + size * image for image in range(images)]
    pictures = [Picture(f"image {number}", grid, grid.ravel()) for number, grid in enumerate(grids, 1)]
    return replace(lens, pictures=pictures, columns=column_labels(pictures, lens.positions.tolist()))

"""Rankings of neurons and tokens: frozen arrays that display themselves as tables. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bauklens.optional import data_frame
from bauklens.result.tokens import printable, visible
from bauklens.show.numbers import readable_magnitude
from bauklens.show.rankings import ranking_fragment

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class NearestTokens:
    """For each token of a prompt, the entries of the vocabulary that are nearest to its embedding.

    Attributes:
        model: name of the model.
        metric: ``"head"``, the logit that the head gives without a norm; ``"cosine"``, -1..1.
        tokens: (position,), the tokens of the prompt.
        top_ids: (position, k), nearest first.
        scores: (position, k) float32.
        vocabulary: id -> text.
        columns: (position,), the names of positions that read a part of an image, such as ``"image 1, row 3, column
            5"``, and an empty text for the others; their embeddings are those of placeholders.
    """

    model: str
    metric: str
    tokens: tuple[str, ...]
    top_ids: np.ndarray
    scores: np.ndarray
    vocabulary: Mapping[int, str]
    columns: tuple[str, ...] = ()

    def __repr__(self) -> str:
        positions, k = self.top_ids.shape
        return f"<NearestTokens of {self.model}, by {self.metric}: {positions} positions, top {k}>"

    def to_frame(self) -> "pandas.DataFrame":
        """Columns: position, token, rank (from 1), nearest, nearest_id, score; column, if there is an image."""
        position, rank = (index.ravel() for index in np.indices(self.top_ids.shape))
        nearest = self.top_ids.ravel()
        return data_frame(
            {
                "position": position,
                "token": [self.tokens[each] for each in position],
                "rank": rank + 1,
                "nearest": [self.vocabulary[each] for each in nearest.tolist()],
                "nearest_id": nearest,
                "score": self.scores.ravel(),
                **({"column": [self.columns[each] for each in position]} if any(self.columns) else {}),
            }
        )

    def _repr_html_(self) -> str:
        best = np.maximum(self.scores[:, :1], 1e-9)
        rows = [
            (
                str(rank + 1),
                [
                    (
                        visible(self.vocabulary[int(token_id)]),
                        max(0.0, float(score / top)),
                        f"{self.metric} {score:.4g}",
                    )
                    for token_id, score, (top,) in zip(self.top_ids[:, rank], self.scores[:, rank], best, strict=True)
                ],
            )
            for rank in range(self.top_ids.shape[1])
        ]
        caption = f"Nearest tokens in {self.model}, by {self.metric}"
        columns = self.columns or ("",) * len(self.tokens)
        heads = [
            f"{printable(column)} (its placeholder)" if column else visible(token)
            for token, column in zip(self.tokens, columns, strict=True)
        ]
        return ranking_fragment(caption, "rank", heads, rows)


@dataclass(frozen=True, repr=False)
class TopNeurons:
    """The neurons of an MLP that write most into the stream at one position.

    Attributes:
        model: name of the model.
        layer, position, token: the layer, the position, and the prompt's token there.
        neurons: (k,) int64, their numbers, largest contribution first.
        activations: (k,) float32, the input of the MLP's second projection.
        contributions: (k,) float32, |activation| times the L2 norm of the row that the neuron writes.
        promoted_ids: (k, n), the tokens that its row promotes most through the head without a norm, for a positive
            activation.
        promoted_logits: (k, n) float32.
        vocabulary: id -> text.
        column: the name of the position if it reads a part of an image, such as ``"image 1, row 3, column 5"``;
            empty for a token.
    """

    model: str
    layer: str
    position: int
    token: str
    neurons: np.ndarray
    activations: np.ndarray
    contributions: np.ndarray
    promoted_ids: np.ndarray
    promoted_logits: np.ndarray
    vocabulary: Mapping[int, str]
    column: str = ""

    def __repr__(self) -> str:
        there = f"layer {self.layer}, position {self.position}"
        return f"<TopNeurons of {self.model}: {there} ({self.column or repr(self.token)}), {len(self.neurons)} neurons>"

    def to_frame(self) -> "pandas.DataFrame":
        """Columns: rank (from 1), neuron, activation, contribution, promotes (a list of texts), promotes_ids."""
        return data_frame(
            {
                "rank": np.arange(len(self.neurons)) + 1,
                "neuron": self.neurons,
                "activation": self.activations,
                "contribution": self.contributions,
                "promotes": [[self.vocabulary[each] for each in row] for row in self.promoted_ids.tolist()],
                "promotes_ids": self.promoted_ids.tolist(),
            }
        )

    def _repr_html_(self) -> str:
        largest = max(float(self.contributions.max()), 1e-9)
        rows = []
        for place, neuron in enumerate(self.neurons.tolist()):
            contribution = float(self.contributions[place])
            cells = [
                (f"{self.activations[place]:.3g}", 0.0, "activation"),
                (readable_magnitude(contribution), contribution / largest, "contribution"),
            ]
            for token_id, logit in zip(
                self.promoted_ids[place].tolist(), self.promoted_logits[place].tolist(), strict=True
            ):
                cells.append((visible(self.vocabulary[token_id]), 0.0, f"logit {logit:.4g}"))
            rows.append((str(neuron), cells))
        columns = ["activation", "contribution", *(f"promotes {n + 1}" for n in range(self.promoted_ids.shape[1]))]
        there = printable(self.column) if self.column else visible(self.token)
        caption = f"Top neurons in layer {self.layer} of {self.model} at position {self.position}: {there}"
        return ranking_fragment(caption, "neuron", columns, rows)

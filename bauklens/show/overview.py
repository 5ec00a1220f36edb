"""The table at the top of a report: one row per result, with its answer, the deciding layer, and a small line."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bauklens.errors import LensError
from bauklens.result.comparison import Comparison
from bauklens.result.result import LensResult
from bauklens.result.tokens import printable
from bauklens.show.nouns import noun, spelling
from bauklens.show.numbers import readable_probability
from bauklens.show.sections import Shown, heading_of
from bauklens.show.sources import shortened
from bauklens.vocabulary import STREAM_CAPTIONS

WIDTH, HEIGHT = 96, 20
"""The size of the small lines, in pixels."""

_LONGEST = 80
"""Characters of a prompt in a row."""


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    Attributes:
        section: the number of the section that it opens, from 1.
        heading: the caller's name for it, if that is not its prompt.
        prompt, whole: its prompt, cut after a word, and all of it.
        lens: how it differs from the others; empty if only in the prompt.
        answer: the most probable token of the last layer at the main position.
        probability: the probability of the answer there, 0..1.
        decided: the label of the first layer from which the answer stays the most probable token.
        place: the row of that layer, from 0.
        entropy: at the last layer, in nats; None if the result does not have it.
        line: points of the answer's probability through the layers, in the units of :data:`WIDTH` and :data:`HEIGHT`.
        mark: the place of the deciding layer in the line, from the left.
        told: the line in words.
    """

    section: int
    heading: str
    prompt: str
    whole: str
    lens: str
    answer: str
    probability: float
    decided: str
    place: int
    entropy: float | None
    line: str
    mark: float
    told: str


def overview(groups: Sequence[Sequence[tuple[str, Shown]]]) -> list[Entry]:
    """The rows for the sections of a report, each (heading, result) of those that share a viewer."""
    found = [
        (section, heading, *each)
        for section, group in enumerate(groups, 1)
        for heading, shown in group
        for each in _lenses(shown)
    ]
    named = _telling_apart([lens for *_, lens in found])
    return [
        _entry(section, heading, printable(name) or called, lens)
        for (section, heading, name, lens), called in zip(found, named, strict=True)
    ]


def _lenses(shown: Shown) -> list[tuple[str, LensResult]]:
    """The lenses of a result, with their names in a comparison."""
    if isinstance(shown, Comparison):
        return [*zip(shown.names, (shown.one, shown.other), strict=True)]
    return [("", shown)]


def _telling_apart(lenses: Sequence[LensResult]) -> list[str]:
    """Model, stream and decoder of each lens, as far as they differ."""
    told = [
        (lens.model, STREAM_CAPTIONS.get(lens.stream, lens.stream), lens.decoder_called or "logit lens")
        for lens in lenses
    ]
    differ = [place for place, all_of_it in enumerate(zip(*told, strict=True)) if len(set(all_of_it)) > 1]
    return [", ".join(printable(each[place]) for place in differ) for each in told]


def _entry(section: int, heading: str, called: str, lens: LensResult) -> Entry:
    column = lens.column_of(None)
    answer = int(lens.top_ids[-1, column, 0])
    leads = lens.top_ids[:, column, 0] == answer
    place = len(leads) - int(np.argmin(leads[::-1])) if not leads.all() else 0
    entropy = float(lens.measures["entropy"][-1, column]) if "entropy" in lens.measures else np.nan
    line = _through_the_layers(lens, column, answer)
    text = shortened(spelling(lens)(lens.vocabulary[answer]), _LONGEST)
    across = WIDTH / max(1, len(line) - 1)
    prompt = heading_of(lens)
    return Entry(
        section=section,
        heading="" if heading == prompt else shortened(heading),
        prompt=shortened(prompt, _LONGEST),
        whole=printable(prompt),
        lens=called,
        answer=text,
        probability=float(lens.top_probs[-1, column, 0]),
        decided=lens.layers[place],
        place=place,
        entropy=None if np.isnan(entropy) else entropy,
        line=" ".join(
            f"{across * row:.1f},{1 + (HEIGHT - 2) * (1 - value):.1f}" for row, value in enumerate(line.tolist())
        ),
        mark=round(across * place, 1),
        told=f"probability of the {noun(lens)} {text} through {len(line)} layers: at most "
        f"{readable_probability(float(line.max()))}, {readable_probability(float(line[-1]))} in the last",
    )


def _through_the_layers(lens: LensResult, column: int, answer: int) -> np.ndarray:
    """(layer,), the probability of a token at a column; 0 if it is not known, because it is not in the top k."""
    try:
        value = lens.target(answer).probability[:, column]
    except LensError:
        value = np.where(lens.top_ids[:, column] == answer, lens.top_probs[:, column], 0).sum(axis=-1)
    known: np.ndarray = np.clip(np.nan_to_num(value), 0, 1)
    return known

"""The words for the things of a result, and how its model's predictions are written."""

from collections.abc import Callable

from bauklens.result.result import LensResult
from bauklens.result.tokens import printable, visible
from bauklens.vocabulary import EMBED, LABELS


def noun(result: LensResult) -> str:
    """``"token"``, or for a classifier ``"label"``."""
    return "label" if result.predicts == LABELS else "token"


def spelling(result: LensResult) -> Callable[[str], str]:
    """How a text that the model predicts is written: a token with its spaces as marks, a label with plain spaces."""
    return printable if result.predicts == LABELS else visible


def layer_called(layer: str) -> str:
    """A row in a sentence: ``"layer 3"``, or ``"the embedding"``."""
    return "the embedding" if layer == EMBED else f"layer {printable(layer)}"

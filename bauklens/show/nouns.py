"""What a result's model predicts, as texts call it."""

from bauklens.result.result import LensResult
from bauklens.vocabulary import LABELS


def noun(result: LensResult) -> str:
    """``"token"``; of a classifier ``"label"``."""
    return "label" if result.predicts == LABELS else "token"

"""The source text of an encoder-decoder, as captions show it; the columns are the decoder's tokens."""

from bauklens.result.result import LensResult
from bauklens.result.tokens import printable
from bauklens.vocabulary import SOURCE

_LONGEST = 120
"""The most characters of a source in a caption."""


def source_of(result: LensResult) -> str:
    """The text that an encoder read, cut after a word if it is long; empty if there is none."""
    return shortened(result.prompt) if result.provenance.get("prompt is") == SOURCE else ""


def shortened(text: str, longest: int = _LONGEST) -> str:
    """A text in one line, cut after a word if it has more than 120 characters, or the given number.

    >>> shortened("the city " * 20)[-9:]
    'the city…'
    """
    line = " ".join(text[: 4 * longest].split())
    if len(line) > longest or len(text) > 4 * longest:
        whole, _, part = line[:longest].rpartition(" ")
        line = f"{whole or part}…"
    return printable(line)

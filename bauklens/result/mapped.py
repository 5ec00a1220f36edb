"""Sentences about a result's decoder: the words of its caption, and what a reader of its rows should know."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bauklens.result.tokens import printable
from bauklens.vocabulary import DECODER_KINDS, GIVEN, LOGIT

if TYPE_CHECKING:
    from bauklens.result.result import LensResult


def decoder_called(result: "LensResult") -> str:
    """The kind and the name of a result's decoder, such as ``Jacobian lens “demo”``; empty for the logit lens."""
    if result.decoder == LOGIT:
        return ""
    known = result.provenance.get("decoder")
    kind = DECODER_KINDS.get(known.get("kind", "")) if isinstance(known, Mapping) else None
    return f"{kind or 'decoder'} “{printable(result.decoder)}”"


def mapped_in_words(result: "LensResult") -> str:
    """Sentences about what the decoder did; empty for the logit lens."""
    called = decoder_called(result)
    if not called:
        return ""
    whole = result.stream in ("hidden", GIVEN)
    said = [f"States were mapped by the {called}." if whole else f"Contributions, through the {called}."]
    if result.stream == "mid":
        said = [f"States between attention and MLP were mapped by the {called}, like those after the block."]
    if result.unmapped:
        said.append(
            f"It has no map for {', '.join(result.unmapped)}: {_shown(len(result.unmapped))} as in the logit lens."
        )
    known = result.provenance.get("decoder")
    left = known.get("left out") if isinstance(known, Mapping) else None
    if isinstance(left, tuple) and left:
        named = printable(", ".join(map(str, left)))
        said.append(f"It has no map for {named}, left out here (the option “missing” can show the logit lens there).")
    other = known.get("made for") if isinstance(known, Mapping) else None
    if other:
        said.append(f"It was made for {printable(str(other))}, and its use was forced: its rows may be meaningless.")
    return " ".join(said)


def _shown(count: int) -> str:
    return "that row is shown" if count == 1 else "these rows are shown"

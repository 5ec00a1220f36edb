"""What the gallery shows: its lenses, which are files in docs/gallery, and how the viewer opens on each."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bauklens

GALLERY = Path(__file__).resolve().parent.parent / "docs" / "gallery"


@dataclass(frozen=True)
class Case:
    """One picture.

    Attributes:
        about: what it shows.
        lenses: names of the lenses: one, or two that are compared.
        state: the state of the viewer, as in a copied link.
        pin: a token to pin.
    """

    about: str
    lenses: tuple[str, ...]
    state: dict[str, Any]
    pin: str | None = None


CASES = {
    "paris": Case('" Paris" takes the lead after block 27', ("eiffel",), {"width": 84}, " Paris"),
    "classic": Case(
        "the notebook's look: background by magnitude, text by probability", ("eiffel",), {"colour": "classic"}
    ),
    "delta": Case("what each block adds, decoded on its own", ("eiffel-delta",), {"width": 92}),
    "entropy": Case(
        "entropy, every third layer, the first at the bottom",
        ("eiffel",),
        {"colour": "entropy", "stride": 3, "bottomUp": True},
    ),
    "across": Case(
        "layers across, every fourth of them; the text runs down",
        ("eiffel",),
        {"layersAcross": True, "stride": 4},
    ),
    "difference": Case("two prompts, and their differences", ("eiffel", "needle"), {"width": 120}),
}


IMAGE = Case(
    "a lens over an image: how probable one token is in each patch (a tiny LLaVA with random weights, so what it says "
    "of the image means nothing)",
    ("image",),
    {},
)


def page_of(case: Case) -> str:
    """The page of a case, as users would make it."""
    lenses = [bauklens.LensResult.load(GALLERY / f"{name}.json") for name in case.lenses]
    return (bauklens.compare(*lenses) if len(lenses) > 1 else lenses[0]).to_html(title=case.about)


def fragment_of(case: Case) -> str:
    """The part of an address after ``#`` with which a page opens as the picture of its case shows it."""
    told = base64.urlsafe_b64encode(json.dumps(case.state).encode()).decode().rstrip("=")
    return f"lens-0={told}"

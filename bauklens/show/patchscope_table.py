"""A patchscope as a table: for a notebook, and as a page. Needs no torch."""

from typing import Any

from bauklens.result.patchscope import Patchscope
from bauklens.result.tokens import printable, visible
from bauklens.show.rankings import ranking_fragment, ranking_page


def patchscope_fragment(found: Patchscope) -> str:
    """The HTML of the table, for a notebook."""
    return ranking_fragment(**_ranking(found))


def patchscope_page(found: Patchscope, title: str | None) -> str:
    """The HTML of a self-contained page."""
    return ranking_page(title or f"Patchscope of {found.model}", [_ranking(found)])


def _ranking(found: Patchscope) -> dict[str, Any]:
    source, target = (
        f"“{printable(text)}” at position {position} ({visible(token)})"
        for text, position, token in (
            (found.prompt, found.position, found.token),
            (found.into, found.into_position, found.into_token),
        )
    )
    rows = [
        (layer, [_top(found, found.lens_ids[row], found.lens_probs[row]), _said(found, row)])
        for row, layer in enumerate(found.layers)
    ]
    note = (
        "Patchscope: the model's continuations, coloured by the probability of the first token. "
        f"With nothing put in, it continues with “{printable(found.clean)}”. "
    )
    return {
        "caption": f"States of {source} in {found.model}, put into {target}",
        "corner": "layer",
        "columns": [found.lens, "patchscope"],
        "rows": rows,
        "note": note + " ".join(found.notes),
        "wide": True,
    }


def _top(found: Patchscope, ids: Any, probs: Any) -> tuple[str, float, str]:
    """The most probable token, with those after it on hover."""
    return visible(found.vocabulary[int(ids[0])]), float(probs[0]), _listed(found, ids, probs)


def _said(found: Patchscope, row: int) -> tuple[str, float, str]:
    """The model's continuation, with the most probable first tokens on hover."""
    into = f"put in at {found.into_layers[row]}; first token: "
    listed = _listed(found, found.top_ids[row], found.top_probs[row])
    return visible(found.texts[row]), float(found.top_probs[row, 0]), into + listed


def _listed(found: Patchscope, ids: Any, probs: Any) -> str:
    pairs = zip(ids.tolist(), probs.tolist(), strict=True)
    return ", ".join(f"{visible(found.vocabulary[token])} {probability:.3f}" for token, probability in pairs)

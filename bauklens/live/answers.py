"""The effect of a change on the next token, as plain values for a page: clean, changed, and random changes."""

from typing import Any

import numpy as np

from bauklens.result.generation import Generation
from bauklens.result.intervention import CLEAN, CONTROL, EDITED, Intervention
from bauklens.result.tokens import visible


def answers(next_token: Intervention, text: Generation | None) -> dict[str, Any]:
    """The rows of the page's table of answers.

    Args:
        next_token: the next tokens of one prompt.
        text: the model's continuation; None if not known yet.
    """
    rows = [_row(next_token, CLEAN, "as it is", text.clean if text is not None else None)]
    rows.append(_row(next_token, EDITED, "changed", text.text if text is not None else None))
    if next_token.controls:
        said = None if text is None or not text.controls else text.controls[0]
        rows.append(_random(next_token, said))
    return {
        "targets": [visible(each) for each in next_token.targets[0]],
        "rows": rows,
        "controls": next_token.controls,
        "told": _told(next_token),
        "done": text is not None,
    }


def _row(found: Intervention, condition: str, name: str, text: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "top": visible(found.vocabulary[int(found.top[condition][0])]),
        "probability": [float(each) for each in found.probability[condition][0]],
        "text": text,
    }


def _random(found: Intervention, text: str | None) -> dict[str, Any]:
    """The mean over random changes, and the token that most of them lead to."""
    ids, counts = np.unique(found.top[CONTROL][:, 0], return_counts=True)
    commonest = int(counts.argmax())
    return {
        "name": f"random, {found.controls} times",
        "top": visible(found.vocabulary[int(ids[commonest])]),
        "share": f"{int(counts[commonest])} of {found.controls}",
        "probability": [float(each) for each in found.probability[CONTROL][:, 0].mean(axis=0)],
        "text": text,
    }


def _told(found: Intervention) -> str:
    """One sentence about whether the change does what random ones do not."""
    clean, edited = (int(found.top[name][0]) for name in (CLEAN, EDITED))
    if not found.controls:
        return "The answer changes." if clean != edited else "The answer stays as it is."
    alike = int((found.top[CONTROL][:, 0] == edited).sum())
    if clean == edited:
        return "The answer stays as it is."
    if alike:
        lead = "leads" if alike == 1 else "lead"
        return f"The answer changes, but {alike} of {found.controls} random changes of the same size {lead} to it too."
    return f"The answer changes. None of {found.controls} random changes of the same size leads to this answer."

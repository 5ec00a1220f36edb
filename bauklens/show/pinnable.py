"""What can be pinned: a text, an id or the ids of a word -> a target, a tracked token, or one in a top k."""

import numpy as np

from bauklens.errors import LensError
from bauklens.result.result import LensResult
from bauklens.result.targets import Target, Which


def followed_as(result: LensResult, which: Which) -> Target | None:
    """A target or a tracked token; None if it is neither.

    Raises:
        LensError: several have that text.
    """
    try:
        return result.target(which)
    except LensError as error:
        if "is the text of" in str(error):
            raise
        return None


def is_single(target: Target) -> bool:
    """Whether a target is a single token, and neither a word of several nor a set."""
    return target.part == "token" and len(target.token_ids) == 1


def in_some_top(result: LensResult, which: Which) -> int:
    """The id of a token that is in the top k of some cell.

    Raises:
        LensError: it is in none, or several such tokens have that text.
    """
    in_tops = set(np.unique(result.top_ids).tolist())
    found: list[int] = [token for token in sorted(in_tops) if which in (token, result.vocabulary[token], (token,))]
    if len(found) > 1:
        told = ", ".join(map(str, found))
        raise LensError(f"{which!r} is the text of {len(found)} tokens: pass the id of one of them, {told}")
    if found:
        return found[0]
    spaced = f" {which}" if isinstance(which, str) and not which.startswith(" ") else ""
    hint = f" Its text may begin with a space: {spaced!r}." if spaced and spaced in result.vocabulary.values() else ""
    raise LensError(
        f"{which!r} is not known in this lens: it is not a target, not tracked, and in no top {result.topk}. Pass "
        f"it in logit_lens(..., targets=[...]).{hint}"
    )

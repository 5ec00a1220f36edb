"""The answers to two prompts, and a model's logits for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bauklens.arguments import as_lists
from bauklens.edits.setting import Setting
from bauklens.errors import LensError
from bauklens.result.targets import SET, wanted_targets
from bauklens.result.tokens import token_texts, visible
from bauklens.vocabulary import CLEAN, CORRUPTED

_LEAST = 1e-3
"""By how much the logit differences of the two prompts must differ; below that, a share of it is only rounding."""


@dataclass(frozen=True)
class Answers:
    """The tokens that are followed.

    Attributes:
        ids: one, or the clean answer and the corrupted one.
        texts: theirs.
        notes: what a reader should know about them.
    """

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def of(self, logits: torch.Tensor) -> torch.Tensor:
        """(row, vocabulary) float32 -> (row,): the difference of two logits, or log p of one token."""
        if len(self.ids) == 1:
            return logits.log_softmax(dim=-1)[:, self.ids[0]]
        return logits[:, self.ids[0]] - logits[:, self.ids[1]]

    def notes_on(self, values: Mapping[str, float]) -> list[str]:
        """What a reader should know about their values after the two prompts.

        Raises:
            LensError: these are the same.
        """
        gap = values[CLEAN] - values[CORRUPTED]
        if not abs(gap) > _LEAST:
            raise LensError(
                f"the clean and the corrupted prompt do not differ in {' and '.join(map(repr, self.texts))} "
                f"({values[CLEAN]:.4g} and {values[CORRUPTED]:.4g}), so there is nothing to recover: pass another "
                "target= or prompt"
            )
        if gap > 0:
            return []
        over = f" over {visible(self.texts[1])}" if len(self.texts) > 1 else ""
        return [f"The clean prompt favours {visible(self.texts[0])}{over} less than the corrupted one does."]


def asked_answers(setting: Setting, target: Any, own: Mapping[str, torch.Tensor]) -> Answers:
    """The tokens that a caller asks for, or the two prompts' own next tokens.

    Args:
        own: ``"clean"`` and ``"corrupted"`` -> (vocabulary,), the logits of each prompt as it is.

    Raises:
        LensError: they are not one token or two different ones, or the two prompts are followed by the same one.
    """
    if target is None:
        ids = tuple(int(own[name].argmax()) for name in (CLEAN, CORRUPTED))
        texts = token_texts(setting.tokenizer, ids)
        if ids[0] == ids[1]:
            raise LensError(
                f"{texts[ids[0]]!r} follows both prompts: pass target= with the clean answer and the corrupted one, or "
                "other prompts"
            )
        return Answers(ids, tuple(texts[each] for each in ids))
    listed = as_lists(target)
    several = listed if isinstance(listed, list) else [listed]
    if len(several) not in (1, 2):
        raise LensError(f"target has {len(several)} tokens: pass one, or two (the clean answer and the corrupted one)")
    found = wanted_targets(setting.tokenizer, setting.anatomy.vocabulary, several, "first")
    if any(each.part == SET for each in found):
        raise LensError("target is a set of tokens: pass one token, or two (the clean answer and the corrupted one)")
    ids = tuple(each.token_ids[0] for each in found)
    if len(set(ids)) < len(ids):
        raise LensError(f"{found[0].text!r} and {found[1].text!r} begin with the same token, so they do not differ")
    texts = token_texts(setting.tokenizer, ids)
    notes = tuple(
        f"{visible(each.text)} has {len(each.token_ids)} tokens: the first, {visible(texts[each.token_ids[0]])}, is "
        "followed."
        for each in found
        if len(each.token_ids) > 1
    )
    return Answers(ids, tuple(texts[each] for each in ids), notes)

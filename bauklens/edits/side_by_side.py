"""What a model says next after edits: after one, or after each of several in its own copy of the prompt, at once."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from bauklens.edits.bound import Bound, acting
from bauklens.edits.setting import Setting
from bauklens.errors import LensError
from bauklens.model.forward import last_logits_only, model_logits
from bauklens.model.guard import evaluating, is_hooked
from bauklens.model.memory import free_memory, out_of_memory
from bauklens.model.proof import allowed_difference
from bauklens.stream.changes import Change
from bauklens.stream.passes import most_with_logits

POSITIONS = 2048
"""Of all copies in one forward pass."""

_ALIKE = 1e-3
"""By how much log p in float32 may differ from that of the prompt by itself."""

log = logging.getLogger(__name__)


def next_token(setting: Setting, edited: Bound | None, copies: int = 1) -> torch.Tensor:
    """(copies, vocabulary) float32 on the CPU, log p of the next token."""
    inputs = replace(setting.inputs, ids=setting.inputs.ids.expand(copies, -1))
    with evaluating(setting.model, in_place=setting.anatomy.in_place) as own, acting(own, edited) as running:
        options = {} if setting.anatomy.hooked else last_logits_only(running)
        logits = model_logits(running, inputs, **options)[:, -1, : setting.anatomy.vocabulary]
        return logits.float().log_softmax(dim=-1).cpu()


def next_token_of_each(setting: Setting, several: Sequence[Bound], clean: torch.Tensor) -> torch.Tensor:
    """(edits, vocabulary) float32 on the CPU, log p of the next token after each of several edits.

    Each batch has one more copy, which is left unchanged. If its result is not that of the prompt by itself, or if a
    hook of the caller may expect a batch of one, the edits run one after another.

    Args:
        several: the same edits with different directions, so that they act at the same places.
        clean: (vocabulary,), log p without an edit.
    """
    found: list[torch.Tensor] = []
    at_once = _most(setting)
    while len(found) < len(several):
        some = several[len(found) : len(found) + at_once]
        if len(some) == 1:
            found += next_token(setting, some[0])
            continue
        try:
            logs = next_token(setting, _side_by_side(some), len(some) + 1)
        except LensError:
            raise
        except Exception as error:  # a model that takes only one prompt may raise anything
            if out_of_memory(error):
                free_memory(error)
                at_once = len(some) // 2
            else:
                log.debug("no copies for %s: %r", setting.anatomy.model_class, error)
                at_once = 1
            continue
        if _are_alike(setting, logs[-1], clean):
            found += logs[:-1]
        else:
            log.debug("no copies for %s", setting.anatomy.model_class)
            at_once = 1
    return torch.stack(found)


def _most(setting: Setting) -> int:
    """How many copies run at once, besides the unchanged one."""
    if is_hooked(setting.model) or setting.inputs.extra:
        return 1
    return max(1, min(POSITIONS, most_with_logits(setting.anatomy)) // setting.inputs.count - 1)


def _are_alike(setting: Setting, copy: torch.Tensor, clean: torch.Tensor) -> bool:
    dtype = setting.clean.states.dtype
    is_wide = dtype in (torch.float32, torch.float64)
    allowed = _ALIKE if is_wide else float(allowed_difference(clean, dtype))
    known = clean.isfinite()
    return bool(((copy - clean).abs()[known] <= allowed).all())


def _side_by_side(several: Sequence[Bound]) -> Bound:
    """Edits of which number n acts on copy n."""
    places = zip(*(each.acting.acted for each in several), strict=True)
    acted = [own[0]._replace(change=_each_its_own([each.change for each in own])) for own in places]
    return several[0]._replace(acting=replace(several[0].acting, acted=acted, added={}))


def _each_its_own(changes: Sequence[Change]) -> Change:
    def change(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        found = states.clone()
        for copy, each in enumerate(changes):
            found[copy : copy + 1] = each(states[copy : copy + 1], positions)
        return found

    return change

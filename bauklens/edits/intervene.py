"""intervene(): how edits change what a model says next compared with the same edits with random directions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from bauklens.arguments import checked_count, one_of, whole_number
from bauklens.edits.bound import bound
from bauklens.edits.edit import Edits, edits_in
from bauklens.edits.kinds import Ablate, Steer, Swap
from bauklens.edits.setting import Setting, Token
from bauklens.edits.side_by_side import next_token, next_token_of_each
from bauklens.errors import LensError
from bauklens.model.encoding import Prompt, encode
from bauklens.model.in_hand import in_hand
from bauklens.model.provenance import model_name
from bauklens.model.resolving import resolve
from bauklens.model.together import together
from bauklens.progress import bar
from bauklens.result.intervention import CLEAN, CONTROL, EDITED, Intervention
from bauklens.result.targets import SET, wanted_targets
from bauklens.result.tokens import token_texts

CONTROLS = 10
"""How many random controls, unless the caller passes another number."""


@together
def intervene(
    model: nn.Module,
    tokenizer: Any,
    prompts: Prompt | Sequence[Prompt],
    edits: Any,
    *,
    targets: Any = None,
    control: str | None = "random",
    controls: int = CONTROLS,
    seed: int = 0,
    results: str = "first",  # noqa: ARG001 - read by together()
) -> Intervention:
    """The next token of prompts without edits, with edits, and with random directions instead of the edits' own.

    A control has as many directions, of the same length, at the same layers and positions. If random directions have
    the same effect, it is not due to the tokens.

    Args:
        model: as for :func:`bauklens.logit_lens`.
        tokenizer: its tokenizer.
        prompts: one or several.
        edits: an edit or a sum of them (:mod:`bauklens.edits`); a list holds one for each prompt.
        targets: tokens whose probabilities are followed, as texts (of several tokens, the first counts) or ids; by
            default those that the edits name, or else the model's own next token.
        control: ``"random"``, or None for no control. Edits without directions, such as ``zero``, have no control.
        controls: how many random controls.
        seed: the seed of the first control; the others count up from it.
        results: for a model spread over several ranks, which of them get the result: ``"first"`` or ``"all"``.

    Returns:
        Probabilities and most probable tokens, and the shares of prompts for which the top token is the wanted one (for
        a swap, the token that is put in; for steering, its token), the clean one, or another.

    Raises:
        LensError: as for :func:`bauklens.logit_lens`.
    """
    one_of("control", control, ("random", None))
    count = checked_count("controls", controls) if control else 0
    first = whole_number("seed", seed)
    model, tokenizer = in_hand(model, tokenizer)
    given = list(prompts) if _is_several(prompts) else [prompts]
    if not given:
        raise LensError("prompts is empty: pass at least one")
    each_edits = _for_each(edits, len(given))
    is_random = all(edited.can_be_random for edited in each_edits)
    runs = []
    with bar("Prompts", "prompt", total=len(given)) as done:
        for prompt, edited in zip(given, each_edits, strict=True):
            seeds = [first + number for number in range(count if is_random else 0)]
            runs.append(_Run(model, tokenizer, prompt, edited, targets, seeds))
            done.update()
    followed = {len(run.targets) for run in runs}
    if len(followed) > 1:
        raise LensError("the edits of the prompts name different numbers of tokens: pass targets= for all of them")
    named = [token for run in runs for token in (*run.targets, *run.tops)]
    texts = token_texts(tokenizer, named)
    conditions = (CLEAN, EDITED, CONTROL) if count and is_random else (CLEAN, EDITED)
    return Intervention(
        model=model_name(model),
        prompts=tuple(run.text for run in runs),
        edits=tuple(run.described for run in runs),
        targets=tuple(tuple(texts[token] for token in run.targets) for run in runs),
        wanted=np.array([run.wanted for run in runs]),
        top={name: np.stack([run.top(name) for run in runs], axis=-1) for name in conditions},
        probability={name: np.stack([run.of_targets(name) for run in runs], axis=-2) for name in conditions},
        vocabulary=texts,
    )


class _Run:
    """One prompt under all conditions.

    Attributes:
        text: the prompt's.
        described: what was done.
        targets: the ids of the tokens that are followed.
        wanted: the id of the token that should come next; -1 without one.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, prompt: Prompt, edits: Edits, targets: Any, seeds: Sequence[int]
    ) -> None:
        inputs = encode(model, tokenizer, prompt)
        setting = Setting(model, tokenizer, resolve(model, inputs), inputs)
        ids = inputs.ids[0].tolist()
        self.text = prompt if isinstance(prompt, str) else "".join(token_texts(tokenizer, ids)[each] for each in ids)
        edited = bound(list(edits), setting)
        self.described = edited.described
        self._logs = {CLEAN: next_token(setting, None)[0], EDITED: next_token(setting, edited)[0]}
        if seeds:
            random = [bound(list(edits.randomized(number)), setting) for number in seeds]
            self._logs[CONTROL] = next_token_of_each(setting, random, self._logs[CLEAN])
        self.targets = self._followed(setting, edits, targets)
        self.wanted = next((setting.token_ids([token])[0] for token in _wanted(edits)), -1)

    @property
    def tops(self) -> list[int]:
        """The ids of all most probable tokens."""
        return [int(token) for logs in self._logs.values() for token in logs.argmax(dim=-1).flatten()]

    def top(self, condition: str) -> np.ndarray:
        """The ids of the most probable tokens: one, or (control,)."""
        return self._logs[condition].argmax(dim=-1).numpy()

    def of_targets(self, condition: str) -> np.ndarray:
        """(target,) or (control, target), probabilities."""
        return self._logs[condition][..., list(self.targets)].exp().numpy()

    def _followed(self, setting: Setting, edits: Edits, targets: Any) -> list[int]:
        if targets is not None:
            found = wanted_targets(setting.tokenizer, setting.anatomy.vocabulary, targets, "first")
            if any(each.part == SET for each in found):
                raise LensError("targets must be single tokens, not {name: [...]}: pass a text or id for each")
            return [each.token_ids[0] for each in found]
        named = setting.token_ids(list(dict.fromkeys(_named(edits)))) if _named(edits) else []
        return named or [int(self._logs[CLEAN].argmax())]


def _named(edits: Edits) -> list[Token]:
    """The tokens that edits name, in their order."""
    found: list[Token] = []
    for edit in edits:
        kind = edit.kind
        if isinstance(kind, Swap):
            found += [kind.source, kind.target]
        elif isinstance(kind, Steer):
            found.append(kind.token)
        elif isinstance(kind, Ablate):
            found += kind.tokens
    return found


def _wanted(edits: Edits) -> list[Token]:
    """The tokens that edits are to bring about."""
    kinds = [edit.kind for edit in edits]
    return [kind.target if isinstance(kind, Swap) else kind.token for kind in kinds if isinstance(kind, (Swap, Steer))]


def _for_each(edits: Any, count: int) -> list[Edits]:
    """The edits of each prompt."""
    if isinstance(edits, (list, tuple)):
        if len(edits) != count:
            raise LensError(f"there are {count} prompts and {len(edits)} edits: pass one each, or add them with +")
        return [Edits(edits_in(each)) for each in edits]
    return [Edits(edits_in(edits))] * count


def _is_several(prompts: Any) -> bool:
    return isinstance(prompts, (list, tuple)) and any(
        isinstance(each, (str, list, tuple)) or getattr(each, "ndim", 0) for each in prompts
    )

"""Whether all hidden states are kept, or decoded as soon as a block has run, which not every lens can do."""

from collections.abc import Sequence

from torch import nn

from bauklens.errors import LensError
from bauklens.lens.options import Options
from bauklens.lens.table_rows import chosen_rows, labels
from bauklens.model.anatomy import Anatomy
from bauklens.model.guard import is_hooked, is_sharded
from bauklens.result.targets import Wanted


def keeps_states(model: nn.Module, anatomy: Anatomy, options: Options, targets: Sequence[Wanted]) -> bool | None:
    """``keep_states`` for a model and its options: with None, large states are not kept.

    Raises:
        LensError: ``keep_states`` is False, but the states are needed.
    """
    reason = None if options.keep_states else _why_kept(model, anatomy, options, targets)
    if reason is None:
        return options.keep_states
    if options.keep_states is None:
        return True
    raise LensError(f"keep_states=False does not work here, because {reason}: leave it out")


def _why_kept(model: nn.Module, anatomy: Anatomy, options: Options, targets: Sequence[Wanted]) -> str | None:
    """Why all states have to be kept, as the end of a sentence; None if they need not be."""
    kind = anatomy.model_class
    others = [name for name in options.streams if name != "hidden"]
    reasons = {
        f"the stream {', '.join(map(repr, others))} is computed from what blocks take and return": bool(others),
        f"the states of {kind} are not (position, hidden)": not anatomy.plain or anatomy.whole,
        f"{kind} returns logits of one position only": anatomy.single,
        f"{kind} is spread over several ranks": anatomy.shards is not None or is_sharded(model),
        f"modules of {kind} have your own hooks, or are changed while they run": is_hooked(model) or anatomy.in_place,
        "attention= uses the states again": bool(options.attention),
        "edit_output would act twice (pass edits= instead)": options.edit_output is not None,
        "a word of several tokens is followed in longer texts (pass words='first')": any(
            target.part == "whole" for target in targets
        ),
        "layers= are not in the order of the model": _out_of_order(anatomy, options),
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def _out_of_order(anatomy: Anatomy, options: Options) -> bool:
    rows = chosen_rows(anatomy, labels(anatomy, "hidden"), options.layers) if options.streams == ["hidden"] else []
    return rows != sorted(rows)

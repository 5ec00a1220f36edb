"""Edits, bound to a model and a prompt: what acts where, and how results describe it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from bauklens.arguments import chosen_layers, chosen_positions
from bauklens.edits.edit import NEW, PROMPT, Edit
from bauklens.edits.setting import Setting, Site
from bauklens.errors import LensError
from bauklens.model.guard import evaluating
from bauklens.signals import unbroken
from bauklens.stream.acting import Acting
from bauklens.stream.changes import Acted, Spot
from bauklens.vocabulary import EMBED


class Bound(NamedTuple):
    """Edits that can act.

    Attributes:
        acting: makes them act.
        described: each as plain values, with its layers and positions as they turned out.
    """

    acting: Acting
    described: list[dict[str, Any]]


def bound(edits: Sequence[Edit], setting: Setting) -> Bound:
    """Binds edits to a model and a prompt.

    Raises:
        LensError: an edit names a layer, a position, a token or a vector that does not exist in this model, a decoder
            without a map for one of its layers, or a sublayer that the model does not have.
    """
    acted: list[Acted] = []
    described = []
    for edit in edits:
        labels, columns = _labels(edit, setting), _columns(edit, setting.inputs.count)
        for label in labels:
            site = Site(label, edit.where)
            acted.append(Acted(Spot(*site), columns, edit.kind.at(setting, site), f"an edit at layer {label}: {edit}"))
        described.append(edit.described(setting) | {"layers": labels, "positions": _said(edit, setting.inputs.count)})
    wheres = {each.spot.where for each in acted}
    heads = setting.heads if any(isinstance(where, int) for where in wheres) else ()
    return Bound(Acting(setting.anatomy, acted, setting.sublayers_for(wheres), heads), described)


@unbroken
def acting(model: nn.Module, edited: Bound | None) -> Iterator[nn.Module]:
    """What to run instead of a model so that edits act; the model itself without edits."""
    if edited is None:
        yield model
        return
    with evaluating(model, in_place=edited.acting.anatomy.in_place) as running, edited.acting.on(running):
        yield running


def _labels(edit: Edit, setting: Setting) -> list[str]:
    """The labels of the layers at which an edit acts."""
    named = [EMBED, *setting.anatomy.labels] if edit.where == "hidden" else list(setting.anatomy.labels)
    if edit.layers is not None:
        chosen = [named[row] for row in chosen_layers(named, edit.layers, setting.anatomy.idle)]
        for label in chosen:
            _require_head(edit, setting, label)
        return chosen
    every = setting.layers(edit.kind.decoder) if edit.kind.takes_directions else list(setting.anatomy.labels)
    if isinstance(edit.where, int):
        every = [label for label in every if edit.where < setting.head_count(label)] or every[:1]
        _require_head(edit, setting, every[0])
    return every


def _require_head(edit: Edit, setting: Setting, label: str) -> None:
    """Rejects a head that a layer does not have."""
    if not isinstance(edit.where, int):
        return
    count = setting.head_count(label)
    if not count:
        raise LensError(f"the heads of layer {label} cannot be told apart: pass where='attention'")
    if edit.where >= count:
        raise LensError(f"unknown head {edit.where}: layer {label} has the heads 0 .. {count - 1}")


def _said(edit: Edit, count: int) -> Any:
    """The positions at which an edit acts, as a result names them."""
    named, only = edit.positions, edit.kind.only_at(count)
    if named is None and only is None:
        return None
    if isinstance(named, str) and only is None:
        return named
    if named is None or isinstance(named, str):
        assert only is not None
        return PROMPT if len(only) == count else sorted(only)
    return chosen_positions(count, named)


def _columns(edit: Edit, count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Which positions an edit changes.

    Raises:
        LensError: the position does not exist, or the edit has nothing to put there.
    """
    _require_known(edit, count)
    positions = _said(edit, count)
    if positions is None:
        return torch.ones_like
    if positions == PROMPT:
        return lambda positions: positions < count
    if positions == NEW:
        return lambda positions: positions >= count
    chosen = torch.tensor(positions, dtype=torch.int64, device="cpu")
    return lambda positions: torch.isin(positions, chosen.to(positions.device))


def _require_known(edit: Edit, count: int) -> None:
    """Rejects positions for which an edit has nothing to put there: for a patch, those without a counterpart."""
    only = edit.kind.only_at(count)
    if only is None or edit.positions is None or edit.positions == PROMPT:
        return
    if edit.positions == NEW:
        raise LensError("a patch has no states for generated tokens: leave out positions='new'")
    apart = [each for each in chosen_positions(count, edit.positions) if each not in only]  # type: ignore[arg-type]
    if apart:
        raise LensError(f"position {apart[0]} has no counterpart in the other prompt: name it in align=")

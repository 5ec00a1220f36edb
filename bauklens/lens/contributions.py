"""contributions(): what each head, attention and MLP adds to the logit of a token, with the scale of the final norm."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from bauklens.arguments import checked_count, listed, one_position
from bauklens.decode.exits import OwnLogits
from bauklens.errors import LensError
from bauklens.lens.contribution_parts import parts_of
from bauklens.lens.neuron_parts import neuron_inputs, neuron_parts
from bauklens.model.anatomy import Anatomy
from bauklens.model.encoding import Prompt, encode
from bauklens.model.in_hand import in_hand
from bauklens.model.inputs import Inputs
from bauklens.model.proof import NotProvedError, prove
from bauklens.model.provenance import model_name, provenance
from bauklens.model.resolving import heads_of, resolve, sublayers_of
from bauklens.model.tail import replaying
from bauklens.model.together import together
from bauklens.progress import bar
from bauklens.result.contributions import Contribution, Contributions
from bauklens.result.targets import SET, wanted_targets
from bauklens.result.tokens import token_texts
from bauklens.signals import unbroken
from bauklens.stream.run import Run
from bauklens.stream.states import trace_stream
from bauklens.stream.tracing import Tracing

_GRAINS = 8
"""How many rounding errors of the model's dtype the sum of all parts may have, relative to the sum of their sizes."""

_AT_ONCE = 1_024
"""How many parts' states go through the model's end in one run."""


@together
def contributions(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt,
    target: Any = None,
    *,
    position: int = -1,
    neurons: int = 0,
    results: str = "first",  # noqa: ARG001 - read by together()
) -> Contributions:
    """What each part of a model adds to the logit of a token, or to the difference of two (direct logit attribution).

    The state after the last block is the sum of the embedding, what each attention head and each attention's bias
    write, and what each MLP writes. The final norm keeps the scale that it has at this position. This makes it linear,
    so that the parts add up to the logit, before any soft-cap. A part's effect through later blocks is not included.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer; may be None if prompt and target are ids.
        prompt: a string or token ids.
        target: a text (its first token counts) or an id; or two of them, for the logit of the first minus that of the
            second. None means the model's own next token.
        position: the position in the prompt whose logits are used; negative ones count from the last.
        neurons: how many MLP neurons to list: those that add or subtract the most.
        results: for a model spread over several ranks, which of them get the result: ``"first"`` or ``"all"``.

    Returns:
        All parts, in the order of the model. If the heads of an attention cannot be told apart, or a block does not
        have two sublayers, it is a single part, which a note mentions. What neurons add is included in the parts of
        their MLPs.

    Raises:
        LensError: as for :func:`bauklens.logit_lens`; or the model computes its logits with more than one norm and a
            head, or the parts do not add up.
    """
    model, tokenizer = in_hand(model, tokenizer)
    inputs = encode(model, tokenizer, prompt)
    anatomy = resolve(model, inputs)
    _require_parts(anatomy)
    column = one_position(inputs.count, position)
    chosen = None if target is None else _ids_of(tokenizer, anatomy, target)
    kept = checked_count("neurons", neurons) if neurons else 0
    tracing, notes = _tracing(model, anatomy, inputs)
    with _without_advice():
        stream = trace_stream(model, anatomy, inputs, replace(tracing, positions=column))
    run = Run(model, tokenizer, prompt, inputs, anatomy, stream, inputs.count)
    ids = chosen or [int(OwnLogits(run, [column]).at(range(1)).logits[0].argmax())]
    rows: list[tuple[str, str, str]] = []
    values: list[torch.Tensor] = []
    waiting: list[torch.Tensor] = []
    logits, own = _logits(run, column, ids)
    with (
        _without_advice(),
        _reading(run, column, ids) as read,
        bar("Contributions", "block", total=len(anatomy.blocks)) as done,
    ):
        for part in parts_of(anatomy, stream, column):
            rows += part.named
            waiting.append(part.states)
            if sum(map(len, waiting)) >= _AT_ONCE:
                values.append(read(torch.cat(waiting)))
                waiting.clear()
            done.update(part.blocks)
        last = read(torch.cat([*waiting, run.final[None, column]]))
        values.append(last[:-1])
        of_final = last[-1]
        named, said = _neurons(run, tracing, column, read, kept)
    logit = _difference(logits)
    found = torch.cat([*values, (logit - of_final)[None]]).cpu()
    rounding = logit - float(found.sum())
    if not abs(rounding) <= _GRAINS * torch.finfo(run.final.dtype).eps * float(found.abs().sum()) + 1e-6:
        raise LensError(
            f"the parts of {anatomy.model_class} add up to {float(found.sum()):.5g}, but the logit is {logit:.5g}: its "
            "logits are not linear in the parts"
        )
    parts, kinds, layers = zip(*rows, ("bias", "bias", ""), strict=True)
    token = int(inputs.ids[0, column])
    texts = token_texts(tokenizer, [token, *ids])
    return Contributions(
        model=model_name(model),
        position=column,
        token=texts[token],
        targets=tuple(texts[each] for each in ids),
        target_ids=tuple(ids),
        parts=parts,
        kinds=kinds,
        layers=layers,
        values=found.numpy(),
        logit=logit,
        model_logit=_difference(own),
        rounding=rounding,
        notes=(*notes, *said),
        neurons=named,
        provenance=provenance(model, stream.states, {"target": list(ids), "position": column, "neurons": kept}),
    )


def _neurons(
    run: Run, tracing: Tracing, column: int, read: Callable[[torch.Tensor], torch.Tensor], count: int
) -> tuple[tuple[Contribution, ...], tuple[str, ...]]:
    """The neurons that add or subtract the most, the largest first, and what cannot be told apart, as sentences."""
    if not count:
        return (), ()
    written = run.stream.written
    if tracing.sublayers is None or written is None:
        return (), ("Neurons are not listed, because MLPs are not separate parts.",)
    given = neuron_inputs(run.model, run.anatomy, run.inputs, tracing.sublayers, column)
    found: list[Contribution] = []
    for part in neuron_parts(run.model, run.anatomy, given, tracing.sublayers, written.mlp, column):
        values = read(part.states[:-1].to(run.final))
        top = values.abs().topk(min(count, len(values))).indices.tolist()
        found += [Contribution(f"{part.label}.n{each}", "neuron", part.label, float(values[each])) for each in top]
        found = sorted(found, key=lambda each: -abs(each.value))[:count]
    said = f"The neurons of layers {listed(given.without)} are not told apart."
    return tuple(found), ((said,) if given.without else ())


def _require_parts(anatomy: Anatomy) -> None:
    """Refuses a model whose logits are not a product with its head's weights, after one norm."""
    if not anatomy.plain or anatomy.whole or anatomy.post_ops is None or anatomy.classes is not None or anatomy.single:
        raise LensError(
            f"{anatomy.model_class} computes its logits with more than one norm and a head, or its head is split over "
            "ranks, so the logits are not a sum of what its parts write"
        )


def _ids_of(tokenizer: Any, anatomy: Anatomy, target: Any) -> list[int]:
    """The ids of one or two tokens."""
    given = list(target) if isinstance(target, (list, tuple)) else [target]
    if len(given) not in (1, 2):
        raise LensError(f"target must be one token, or two for their difference; got {len(given)}")
    found = wanted_targets(tokenizer, anatomy.vocabulary, given, "first")
    if any(each.part == SET for each in found):
        raise LensError("target is a set of tokens: pass one token, or two for their difference")
    ids = [each.token_ids[0] for each in found]
    if len(set(ids)) < len(ids):
        raise LensError(f"{found[0].text!r} and {found[1].text!r} begin with the same token, so they do not differ")
    return ids


def _tracing(model: nn.Module, anatomy: Anatomy, inputs: Inputs) -> tuple[Tracing, tuple[str, ...]]:
    """What the forward pass is traced for, and what cannot be told apart, as sentences."""
    try:
        sublayers = sublayers_of(model, anatomy, inputs)
    except LensError as error:
        return Tracing(inputs=True), (f"Blocks are not split into attention and MLP: {_reason(error)}.",)
    try:
        heads = heads_of(model, anatomy, inputs)
    except LensError as error:
        return Tracing(True, sublayers), (f"Heads are not told apart: {_reason(error)}.",)
    without = [label for label, each in zip(anatomy.labels, heads, strict=True) if isinstance(each, str)]
    said = f"The heads of layers {listed(without)} are not told apart."
    return Tracing(True, sublayers, heads), ((said,) if without else ())


def _reason(error: LensError) -> str:
    """An error message without its advice on what to pass to a lens."""
    said = str(error).partition(": pass ")[0].partition("; pass ")[0]
    return said.replace("norm='final' needs", "contributions need")


@contextmanager
def _without_advice() -> Iterator[None]:
    """Removes the advice on what to pass to a lens from an error."""
    try:
        yield
    except NotProvedError:
        raise
    except LensError as error:
        raise LensError(_reason(error)) from None


@unbroken
def _reading(run: Run, column: int, ids: list[int]) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """(row, hidden) -> (row,), what states add to the logit, or to the difference of two logits."""
    positions = torch.tensor([column], device="cpu")
    with replaying(
        run.model,
        run.anatomy,
        run.inputs,
        norm="final",
        final=run.final,
        to_head=True,
        in_place=run.anatomy.in_place,
    ) as tail:
        rows, _ = _of_head(tail.head, run.anatomy, ids)
        direction = rows[0] - rows[1] if rows[1:].numel() else rows[0]
        nothing = tail.head_inputs(torch.zeros_like(run.final[None, :1]), positions)[:, 0].float()

        def read(states: torch.Tensor) -> torch.Tensor:
            inputs = tail.head_inputs(states[:, None], positions)[:, 0].float()
            return (inputs - nothing) @ direction

        yield read


def _logits(run: Run, column: int, ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(token,) twice, the logits of tokens before a soft-cap, and the model's own.

    Raises:
        NotProvedError: the first are not the second, capped.
    """
    anatomy = run.anatomy
    assert anatomy.post_ops is not None
    positions = torch.tensor([column], device="cpu")
    with replaying(run.model, anatomy, run.inputs, to_head=True, in_place=anatomy.in_place) as tail:
        rows, bias = _of_head(tail.head, anatomy, ids)
        inputs = tail.head_inputs(run.final[None, column, None], positions)[0, 0].float()
    scaled = rows @ inputs + bias
    own = OwnLogits(run, [column]).at(range(1)).logits[:, ids].float()
    prove(anatomy, replace(anatomy.post_ops, scale=1.0)(scaled)[None].to(own), own, run.final.dtype)
    return scaled, own[0]


def _of_head(head: nn.Module, anatomy: Anatomy, ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The head's rows of some tokens, (token, width) float32, and their biases (token,), with the model's scale."""
    assert anatomy.post_ops is not None
    weight, bias = cast("torch.Tensor", head.weight), getattr(head, "bias", None)
    rows, scale = weight[ids].float(), anatomy.post_ops.scale
    return rows * scale, torch.zeros_like(rows[:, 0]) if bias is None else bias[ids].float() * scale


def _difference(logits: torch.Tensor) -> float:
    """The logit of one token, or the difference of two."""
    return float(logits[0] - logits[1]) if len(logits) > 1 else float(logits[0])

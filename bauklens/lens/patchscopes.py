"""patchscope(): what a model says about its own states in another prompt, next to what a lens shows."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from bauklens.arguments import Layers, as_lists, checked_count, checked_topk, chosen_layers, one_layer, one_position
from bauklens.edits.setting import Setting
from bauklens.errors import LensError
from bauklens.lens.lens import logit_lens
from bauklens.lens.options import OneDecoder
from bauklens.model.encoding import Prompt, encode
from bauklens.model.generation import continued_copies
from bauklens.model.guard import evaluating, is_hooked
from bauklens.model.in_hand import in_hand
from bauklens.model.inputs import Inputs
from bauklens.model.memory import free_memory, out_of_memory
from bauklens.model.provenance import model_name, provenance
from bauklens.model.resolving import resolve
from bauklens.model.together import together
from bauklens.result.patchscope import Patchscope
from bauklens.result.result import LensResult
from bauklens.result.tokens import token_texts
from bauklens.stream.changes import Spot
from bauklens.stream.copies import Copied, Place, acting_on_copies, run_copies
from bauklens.stream.states import trace_stream
from bauklens.stream.stream import Stream
from bauklens.stream.tracing import Tracing
from bauklens.vocabulary import EMBED

IDENTITY = "cat -> cat; 1135 -> 1135; hello -> hello; x"
"""A prompt that makes a model repeat what takes the place of its last token (Ghandeharioun et al. 2024)."""

_AT_ONCE = 32
"""How many copies generate in one batch."""


@together
def patchscope(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt,
    layer: Layers = None,
    position: int = -1,
    *,
    into: Prompt = IDENTITY,
    into_position: int = -1,
    into_layer: int | str | None = None,
    max_new_tokens: int = 8,
    decoder: OneDecoder = None,
    topk: int = 5,
    results: str = "first",  # noqa: ARG001 - read by together()
) -> Patchscope:
    """Lets a model say what is in its states: puts each into another prompt, and lets the model continue from there.

    Ghandeharioun et al. 2024, "Patchscopes". For each layer, the prompt's state at one position replaces the other
    prompt's state at one position and layer, and the model continues greedily. A lens shows what a state makes the
    model say next. Here the later blocks run as well, so part of the answer may come from them.

    Args:
        model: as for :func:`bauklens.logit_lens`.
        tokenizer: its tokenizer.
        prompt: the text whose states are examined, or its token ids.
        layer: the layers whose states are examined, as ``layers`` of :func:`bauklens.logit_lens`; None means all, and
            the stream before block 0 (``"embed"``).
        position: the state's position in the prompt; negative ones count from the last.
        into: the text that the state is put into, or its token ids; by default one that repeats words.
        into_position: the position at which the state is put; negative ones count from the last.
        into_layer: the layer after which the state is put, by number or label; None uses the layer that the state comes
            from.
        max_new_tokens: the maximum number of tokens that the model generates.
        decoder: the decoder of the lens next to it, as for :func:`bauklens.logit_lens`; a single one.
        topk: how many of the lens's tokens, and of the most probable first tokens, to keep.
        results: for a model spread over several ranks, which of them get the result: ``"first"`` or ``"all"``.

    Returns:
        For each layer, the model's continuation, its most probable first tokens, and the lens's tokens.

    Raises:
        LensError: a layer or position does not exist, the prompts are not text or token ids only, the model predicts
            labels or cannot generate, its states are not (position, hidden), or memory runs out.
    """
    count = checked_count("max_new_tokens", max_new_tokens)
    model, tokenizer = in_hand(model, tokenizer)
    source, target = (_encoded(model, tokenizer, each) for each in (prompt, into))
    setting = Setting(model, tokenizer, resolve(model, target), target)
    anatomy = setting.anatomy
    if anatomy.classes is not None:
        raise LensError(f"patchscope needs a model that predicts tokens; {anatomy.model_class} predicts labels")
    named = [EMBED, *anatomy.labels]
    rows = chosen_layers(named, layer, anatomy.idle)
    layers = [named[row] for row in rows]
    here, there = one_position(source.count, position), one_position(target.count, into_position, "into_position")
    at = layers
    if into_layer is not None:
        at = [named[one_layer(named, "into_layer", into_layer, anatomy.idle)]] * len(rows)
    k = checked_topk(topk, anatomy.vocabulary)
    lens = _lens(model, tokenizer, prompt, layers, here, decoder, k)
    states = trace_stream(model, anatomy, source, Tracing(positions=-1)).states
    places = [Place(Spot(label), there, states[row, here]) for row, label in zip(rows, at, strict=True)]
    top = _first(setting, places, setting.clean, k)
    clean, said = _said(setting, places, count)
    ids, other = source.ids[0].tolist(), target.ids[0].tolist()
    every = [*top.indices.flatten().tolist(), *lens.top_ids.ravel().tolist(), ids[here], other[there]]
    texts = token_texts(tokenizer, every)
    arguments = {"prompt": prompt, "layer": layer, "position": position, "into": into, "into_position": into_position}
    arguments |= {"into_layer": into_layer, "max_new_tokens": count, "topk": k, "decoder": lens.decoder}
    plain = ", ".join(lens.unmapped)
    return Patchscope(
        model=model_name(model),
        prompt=_text(tokenizer, ids),
        position=here,
        token=texts[ids[here]],
        into=_text(tokenizer, other),
        into_position=there,
        into_token=texts[other[there]],
        layers=tuple(layers),
        into_layers=tuple(at),
        texts=tuple(_text(tokenizer, each) for each in said),
        top_ids=top.indices.cpu().numpy(),
        top_probs=top.values.cpu().numpy(),
        lens_ids=lens.top_ids[:, 0],
        lens_probs=lens.top_probs[:, 0],
        decoder=lens.decoder,
        clean=_text(tokenizer, clean),
        vocabulary=texts,
        notes=(f"The decoder has no map for {plain}, read as in the logit lens.",) if plain else (),
        provenance=provenance(model, states, {name: as_lists(value) for name, value in arguments.items()}),
    )


def _encoded(model: nn.Module, tokenizer: Any, prompt: Prompt) -> Inputs:
    """A prompt as token ids, and nothing else."""
    inputs = encode(model, tokenizer, prompt)
    if inputs.extra or inputs.keyword != "input_ids":
        raise LensError("patchscope takes text or token ids, and a model that needs no other inputs")
    return inputs


def _lens(
    model: nn.Module, tokenizer: Any, prompt: Prompt, layers: Sequence[str], position: int, decoder: OneDecoder, k: int
) -> LensResult:
    """What a lens reads from the same states."""
    options: dict[str, Any] = {"missing": "plain", "topk": k, "measures": (), "track": 0}
    found = logit_lens(model, tokenizer, prompt, layers=layers, positions=position, decoder=decoder, **options)
    if not isinstance(found, LensResult):
        raise LensError("patchscope takes one decoder: call it once for each")
    return found


def _first(setting: Setting, places: Sequence[Place], clean: Stream, k: int) -> Any:
    """The most probable first tokens with each place changed: values and indices, (place, k)."""
    assert clean.logits is not None
    own = clean.logits[-1, : setting.anatomy.vocabulary].float()
    found: list[torch.Tensor] = []

    def read(first: int, logits: torch.Tensor) -> None:
        bad = (~logits.isfinite().any(dim=-1) | logits.isnan().any(dim=-1)).nonzero()
        if len(bad):
            label = places[first + int(bad[0, 0])].spot.label
            raise LensError(f"the model's logits are NaN or infinite with the state put in at layer {label}")
        found.append(logits.softmax(dim=-1))

    run_copies(Copied(setting.model, setting.anatomy, setting.inputs, own, clean.states.dtype), places, read)
    return torch.cat(found).topk(k, dim=-1)


def _said(setting: Setting, places: Sequence[Place], count: int) -> tuple[list[int], list[list[int]]]:
    """The model's continuation as it is, and with each place changed.

    Each batch has one more copy, which is left unchanged. If it does not continue like the prompt by itself, or the
    model does not take batches, the others run one by one.
    """
    (clean,) = _go_on(setting, [], 1, count)
    at_once = 1 if is_hooked(setting.model) else _AT_ONCE
    found: list[list[int]] = []
    while len(found) < len(places):
        some = places[len(found) : len(found) + at_once]
        if at_once > 1:
            try:
                *said, own = _go_on(setting, some, len(some) + 1, count)
            except (LensError, RuntimeError, MemoryError) as error:
                if not isinstance(error, LensError) and not out_of_memory(error):
                    raise
                free_memory(error)
                said, own = [], []
            if own == clean:
                found += said
            else:
                at_once = 1
        else:
            found += _go_on(setting, some, 1, count)
    return clean, found


def _go_on(setting: Setting, places: Sequence[Place], copies: int, count: int) -> list[list[int]]:
    """The ids that copies of the prompt continue with, the first of them with a state put in."""
    anatomy = setting.anatomy
    acting = acting_on_copies(anatomy, places)
    with evaluating(setting.model, in_place=anatomy.in_place) as running, acting.on(running):
        return continued_copies(running, setting.tokenizer, setting.inputs, copies, count)


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    if tokenizer is not None:
        return str(tokenizer.decode(list(ids)))
    texts = token_texts(None, ids)
    return "".join(texts[each] for each in ids)

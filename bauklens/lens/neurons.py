"""top_neurons(): the neurons of an MLP that write most; nearest_tokens(): the tokens nearest to an embedding."""

from typing import Any

import torch
from torch import nn

from bauklens.arguments import checked_count, checked_topk, one_layer, one_of, one_position
from bauklens.errors import LensError
from bauklens.lens.pictures import pictures_in
from bauklens.lens.second_projection import PROBE, is_close, second_projection
from bauklens.model.anatomy import Anatomy
from bauklens.model.encoding import Prompt, encode
from bauklens.model.forward import model_logits, record
from bauklens.model.guard import evaluating
from bauklens.model.in_hand import in_hand
from bauklens.model.inputs import Inputs, input_embeddings
from bauklens.model.provenance import model_name
from bauklens.model.resolving import resolve, sublayers_of
from bauklens.model.together import together
from bauklens.model.tracing import TraceDict
from bauklens.model.weights import is_plain, weights_of
from bauklens.result.labels import LabelNames
from bauklens.result.pictures import column_labels
from bauklens.result.tokens import token_texts
from bauklens.show.ranking import NearestTokens, TopNeurons

_PROMOTED = 5


@together
def top_neurons(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt,
    *,
    layer: int,
    position: int,
    k: int = 10,
    results: str = "first",  # noqa: ARG001 - read by together()
) -> TopNeurons:
    """The neurons of a layer's MLP that contribute most to the stream at a position.

    An MLP's neurons are the inputs of its second projection; neuron i adds its activation times row i of that
    projection (Geva et al. 2021, "Transformer Feed-Forward Layers Are Key-Value Memories").

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, or None if the prompt is token ids.
        prompt: a string or token ids.
        layer: the number of the block; negative numbers count from the last.
        position: a position in the prompt; negative ones count from the last.
        k: how many neurons.
        results: for a model spread over several ranks, which of them get the result: ``"first"`` or ``"all"``.

    Raises:
        LensError: as for :func:`bauklens.logit_lens`; or the MLP has no single second projection (a mixture of
            experts), or its weights cannot be read (offloaded, quantized).
    """
    model, tokenizer = in_hand(model, tokenizer)
    inputs = encode(model, tokenizer, prompt)
    anatomy = resolve(model, inputs)
    row = one_layer(anatomy.labels, "layer", layer)
    column = one_position(inputs.count, position)
    mlp = sublayers_of(model, anatomy, inputs).mlp[row]
    with evaluating(model, in_place=anatomy.in_place) as own:
        calls, _ = record(own, inputs.first(PROBE), copies=lambda _: True)
        name, rows = second_projection(own, anatomy, anatomy.blocks[row], mlp, calls)
        with TraceDict(own, [name], retain_output=False, retain_input=True, stop=True) as trace:
            model_logits(own, inputs)
        inner = trace[name].input.reshape(inputs.count, -1)[column]  # (neuron,)
        contributions = inner.float().abs() * rows.float().norm(dim=-1)
        top = contributions.topk(checked_topk(k, len(inner), "k"))
        states = rows[top.indices][None]  # (1, k, hidden)
        for module in (*anatomy.reshaping, anatomy.head):
            states = own.get_submodule(module)(states)
        logits = states[0][..., : anatomy.vocabulary].float()  # a padded head has more
        promoted = logits.topk(min(_PROMOTED, anatomy.vocabulary), dim=-1)
    token_id = int(inputs.ids[0, column])
    read = token_texts(tokenizer, [token_id])
    return TopNeurons(
        model=model_name(model),
        layer=anatomy.labels[row],
        position=column,
        token=read[token_id],
        neurons=top.indices.cpu().numpy(),
        activations=inner[top.indices].float().cpu().numpy(),
        contributions=top.values.cpu().numpy(),
        promoted_ids=promoted.indices.cpu().numpy(),
        promoted_logits=promoted.values.cpu().numpy(),
        vocabulary=_texts(tokenizer, anatomy, promoted.indices, read),
        column=_columns(model, tokenizer, inputs)[column],
    )


@together
def nearest_tokens(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt,
    k: int = 10,
    *,
    metric: str = "head",
    results: str = "first",  # noqa: ARG001 - read by together()
) -> NearestTokens:
    """For each token of a prompt, the tokens of the vocabulary whose output embeddings are nearest to its embedding.

    At a position that is part of an image, this is the embedding of the placeholder there, not the image's own.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, or None if the prompt is token ids.
        prompt: a string or token ids.
        k: how many tokens, 1 .. vocabulary; for a classifier with fewer labels, all of them.
        metric: ``"head"``: the logits that the head, without a norm, gives for the token's embedding; ``"cosine"``:
            the cosine between the embedding and each of the head's rows.
        results: for a model spread over several ranks, which of them get the result: ``"first"`` or ``"all"``.

    Raises:
        LensError: as for :func:`bauklens.logit_lens`; or the head does not take embeddings of this width; or, for the
            cosine, its weights cannot be read.
    """
    one_of("metric", metric, ("head", "cosine"))
    model, tokenizer = in_hand(model, tokenizer)
    inputs = encode(model, tokenizer, prompt)
    anatomy = resolve(model, inputs)
    if anatomy.classes is None:
        k = checked_topk(k, anatomy.vocabulary, "k")
    k = min(checked_count("k", k), anatomy.vocabulary)  # a classifier of two labels has no nearest ten
    with evaluating(model, in_place=anatomy.in_place) as own:
        head = own.get_submodule(anatomy.head)
        embedding = input_embeddings(own)
        assert embedding is not None  # without it, a model has no token inputs
        embedded = embedding(inputs.ids)[0]  # (position, hidden)
        if not _takes(head, embedded.shape[-1]):
            raise LensError(f"the head of {anatomy.model_class} does not take embeddings of width {embedded.shape[-1]}")
        scores = head(embedded[None])[0]  # as it is called in the model, as rounding can go by the shape
        if metric == "cosine":
            rows = _readable(head, anatomy.head, embedded, scores)
            scores = nn.functional.normalize(embedded.float(), dim=-1) @ nn.functional.normalize(rows, dim=-1).T
        scores = scores.float()
        top = scores[..., : anatomy.vocabulary].topk(k, dim=-1)
    ids = inputs.ids[0].tolist()
    read = token_texts(tokenizer, ids)
    return NearestTokens(
        model=model_name(model),
        metric=metric,
        tokens=tuple(read[each] for each in ids),
        top_ids=top.indices.cpu().numpy(),
        scores=top.values.cpu().numpy(),
        vocabulary=_texts(tokenizer, anatomy, top.indices, read),
        columns=_columns(model, tokenizer, inputs),
    )


def _texts(tokenizer: Any, anatomy: Anatomy, predicted: torch.Tensor, read: dict[int, str]) -> dict[int, str]:
    """The texts of what a head gives logits of: a classifier's labels; or tokens, and with them those that it reads."""
    numbers = predicted.flatten().tolist()
    if anatomy.classes is not None:
        return token_texts(LabelNames(anatomy.classes), numbers)
    return token_texts(tokenizer, numbers) | read


def _columns(model: nn.Module, tokenizer: Any, inputs: Inputs) -> tuple[str, ...]:
    """(position,), what positions are called that read pictures; empty for those of text."""
    return column_labels(pictures_in(model, inputs, tokenizer, None, None), list(range(inputs.count)))


def _takes(head: nn.Module, width: int) -> bool:
    """Whether a head takes states of this width, as far as is known; the shape of packed weights does not show it."""
    weight = weights_of(head)
    size = getattr(head, "in_features", None if weight is None else weight.shape[-1])
    return size is None or size == width


def _readable(head: nn.Module, name: str, embedded: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """The head's rows, (vocabulary, hidden) float32, shown to be what it multiplies by."""
    rows, bias = weights_of(head), getattr(head, "bias", None)
    if rows is not None and rows.shape == (scores.shape[-1], embedded.shape[-1]):
        rows = rows.float()
        found = nn.functional.linear(embedded.float(), rows, bias.float() if is_plain(bias) else None)
        if is_close(found, scores):
            return rows
    raise LensError(
        f"the weights of {name} ({type(head).__name__}) cannot be read (it is quantized, offloaded, split "
        "over ranks, or has an adapter): pass metric='head'"
    )

"""evaluate(): do decoders show the intermediate concepts of prompts?"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from bauklens.arguments import Layers, chosen_layers, one_of, whole_number
from bauklens.decode.decoder import Basis, Decoder
from bauklens.decoders.chosen import chosen_decoders, told_apart
from bauklens.decoders.evaluation_sets import ItemSet, item_sets
from bauklens.decoders.fits import require_fit, require_text_model
from bauklens.decoders.item_table import Asked, ItemTable, Word
from bauklens.decoders.read_position import reading_of
from bauklens.decoders.word_tokens import WordTokens, forms_of
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.encoding import encode
from bauklens.model.in_hand import in_hand
from bauklens.model.provenance import model_name, provenance
from bauklens.model.resolving import resolve
from bauklens.model.together import together
from bauklens.show.evaluated_items import EvaluatedSet
from bauklens.show.evaluation import Evaluation
from bauklens.vocabulary import EMBED, SPELLED

_LARGEST_K = 10**9


@together
def evaluate(
    decoders: Any,
    model: nn.Module,
    tokenizer: Any,
    items: Any,
    *,
    layers: Layers = None,
    k: int | Iterable[int] = (1, 5, 10),
    words: str = "single",
    read: Any = None,
    forms: Any = None,
    results: str = "first",  # noqa: ARG001 - read by together()
) -> Evaluation:
    """Measures how often decoders show the intermediate concepts of prompts: pass@k.

    An item is a prompt and the concepts on the way to its answer, which appear in neither the prompt nor the answer:
    ``{"prompt": "Fact: The language spoken in the country where the Amazon River ends is ", "intermediates":
    ["Brazil"], "target": "Portuguese"}``. The lens is read at one position, at all layers. The rank of an intermediate
    is its best rank over the layers, and over the tokens that count as it. **pass@k** is the mean over items of the
    share of their intermediates whose rank is at most k. This is the metric published with the Jacobian lens.

    All decoders read the same states, from one forward pass. Ranks count from 1, and tokens with equal logits share the
    better rank. Logits are in the model's own dtype.

    The tokens that count as a word are its synonyms, with and without a space before them, as given and with the first
    letter capitalized, if such a form is a single token. A word without such a token is reported, and left out of its
    item's share (or its first token is followed, see ``words``). An item whose words are all left out is left out of
    the mean.

    Args:
        decoders: one decoder, or a list of several, each as ``decoder`` of :func:`bauklens.logit_lens`.
        model: a causal language model.
        tokenizer: its tokenizer.
        items: a JSON file, ``{"items": [...]}`` or a list; a list of files; a list of items; or a mapping of names of
            sets to any of these. An item is a mapping with ``"prompt"`` (a text, or the messages of a chat),
            ``"intermediates"`` (a list of words; each may be a list of synonyms), and optionally ``"target"``,
            ``"name"`` and ``"read"``.
        layers: the rows to take the best rank over: numbers of blocks (negative ones count from the last), or
            ``"embed"``. None means every block but the last, if all decoders have a map for it. The last block's row is
            the model's own under every decoder; it counts only if you ask for it here.
        k: one number or several.
        words: ``"single"``: words that are not a single token are left out. ``"first"``: their first token is followed.
        read: the rule for the position at which the lens is read, for all sets, or a mapping of names of sets to rules.
            ``"before target"``: at the token before the target, in the tokens of the prompt and the target together, so
            that a prompt that ends in a space is read before that space if the target's token takes it in; without a
            target, at the last token. ``"last"``: at the prompt's last token. ``"last newline"``: at the last token
            that contains a newline. None means the ``"read"`` of an item or its file; without one, ``"last newline"``
            for the published set ``lens-eval-poetry``, and ``"before target"`` for all others.
        forms: ``"arithmetic"``: numbers count as digits and as words, and operations as symbols and as words (the table
            is :data:`bauklens.decoders.word_tokens.OPERATIONS`); ``"plain"``: only the words themselves. Or a mapping
            of names of sets to these. None means the ``"forms"`` of a file; without one, ``"arithmetic"`` for the
            published set ``lens-eval-order-ops``, and ``"plain"`` for all others.
        results: for a model spread over several ranks, which of them get the result: ``"first"`` or ``"all"``.

    Returns:
        The shares, and for each item where it was read, the ranks, and the layers at which they are best.

    Raises:
        LensError: an item is malformed, or its prompt is longer than the model's context; a decoder does not fit the
            model, or has no map for a layer that is asked for; no layer has a map under every decoder; memory runs out;
            or the decoded logits are not the model's own.
    """
    one_of("words", words, tuple(SPELLED))
    ks = _checked_ks(k)
    sets = item_sets(items, read=read, forms=forms)
    model, tokenizer = in_hand(model, tokenizer)
    if tokenizer is None:
        raise LensError("evaluate() needs a tokenizer: call evaluate(decoders, model, tokenizer, items)")
    chosen = chosen_decoders(decoders)
    asked = [_prepared(model, tokenizer, each, place) for each in sets for place in range(len(each.items))]
    anatomy = resolve(model, max((each.inputs for each in asked), key=lambda inputs: inputs.count))
    require_text_model(anatomy, "evaluating")
    misfits = [require_fit(decoder, model, anatomy, ["hidden"], "own") for decoder in chosen]
    labels, unmapped = _layers(chosen, anatomy, layers)
    names = tuple(told_apart([decoder.name for decoder in chosen]))
    tokens = WordTokens(tokenizer, anatomy.vocabulary)
    table = ItemTable(model, tokenizer, anatomy, chosen, labels)
    evaluated = iter(table.items(asked, [_followed(tokens, each, words) for each in asked]))
    return Evaluation(
        model=model_name(model),
        decoders=names,
        layers=tuple(labels),
        ks=ks,
        words=words,
        sets=tuple(
            EvaluatedSet(each.name, each.read, each.forms, tuple(next(evaluated) for _ in each.items)) for each in sets
        ),
        layers_without_map=unmapped,
        made_for={name: other for name, other in zip(names, misfits, strict=True) if other},
        provenance=provenance(model, _weight(model), {"k": ks, "words": words, "layers": labels, "decoders": names})
        | {"kinds": {name: getattr(each, "kind", each.name) for name, each in zip(names, chosen, strict=True)}},
    )


def _checked_ks(k: Any) -> tuple[int, ...]:
    k = k.tolist() if hasattr(k, "tolist") else k
    each = [whole_number("k", one) for one in (k if isinstance(k, Iterable) and not isinstance(k, str) else [k])]
    if not each:
        raise LensError("k is empty: pass at least one number")
    for one in each:
        if one < 1:
            raise LensError(f"k is {max(one, -_LARGEST_K)}: pass a number of 1 or more")
        if one > _LARGEST_K:
            raise LensError(f"k is larger than {_LARGEST_K:,}: pass a number up to that")
    return tuple(sorted(set(each)))


def _prepared(model: nn.Module, tokenizer: Any, several: ItemSet, place: int) -> Asked:
    item = several.items[place]
    try:
        reading = reading_of(item, tokenizer, item.read or several.read)
        return Asked(several, place, reading, encode(model, tokenizer, list(reading.ids)))
    except LensError as error:
        raise LensError(f"{several.called(place)}: {error}") from None


def _followed(tokens: WordTokens, asked: Asked, words: str) -> list[Word]:
    found = []
    for synonyms in asked.of.items[asked.place].intermediates:
        try:
            texts = [form for each in synonyms for form in forms_of(each, asked.of.forms)]
            ids, by = tokens.single(texts), "single"
            if not ids and words == "first":
                ids, by = tokens.first(texts), "first"
        except LensError as error:
            raise LensError(f"{asked.of.called(asked.place)}: {error}") from None
        found.append(Word(synonyms, ids, by if ids else "none"))
    return found


def _layers(decoders: Sequence[Decoder], anatomy: Anatomy, layers: Layers) -> tuple[list[str], tuple[str, ...]]:
    """The labels of the rows to read, and of those that would be read if every decoder had a map for them."""
    named = [EMBED, *anatomy.labels]
    bases = [Basis(decoder, anatomy) for decoder in decoders]
    if layers is not None:
        asked = [named[row] for row in chosen_layers(named, layers)]
        for decoder, basis in zip(decoders, bases, strict=True):
            missing = [label for label in asked if not basis.covers(label)]
            if missing:
                raise LensError(
                    f"the decoder {decoder.name!r} has no map for layer {', '.join(missing):.200}: pass layers that "
                    "every decoder has"
                )
        return asked, ()
    every = list(anatomy.labels[:-1])
    common = [label for label in every if all(basis.maps(label) for basis in bases)]
    if not common:
        raise LensError("no layer but the last has a map under every decoder: pass layers, or other decoders")
    return common, tuple(label for label in every if label not in common)


def _weight(model: nn.Module) -> torch.Tensor:
    """One of a model's weights, whose dtype and device describe all of them."""
    return next(iter(model.parameters()))

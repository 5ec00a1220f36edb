"""decode_states(): vectors that come from elsewhere, read through a model's own norm and head."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bauklens.arguments import as_lists, checked_count, one_layer, one_of
from bauklens.decode.decoder import LOGIT_LENS, Basis, Decoder
from bauklens.decode.rows import Way
from bauklens.decode.unembed import Rows
from bauklens.decoders.chosen import chosen_decoders, is_several
from bauklens.decoders.fits import require_fit
from bauklens.errors import LensError
from bauklens.lens.how import How
from bauklens.lens.options import OneDecoder, Targets
from bauklens.lens.run import lens_of, run
from bauklens.model.anatomy import Anatomy
from bauklens.model.in_hand import in_hand
from bauklens.model.together import together
from bauklens.model.weights import whole
from bauklens.result.labels import LabelNames
from bauklens.result.result import LensResult
from bauklens.result.targets import wanted_targets
from bauklens.text_ids import is_unicode
from bauklens.vocabulary import EMBED, GIVEN, MOST_TRACKED

PROMPT = "Given vectors"
"""What such a table shows instead of a prompt."""

COLUMN = "given vectors"
"""The name of the only column of such a table."""


@together
def decode_states(
    model: nn.Module,
    tokenizer: Any,
    states: Any,
    labels: Iterable[str] | None = None,
    *,
    decoder: OneDecoder = None,
    layer: int | str | Sequence[int | str] | None = None,
    norm: str | None = "own",
    topk: int = 10,
    targets: Targets = None,
    results: str = "first",  # noqa: ARG001 - read by together()
) -> LensResult:
    """Decodes vectors from elsewhere (a probe, a feature, a steering vector) as a lens decodes hidden states.

    Each vector goes through the decoder's map, if there is one, and the model's own final norm and head. A direction,
    unlike a state, has no length of its own. Nearly all final norms do not see it; with ``norm=None`` it matters.

    Args:
        model: as for :func:`bauklens.logit_lens`.
        tokenizer: its tokenizer, or None to show tokens as ids.
        states: (row, width) numbers, as a tensor, an array or lists; or (width,) for a single vector.
        labels: (row,), the name of each vector; by default its number, from 0.
        decoder: maps the vectors to the final basis, as for :func:`bauklens.logit_lens`; a single one.
        layer: the layer that the vectors come from, as a number or label, which determines which of the decoder's maps
            is used; or a list with one layer per row.
        norm: ``"own"``, the model's final norm; or None, only the head.
        topk: how many tokens to keep for each vector.
        targets: tokens to follow, as for :func:`bauklens.logit_lens`; for a text of several tokens, only the first is
            followed.
        results: for a model spread over several ranks, which of them get the result: ``"first"`` or ``"all"``.

    Returns:
        A table with one row per vector, under its label, and a single column. Like any other lens, it can be shown,
        saved and converted to a data frame. Its check covers the model's norm and head, on a prompt of one token.

    Raises:
        LensError: the vectors are not numbers of the model's width, or are NaN or infinite; the labels do not match
            them; a decoder is given without a layer, or has no map for it; and as for :func:`bauklens.logit_lens`.
    """
    one_of("norm", norm, ("own", None))
    if is_several(decoder):
        raise LensError("decode_states takes one decoder: call it once for each")
    (chosen,) = chosen_decoders(decoder)
    model, tokenizer = in_hand(model, tokenizer)
    ran = run(model, tokenizer, [_some_token(tokenizer)])
    anatomy = ran.anatomy
    if not anatomy.plain:
        raise LensError(
            f"decode_states needs a model whose states are (position, hidden); those of {anatomy.model_class} are not"
        )
    given = _vectors(states, anatomy.width).to(ran.final)
    if not given.isfinite().all():
        raise LensError(f"the vectors exceed the range of {str(ran.final.dtype).removeprefix('torch.')}")
    named = _labels(labels, len(given))
    made_for = require_fit(chosen, model, anatomy, [getattr(chosen, "stream", "hidden")], norm)
    rows = [f"vector {number}" for number in range(len(given))]
    mapped = _mapped(layer, anatomy, chosen, rows)
    written_in = tokenizer if anatomy.classes is None else LabelNames(anatomy.classes)
    how = How(
        min(checked_count("topk", topk), anatomy.vocabulary),
        Way(norm, decoder=PlacedDecoder(chosen, mapped) if mapped else LOGIT_LENS),
        measures=("max_logit", "entropy"),
        targets=tuple(wanted_targets(written_in, anatomy.vocabulary, targets, "first")),
        misfit=made_for,
        track=MOST_TRACKED,
    )
    arguments = {
        "topk": topk,
        "norm": norm,
        "decoder": how.decoder,
        "layer": as_lists(layer),
        "labels": labels and named,
    }
    arguments |= {"targets": as_lists(targets), "states": f"vectors {tuple(given.shape)}"}
    found = lens_of(ran, Rows(GIVEN, given[:, None], rows, [0]), how, arguments=arguments)
    return replace(
        found,
        layers=tuple(named),
        prompt=PROMPT,
        columns=(COLUMN,),
        notes=(*found.notes, _note(chosen, layer)),
        unmapped=(),
    )


class PlacedDecoder:
    """A decoder whose rows are not named after layers.

    Args:
        decoder: the decoder.
        layers: the name of each row -> the label of its layer.
    """

    def __init__(self, decoder: Decoder, layers: Mapping[str, str]) -> None:
        self._decoder, self._layer_of = decoder, layers
        self.name, self.kind = decoder.name, getattr(decoder, "kind", "function")
        self.about = getattr(decoder, "about", None)
        self.layers = tuple(layers)
        warm: Mapping[str, float] = getattr(decoder, "temperatures", None) or {}
        self.temperatures = {row: warm[layer] for row, layer in layers.items() if layer in warm}

    def __call__(self, states: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:
        """States in the final basis, mapped by the decoder at each row's layer."""
        return self._decoder(states, [self._layer_of[row] for row in layers])


def _some_token(tokenizer: Any) -> int:
    """A token that can begin a text."""
    known = (getattr(tokenizer, name, None) for name in ("bos_token_id", "eos_token_id"))
    return next((each for each in known if isinstance(each, int)), 0)


def _vectors(states: Any, width: int) -> torch.Tensor:
    """(row, width) float64, on the CPU."""
    states = whole(states)
    try:
        found = states.detach() if isinstance(states, torch.Tensor) else torch.from_numpy(np.array(states))
        is_number = found.dtype != torch.bool and not found.is_complex()
    except (TypeError, ValueError, RuntimeError):
        found, is_number = torch.empty(0, dtype=torch.float64, device="cpu"), False
    found = found[None] if found.dim() == 1 else found
    if not is_number or found.dim() != 2 or found.shape[1] != width or not len(found):
        got = f"shape {tuple(found.shape)}" if is_number else f"{type(states).__name__}"
        raise LensError(f"states must be numbers of shape (row, {width}), the width of this model's states; got {got}")
    found = found.to(device="cpu", dtype=torch.float64)
    bad = (~found.isfinite().all(dim=1)).nonzero()
    if len(bad):
        raise LensError(f"row {int(bad[0, 0])} of the states contains NaN or infinity")
    return found


def _labels(labels: Iterable[str] | None, count: int) -> list[str]:
    if labels is None:
        return [str(number) for number in range(count)]
    found, known = [labels] if isinstance(labels, str) else list(labels), dict[str, int]()
    if not all(isinstance(each, str) and is_unicode(each) for each in found):
        raise LensError("labels must be texts, one for each row of the states")
    if len(found) != count:
        raise LensError(f"there are {count} rows of states and {len(found)} labels: pass one label per row")
    for number, each in enumerate(found):
        if known.setdefault(each, number) != number:
            raise LensError(f"the label {each!r} is given twice: pass a different one for each row")
    return found


def _mapped(layer: Any, anatomy: Anatomy, decoder: Decoder, rows: Sequence[str]) -> dict[str, str]:
    """The name of each row that is mapped -> the label of its layer; states of the last block need no map.

    Raises:
        LensError: the layer does not exist, or the decoder has no map for it.
    """
    if layer is None:
        if decoder is LOGIT_LENS:
            return {}
        raise LensError(
            f"the decoder {decoder.name!r} has a different map for each layer: pass layer=, the layer of the vectors"
        )
    wanted = as_lists(layer)
    several = wanted if isinstance(wanted, list) else [wanted] * len(rows)
    if len(several) != len(rows):
        raise LensError(
            f"there are {len(rows)} rows of states and {len(several)} layers: pass one layer, or one per row"
        )
    named, basis = [EMBED, *anatomy.labels], Basis(decoder, anatomy)
    found = [named[one_layer(named, "layer", each, anatomy.idle)] for each in several]
    for label in found:
        if not basis.covers(label):
            raise LensError(f"the decoder {decoder.name!r} has no map for layer {label}")
    if decoder is LOGIT_LENS:
        return {}
    return {row: label for row, label in zip(rows, found, strict=True) if basis.maps(label)}


def _note(decoder: Decoder, layer: Any) -> str:
    several = isinstance(as_lists(layer), list)
    of = "its own layer" if several else f"layer {layer}"
    by = "" if decoder is LOGIT_LENS else f", read as a state of {of}"
    return f"Each row is a given vector{by}. The check covers the model, on a prompt of one token."

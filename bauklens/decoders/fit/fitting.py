"""fit_decoder(): a model and texts -> a learned decoder, with its quality on texts that it was not fitted on."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bauklens.arguments import Layers, checked_count, one_of
from bauklens.decoders.checked import checked_name
from bauklens.decoders.fingerprint import fingerprint, weights_hash
from bauklens.decoders.fit.checkpoint import Checkpoint
from bauklens.decoders.fit.ridge import bytes_of_layer
from bauklens.decoders.fit.source import Source
from bauklens.decoders.fit.states import Fitted, fitted_layers
from bauklens.decoders.fit.wanted import DTYPES, Wanted, wanted_of
from bauklens.decoders.fit.work import Done, Work
from bauklens.decoders.fits import require_text_model
from bauklens.decoders.learned import LearnedDecoder, Parts
from bauklens.decoders.texts import LENGTH, SKIP_FIRST
from bauklens.errors import LensError
from bauklens.files import path_of
from bauklens.model.guard import is_sharded
from bauklens.model.in_hand import in_hand
from bauklens.model.memory import free_bytes
from bauklens.model.provenance import model_name, provenance
from bauklens.model.ranks import ranks_of
from bauklens.model.resolving import resolve
from bauklens.model.together import on_all_ranks
from bauklens.vocabulary import LOGIT


@on_all_ranks
def fit_decoder(
    model: nn.Module,
    tokenizer: Any,
    texts: Iterable[Any] | None = None,
    *,
    method: str = "jacobian",
    layers: Layers = None,
    tokens: int | None = None,
    target_layer: int | str | None = None,
    length: int = LENGTH,
    skip_first: int = SKIP_FIRST,
    name: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    memory: int | None = None,
    seed: int = 0,
    on_error: str = "raise",
    dtype: str = "float16",
    blocks: str | None = None,
    head: str | None = None,
    anchors: int | None = None,
    dim_batch: int | None = None,
    normalize: bool | None = None,
    tolerance: float | None = None,
    steps: int | None = None,
    rows_per_step: int | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
) -> LearnedDecoder:
    """Fits a decoder to a model, and measures it on texts that it was not fitted on.

    Until there are enough, every fifth text is kept apart to choose lambda and temperatures, and another fifth to
    measure each layer's KL divergence and agreement, which are in :attr:`LearnedDecoder.quality`.

    Args:
        model: any transformers causal language model.
        tokenizer: its tokenizer; may be None if all texts are token ids.
        texts: any iterable of strings, lists of token ids, or mappings with ``"text"`` or ``"input_ids"``, such as a
            dataset of the library ``datasets``, which may be a stream, because no texts are kept in memory. None: the
            model writes its own texts.
        method: ``"jacobian"``, the mean Jacobian of the final state, by backward passes; ``"jacobian-mean-field"``, the
            same in closed form, from forward passes only, for models with blocks like Llama's; ``"ridge"``, a least
            squares fit of the final state; ``"tuned"``, an affine map trained to predict the model's own output.
        layers: the layers to fit, by number or label, or ``"embed"``; by default all before the target.
        tokens: about how many tokens to fit on, counting the positions that are not left out. By default 11,100 (100
            windows) for ``"jacobian"``, 2,000 for ``"jacobian-mean-field"``, 65,536 otherwise, and fewer if the model
            writes the texts.
        target_layer: the layer whose states the maps lead to; by default the last.
        length: tokens per window; a longer text gives several windows.
        skip_first: how many positions at the beginning of each window are left out; the last is left out too.
        name: what results call the decoder; by default the method.
        checkpoint: a ``.safetensors`` file that is written after every few windows. If it exists already, the fit
            continues from it, with the same result, bit for bit, on the same machine.
        memory: bytes for the sums of a ridge fit; if the sums of all layers need more, the texts are read several
            times, and layers are fitted in groups.
        seed: the random seed for the texts that a model writes, and for the order of windows in training.
        on_error: ``"skip"`` leaves out texts that fail; ``"raise"`` raises their error.
        dtype: the dtype in which the maps are kept, ``"float16"`` or ``"float32"``.
        blocks: as for :func:`bauklens.logit_lens`.
        head: as for :func:`bauklens.logit_lens`.
        anchors: for ``"jacobian"``: how many more windows to take, in closed form only. The closed form then serves as
            a control variate: the same number of exact Jacobians gives a mean with less variance. It needs blocks like
            Llama's.
        dim_batch: for ``"jacobian"``: how many rows one backward pass computes; by default as many as fit in memory.
        normalize: for ``"jacobian"``: count every window equally, whatever the size of its Jacobian.
        tolerance: for ``"jacobian"``: stop when a window moves the mean of every layer by less than this, relative to
            its size.
        steps: for ``"tuned"``: how many training steps, by default 100.
        rows_per_step: for ``"tuned"``: positions per step, by default 100.
        optimizer: for ``"tuned"``: ``"adamw"``, the default, or ``"sgd"`` with Nesterov's momentum.
        learning_rate: for ``"tuned"``: the initial learning rate, for states with a root mean square of one.

    Returns:
        The decoder, for ``logit_lens(..., decoder=...)``; :meth:`LearnedDecoder.save` writes it to a file.

    Raises:
        LensError: the texts are too few or too short; a text fails, with its number; the model has no gradients, or its
            blocks have no closed form; the checkpoint belongs to another model, other texts or other arguments, or
            cannot be written; memory runs out; an option is not one of this method.
    """
    one_of("dtype", dtype, DTYPES)
    if name is not None and checked_name(name) == LOGIT:
        raise LensError(f"name is {LOGIT!r}, which is the logit lens: pass another name")
    options = {
        "anchors": anchors,
        "dim_batch": dim_batch,
        "normalize": normalize,
        "tolerance": tolerance,
        "steps": steps,
        "rows_per_step": rows_per_step,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
    }
    wanted = wanted_of(
        method=method,
        tokens=tokens,
        length=length,
        skip_first=skip_first,
        seed=seed,
        on_error=on_error,
        own=texts is None,
        options=options,
    )
    memory = None if memory is None else checked_count("memory", memory)
    model, tokenizer = in_hand(model, tokenizer)
    if checkpoint is not None and ranks_of(model) is not None:
        raise LensError("checkpoint= needs a model in one process, but this one is spread over ranks")
    if method != "ridge" and is_sharded(model):
        raise LensError(
            f"method={method!r} needs gradients or weights of the model, which FSDP shards: pass method='ridge', or "
            "load the model with tp_size= instead"
        )
    source = Source(model, tokenizer, texts, wanted)
    anatomy = resolve(model, source.first(), blocks=blocks, head=head)
    require_text_model(anatomy, "fitting")
    *labels, target = fitted_layers(anatomy, layers, target_layer)
    fitted = Fitted(model, anatomy, tuple(labels), target, wanted.skip_first)
    groups = _groups(fitted, wanted, memory)
    if groups[1:] and source.once:
        raise LensError(
            f"the sums of {len(labels)} layers need {len(labels) * bytes_of_layer(fitted.size) / 1e9:.2g} GB, so "
            "the texts would be read several times, but these can be read only once: pass a list, a dataset or a "
            "file, fewer layers, or more memory"
        )
    done = []
    for number, group in enumerate(groups, 1):
        some = replace(fitted, layers=group)
        kept = _checkpoint(checkpoint, some, wanted, source.own, f"-{number}" if groups[1:] else "")
        done.append(Work(some, source, wanted, kept).done())
    return _described(done, fitted, wanted, source.own, name, getattr(torch, dtype))


def _groups(fitted: Fitted, wanted: Wanted, memory: int | None) -> list[tuple[str, ...]]:
    """Groups of layers, each as large as the memory for the sums of a ridge fit allows."""
    if wanted.method not in ("ridge", "tuned"):
        return [fitted.layers]
    room = free_bytes() // 2 if memory is None else memory
    count = max(1, room // (bytes_of_layer(fitted.size) * (1 if wanted.method == "ridge" else 3)))
    return [fitted.layers[start : start + count] for start in range(0, len(fitted.layers), count)]


def _checkpoint(
    path: str | os.PathLike[str] | None, fitted: Fitted, wanted: Wanted, own: bool, suffix: str
) -> Checkpoint:
    if path is not None:
        path = path_of(path)
        path = path.with_name(f"{path.stem}{suffix}{path.suffix}")
    arguments = wanted.described() | {
        "layers": list(fitted.layers),
        "target_layer": fitted.target,
        "texts": "written by the model itself" if own else "given",
        "weights": weights_hash(fitted.model),
    }
    return Checkpoint(path, arguments, fingerprint(fitted.model, fitted.anatomy))


def _described(
    done: Sequence[Done], fitted: Fitted, wanted: Wanted, own: bool, name: str | None, dtype: torch.dtype
) -> LearnedDecoder:
    """All layers as one decoder, with what is known about it."""
    first = done[0]
    parts = Parts({}, {}, {})
    for each in done:
        parts = parts.replaced(Parts.of(each.lens))
    maps, shifts = ({label: _kept(each, dtype) for label, each in part.items()} for part in parts[:2])
    parts = Parts(maps, shifts, parts.temperatures)
    name = first.lens.kind if name is None else name
    kind = type(first.lens)
    quality = first.work.quality(kind.from_parts(*parts, name=name))
    scored = len(first.work.corpus.scored)
    found = provenance(fitted.model, torch.empty(0, dtype=fitted.dtype, device=fitted.device), {})
    about = {
        "model": model_name(fitted.model),
        "method": wanted.method,
        "texts": "written by the model itself" if own else "given",
        "texts hash": first.work.corpus.digest,
        "prompts": first.fit.windows,
        "tokens": first.fit.rows,
        "failed": first.work.failed + first.work.failed_apart,
        "length": wanted.length,
        "skip_first": wanted.skip_first,
        "seed": wanted.seed,
        "blocks": len(fitted.anatomy.blocks),
        "target": fitted.target,
        "quality": f"on {scored} windows that it was not fitted on" if quality else "not measured",
        "options": dict(wanted.options),
        "dtype": found["dtype"],
        "packages": found["packages"],
        "fingerprint": fingerprint(fitted.model, fitted.anatomy),
    }
    about |= _joined([each.lens.about for each in done])
    return kind.from_parts(*parts, name=name, quality=quality, about=about)


def _joined(abouts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is known about several groups of layers, with mappings by layer and lists of layers joined."""
    found: dict[str, Any] = {}
    for name, value in (item for about in abouts for item in about.items()):
        known = found.get(name)
        if isinstance(value, Mapping):
            found[name] = {**(known or {}), **value}
        else:
            found[name] = [*(known or []), *value] if isinstance(value, list) else value
    return found


def _kept(part: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A part in the dtype in which it is kept, or float32 if that overflows."""
    found = part.to(dtype)
    return found if found.isfinite().all() else part.float()

"""What shows whether a decoder was made for a model: numbers of its head, and its kind and size."""

import hashlib
from typing import Any
from weakref import WeakKeyDictionary

import torch
from accelerate.utils import align_module_device
from torch import nn

from bauklens.model.anatomy import Anatomy
from bauklens.model.inputs import output_embeddings, text_config
from bauklens.model.shell import original
from bauklens.model.weights import is_plain, tensors_in

_ROWS = 4096
"""Rows of the head, about so many, that are read."""

_SAMPLED = 64
"""Numbers of the head that are kept as they are."""

_ROUNDING = 2**-7
"""Relative: more than bfloat16, float16 and their conversions change a weight; far less than training does."""

_FLOAT16 = 2**-24
"""The least number of float16, which has no digits for what is smaller."""

_MOST_ROUNDED = _SAMPLED // 4
"""Of these, how many may be rounded another way; about one in sixteen of a model that was in float16 is."""

_known: WeakKeyDictionary[nn.Module, tuple[Any, dict[str, Any]]] = WeakKeyDictionary()


def fingerprint(model: nn.Module, anatomy: Anatomy) -> dict[str, Any]:
    """What a file keeps of the model that a decoder was fitted on.

    Returns:
        ``kind`` of the model, ``blocks``, ``width`` and ``vocabulary``; for the head, ``hash``, SHA-256 of rows of its
        weights rounded to bfloat16, and ``sample``, some of these weights as numbers, because the same model in another
        dtype can have another hash.
    """
    model = original(model)
    key = (anatomy.head, anatomy.blocks, _state(model))
    found = _known.get(model)
    if found is None or found[0] != key:
        config = text_config(model)
        about = {
            "kind": getattr(config, "model_type", None) or anatomy.model_class,
            "blocks": len(anatomy.blocks),
            "width": anatomy.width,
            "vocabulary": anatomy.vocabulary,
        }
        found = _known[model] = (key, about | _of_head(model.get_submodule(anatomy.head)))
    return dict(found[1])


def differences(known: Any, own: dict[str, Any]) -> str:
    """How a file's fingerprint differs from a model's own, in words; empty if both are of one model.

    It is also empty if that is unknown because the head is quantized.
    """
    if not isinstance(known, dict):
        return ""
    for name, what in (("kind", "a model of the kind"), ("blocks", "a model with"), ("vocabulary", "a vocabulary of")):
        if known.get(name) is not None and known[name] != own[name]:
            unit = {"blocks": " blocks", "vocabulary": " tokens"}.get(name, "")
            return f"{what} {known[name]!s:.80}{unit}, but this one has {own[name]}{unit}"
    cannot_tell = known.get("hash") is None or not own["sample"]
    if cannot_tell or known["hash"] == own["hash"] or _alike(known.get("sample"), own["sample"]):
        return ""
    return "a model whose head has other weights"


def _state(model: nn.Module) -> Any:
    head = output_embeddings(model)
    weight = getattr(head, "weight", None)
    if not is_plain(weight):
        return id(head), type(weight)
    return weight.data_ptr(), weight._version, weight.dtype, tuple(weight.shape)


def _of_head(head: nn.Module) -> dict[str, Any]:
    digest, sample = hashlib.sha256(), []
    with align_module_device(head), torch.inference_mode():
        parameters = list(head.parameters())
        if not parameters or not all(map(is_plain, parameters)):
            return {"hash": None, "sample": []}  # quantized weights differ between quantizations
        for parameter in parameters:
            rows = parameter.detach()
            rows = rows[:: max(1, len(rows) // _ROWS)] if rows.ndim > 1 else rows
            rounded = rows.to(torch.bfloat16).cpu().contiguous()
            digest.update(rounded.view(torch.int16).numpy().tobytes())
            flat = rounded.flatten()
            sample += flat[:: max(1, len(flat) // _SAMPLED)][:_SAMPLED].float().tolist()
    return {"hash": digest.hexdigest(), "sample": sample[:_SAMPLED]}


def _alike(known: Any, own: list[float]) -> bool:
    """Whether two samples are the same, apart from rounding."""
    if not isinstance(known, (list, tuple)) or len(known) != len(own):
        return False
    pairs = list(zip(known, own, strict=True))
    try:
        near = all(abs(one - other) <= _ROUNDING * max(abs(one), abs(other)) + _FLOAT16 for one, other in pairs)
    except (TypeError, OverflowError):
        return False
    return near and sum(one != other for one, other in pairs) <= _MOST_ROUNDED


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of a few numbers of every parameter, which differ for another model, or after training.

    Parameters that accelerate keeps away from memory are left out.
    """
    digest = hashlib.sha256()
    with torch.no_grad():
        for name, parameter in original(model).named_parameters():
            if parameter.is_meta:
                continue
            digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
            for tensor in tensors_in(parameter):
                flat = tensor.flatten()
                some = flat[:: max(1, len(flat) // _SAMPLED)][:_SAMPLED].cpu().contiguous()
                digest.update(some.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

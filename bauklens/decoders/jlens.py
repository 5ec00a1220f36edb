"""Files of Jacobian lenses: those of the reference implementation, its checkpoints, and what others add to them.

``{"J": {layer: (target, source)}, "n_prompts", "source_layers", "d_model"}``, made by torch.save, in float16. Layer l
is the output of block l, and the target usually that of the last block. TransformerLens and other tools add
``metadata`` or ``provenance``. A checkpoint of a fit has ``jacobian_sum`` and ``n_done`` instead, to be divided.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch

from bauklens.arguments import is_whole_number
from bauklens.decoders.checked import checked_labels, checked_maps
from bauklens.decoders.kinds import JacobianLens
from bauklens.decoders.plain_values import plain_values
from bauklens.decoders.torch_files import in_memory, read_torch_file
from bauklens.errors import LensError

_CAPTURED = {"block_output": "hidden", "attn_out": "attention", "mlp_out": "mlp"}
"""The place of states, as files name it -> the stream here."""

_MODELS = ("model_id", "model_name", "model")
"""The keys under which files keep the model's name."""

_MOST = 10**15
"""More prompts than anyone has."""

_RELEVANCE = ("ln_rule", "identity_rule", "half_rule")
"""Rules of a backward pass other than the plain one, which gives a different lens (RelP)."""


def read_jlens(path: Path) -> JacobianLens:
    """The decoder in a ``.pt`` file.

    Raises:
        LensError: it is not such a file, or its maps were taken where this package has no stream; the message does not
            name it.
    """
    content = read_torch_file(path)
    notes = _notes(content)
    if "J" in content:
        maps, prompts, scale = content["J"], content.get("n_prompts"), 1.0
    elif "jacobian_sum" in content:
        maps, prompts = content["jacobian_sum"], content.get("n_done")
        if not _is_count(prompts) or prompts < 1:
            raise LensError("it is the checkpoint of a fit that has done no prompts yet")
        scale = 1.0 / int(prompts)
    elif any(isinstance(key, str) and key.endswith(".weight") for key in content):
        raise LensError("it holds the weights of a module: for a tuned lens, pass the folder with its config.json")
    else:
        raise LensError("looked for J or jacobian_sum in it, as in a file of a Jacobian lens")
    if not isinstance(maps, Mapping) or not all(map(is_whole_number, maps)):
        raise LensError("its J is not a mapping of the numbers of layers to maps")
    maps = checked_maps("a map", checked_labels(maps), axes=2)
    width = content.get("d_model")
    others = [each.shape[0] for each in maps.values() if is_whole_number(width) and each.shape[0] != int(width)]
    if others:
        raise LensError(f"its maps lead to states of width {others[0]}, but its d_model is another number")
    maps = in_memory(maps, path)
    if scale != 1.0:
        maps = {layer: each * scale for layer, each in maps.items()}
    stream = _stream(content, notes)
    return JacobianLens(maps, name=path.stem, stream=stream, about=_about(content, notes, prompts, stream))


def write_jlens(decoder: JacobianLens) -> dict[str, Any]:
    """The content of a ``.pt`` file, for torch.save.

    Raises:
        LensError: the format cannot hold the decoder.
    """
    if not all(label.isdecimal() for label in decoder.layers):
        raise LensError("a .pt file of a Jacobian lens holds numbered layers only: save it as .safetensors")
    weights = {int(label): decoder.weight(label) for label in decoder.layers}
    halves = {label: each.to(torch.float16) for label, each in weights.items() if each is not None}
    if not all(each.isfinite().all() for each in halves.values()):
        raise LensError(
            "a .pt file of a Jacobian lens is in float16, which this lens overflows: save it as .safetensors"
        )
    about = plain_values(decoder.about)
    notes = {name: value for name, value in about.items() if name not in ("model", "prompts", "target")}
    model = about.get("model", "")
    notes |= {"model_name": model} if isinstance(model, str) and "/" in model else {}  # other tools compare it
    notes |= {"target_layer": int(about["target"])} if str(about.get("target", "")).isdecimal() else {}
    notes |= {} if decoder.stream == "hidden" else {"capture_point": _captured(decoder.stream)}
    prompts = about.get("prompts")
    return {
        "J": {label: each.contiguous().clone() for label, each in halves.items()},
        "n_prompts": int(prompts) if is_whole_number(prompts) else 0,
        "source_layers": sorted(halves),
        "d_model": decoder.target,
        "metadata": notes,
    }


def _is_count(value: Any) -> TypeGuard[int]:
    """Whether this is a number of prompts; numbers of thousands of digits can be neither divided nor written."""
    return is_whole_number(value) and 0 <= value < _MOST


def _notes(content: Mapping[Any, Any]) -> dict[str, Any]:
    """What a file states about itself, in any of the places for that."""
    notes: dict[str, Any] = {}
    for name in ("metadata", "provenance"):
        notes |= plain_values(content.get(name))
    own = ("model_name", "model_revision", "corpus", "target_layer", "skip_first")
    notes |= {name: value for name, value in plain_values(content).items() if name in own}
    notes.pop("config_json", None)  # it may be cut short, which is not valid JSON
    return plain_values(_configured(content)) | notes


def _configured(content: Mapping[Any, Any]) -> Any:
    """What a file's ``config_json`` holds, however long it is."""
    for name in ("provenance", "metadata"):
        notes = content.get(name)
        text = notes.get("config_json") if isinstance(notes, Mapping) else None
        if isinstance(text, str):
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                return {}
    return {}


def _stream(content: Mapping[Any, Any], notes: Mapping[str, Any]) -> str:
    parts = [content, content.get("metadata"), content.get("provenance")]
    said = [each["capture_point"] for each in parts if isinstance(each, Mapping) and "capture_point" in each]
    captured = said[-1] if said else notes.get("capture_point", "block_output")
    if not isinstance(captured, str) or captured not in _CAPTURED:
        raise LensError(
            f"its maps are for {captured!r:.80}, which is not a stream here: looked for {', '.join(_CAPTURED)}"
        )
    if notes.get("stream_reduce") not in (None, "", "none") or notes.get("stream_index") is not None:
        raise LensError("its maps are for one of several streams, or their mean, not for the model's whole state")
    return _CAPTURED[captured]


def _captured(stream: str) -> str:
    return next(name for name, each in _CAPTURED.items() if each == stream)


def _about(content: Mapping[Any, Any], notes: Mapping[str, Any], prompts: Any, stream: str) -> dict[str, Any]:
    about = {name: value for name, value in notes.items() if name not in (*_MODELS, "target_layer", "capture_point")}
    about |= {} if stream == "hidden" else {"capture_point": _captured(stream)}
    model = next((notes[name] for name in _MODELS if isinstance(notes.get(name), str)), None)
    about |= {} if model is None else {"model": model}
    about |= {"prompts": int(prompts)} if _is_count(prompts) else {}
    target = notes.get("target_layer")
    about |= {"target": str(int(target))} if is_whole_number(target) else {}
    about["method"] = "relevance (RelP)" if any(notes.get(rule) for rule in _RELEVANCE) else "jacobian"
    if about.get("revision") is None and isinstance(notes.get("model_revision"), str):
        about["revision"] = about.pop("model_revision")
    layers = content.get("source_layers")
    if isinstance(layers, (list, tuple)) and all(map(is_whole_number, layers)):
        maps = content.get("J", content.get("jacobian_sum"))
        if isinstance(maps, Mapping) and sorted(map(int, layers)) != sorted(int(each) for each in maps):
            raise LensError("its source_layers are not the layers that it has maps for")
    return about

"""Our own format of a decoder: one ``.safetensors`` file.

Arrays: ``weight/<layer>`` (target, source), ``bias/<layer>`` (target,). In the header, under ``bauklens.decoder``,
JSON: ``format``, ``version`` 1, ``kind``, ``name``, ``stream``, ``temperatures`` and ``quality`` by layer, and
``about``: what model and text the maps were fitted on, how, and with which versions. A reader ignores keys that it does
not know.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as bytes_of

from bauklens.decoders.kinds import KINDS
from bauklens.decoders.learned import LearnedDecoder
from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.reading_files import parse_json, require_regular
from bauklens.result.frozen import plain

FORMAT = "bauklens.decoder"
VERSION = 1

_PARTS = ("weight", "bias")


def read_own(path: Path) -> LearnedDecoder:
    """The decoder in a file.

    Raises:
        LensError: it is not such a file, or is damaged; the message does not contain its name.
    """
    require_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(FORMAT)
            arrays = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise LensError(f"it is damaged, or not a .safetensors file: {error!s:.200}") from None
    if header is None:
        raise LensError(f"it holds no decoder: looked for {FORMAT!r} in its header")
    told = parse_json(header)
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise LensError(f"it holds no decoder: looked for format {FORMAT!r}")
    if told.get("version") != VERSION:
        raise LensError(f"it has version {told.get('version')!r:.80}; this bauklens reads version {VERSION}")
    if not isinstance(told.get("kind"), str) or told["kind"] not in KINDS:
        raise LensError(f"it holds a decoder of kind {told.get('kind')!r:.80}; looked for {', '.join(KINDS)}")
    return _decoder(told, arrays)


def write_own(decoder: LearnedDecoder, path: Path) -> None:
    """Writes a file; an old one is replaced only when the new one is complete.

    Raises:
        LensError: the path cannot be written.
    """
    arrays = {
        f"{part}/{label}": tensor.contiguous()
        for label in decoder.layers
        for part, tensor in (("weight", decoder.weight(label)), ("bias", decoder.bias(label)))
        if tensor is not None
    }
    told = {
        "format": FORMAT,
        "version": VERSION,
        "kind": decoder.kind,
        "name": decoder.name,
        "stream": decoder.stream,
        "temperatures": dict(decoder.temperatures),
        "quality": {label: dict(each) for label, each in decoder.quality.items()},
        "about": dict(decoder.about),
    }
    header = json.dumps(plain(told), allow_nan=False)
    shared: set[int] = set()
    for name, tensor in arrays.items():  # safetensors refuses tensors that share memory
        start = tensor.untyped_storage().data_ptr()
        arrays[name] = tensor.clone() if start in shared else tensor
        shared.add(start)
    write_atomically(path, bytes_of(arrays, metadata={FORMAT: header}))


def _decoder(told: dict[str, Any], arrays: dict[str, torch.Tensor]) -> LearnedDecoder:
    parts: dict[str, dict[str, torch.Tensor]] = {part: {} for part in _PARTS}
    for name, array in arrays.items():
        part, _, label = name.partition("/")
        if part not in parts or not label:
            raise LensError(f"it has an array {name!r:.80}, which is not part of a decoder")
        parts[part][label] = array
    about, quality = told.get("about", {}), told.get("quality", {})
    if not isinstance(about, dict) or not isinstance(quality, dict):
        raise LensError("its header is damaged: about and quality must be objects")
    known: dict[str, Any] = {
        "name": told.get("name"),
        "stream": told.get("stream", "hidden"),
        "quality": quality,
        "about": about,
    }
    kind = KINDS[told["kind"]]
    return kind.from_parts(parts["weight"], parts["bias"], told.get("temperatures", {}), **known)

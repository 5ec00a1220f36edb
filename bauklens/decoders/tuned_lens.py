"""Folders of the package tuned-lens: ``config.json`` and ``params.pt``.

**Translator i belongs to the input of block i**: 0 to the embedding's output, k + 1 to the output of block k; the last
block's output has none.
"""

from pathlib import Path
from typing import Any

import torch

from bauklens.arguments import is_whole_number
from bauklens.decoders.checked import checked_maps
from bauklens.decoders.kinds import TunedLens
from bauklens.decoders.plain_values import plain_values
from bauklens.decoders.torch_files import in_memory, read_torch_file
from bauklens.errors import LensError
from bauklens.reading_files import parse_json, read_bytes
from bauklens.vocabulary import EMBED

CONFIG, PARAMETERS = "config.json", "params.pt"

_HASHES = ("unembed_hash", "unemebd_hash")
"""Both spellings are seen."""


def is_tuned_lens(folder: Path) -> bool:
    """Whether a folder has the two files."""
    return (folder / CONFIG).is_file() and (folder / PARAMETERS).is_file()


def read_tuned_lens(folder: Path) -> TunedLens:
    """The decoder in a folder.

    Raises:
        LensError: it is of the older format, which holds a norm and a head of its own, or is damaged; the message does
            not name it.
    """
    config = parse_json(read_bytes(folder / CONFIG, 10**7))
    if not isinstance(config, dict) or not {"d_model", "num_hidden_layers"} <= set(config):
        older = isinstance(config, dict) and {"include_input", "vocab_size"} & set(config)
        raise LensError(
            "it has the older format of tuned-lens, with a norm and a head of its own: fit it again, or use a newer "
            "file"
            if older
            else f"its {CONFIG} is not that of a tuned lens: looked for d_model and num_hidden_layers"
        )
    if config.get("lens_type", "linear_tuned_lens") != "linear_tuned_lens":
        raise LensError(f"its lens_type is {config['lens_type']!r:.80}; looked for 'linear_tuned_lens'")
    blocks, width = config["num_hidden_layers"], config["d_model"]
    if not is_whole_number(blocks) or not is_whole_number(width) or not 0 < blocks < 10_000:
        raise LensError(f"its {CONFIG} has no valid d_model and num_hidden_layers")
    state = dict(read_torch_file(folder / PARAMETERS))
    weights, biases = (
        {place: state.pop(f"{place}.{part}", None) for place in range(blocks)} for part in ("weight", "bias")
    )
    if state or any(each is None for each in weights.values()):
        raise LensError(f"its {PARAMETERS} does not hold the {blocks} translators that its {CONFIG} states")
    missing = [place for place, each in biases.items() if each is None]
    if missing and len(missing) < blocks:
        raise LensError(f"its translator {missing[0]} has no bias, but others have one")
    labelled = [{_label(place): each for place, each in maps.items()} for maps in (weights, {} if missing else biases)]
    shapes = {tuple(each.shape) for each in weights.values() if isinstance(each, torch.Tensor)}
    if shapes != {(width, width)}:
        raise LensError(f"its translators are not {width} x {width}, as its {CONFIG} states")
    maps, shifts = (
        in_memory(checked_maps(what, maps, axes=axes), folder / PARAMETERS)
        for what, maps, axes in zip(("a map", "a bias"), labelled, (2, 1), strict=True)
    )
    return TunedLens(maps, shifts, name=folder.name, about=_about(config, blocks))


def write_tuned_lens(decoder: TunedLens) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The contents of the two files: the configuration, and what torch.save is to write.

    Raises:
        LensError: the format cannot hold the decoder.
    """
    blocks = len(decoder.layers)
    if list(decoder.layers) != [_label(place) for place in range(blocks)]:
        raise LensError(
            "a folder of tuned-lens holds a map for 'embed' and for every block but the last: save it as .safetensors"
        )
    if any(each != 1 for each in decoder.temperatures.values()):
        raise LensError("a folder of tuned-lens holds no temperatures: save it as .safetensors")
    state = {}
    for place in range(blocks):
        weight, bias = decoder.weight(_label(place)), decoder.bias(_label(place))
        assert weight is not None
        state[f"{place}.weight"] = weight.contiguous().clone()
        state[f"{place}.bias"] = weight.new_zeros(decoder.width) if bias is None else bias.contiguous().clone()
    about = plain_values(decoder.about)
    config = {
        "base_model_name_or_path": about.get("model", ""),
        "d_model": decoder.width,
        "num_hidden_layers": blocks,
        "bias": True,
        "base_model_revision": about.get("revision"),
        "unembed_hash": about.get("unembed_hash"),
        "lens_type": "linear_tuned_lens",
    }
    return config, state


def _label(place: int) -> str:
    """The row whose state is the input of a block."""
    return str(place - 1) if place else EMBED


def _about(config: dict[str, Any], blocks: int) -> dict[str, Any]:
    known = plain_values(config)
    about: dict[str, Any] = {"method": "tuned", "blocks": blocks}
    about |= {"model": known["base_model_name_or_path"]} if known.get("base_model_name_or_path") else {}
    about |= {"revision": known["base_model_revision"]} if known.get("base_model_revision") else {}
    found = next((known[name] for name in _HASHES if known.get(name)), None)
    return about | ({} if found is None else {"unembed_hash": found})

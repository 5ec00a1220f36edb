"""How far a fit has come, in a file: if it is killed at any moment and started again, it continues from there.

A ``.safetensors`` file with the tensors of the fit. In its header, under ``bauklens.fit``, JSON: ``format``,
``version`` 2, ``arguments``, what the fit was asked for and of which model, ``done``, how far it has come, and
``sum``, the CRC-32 of the tensors.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bauklens.decoders.fingerprint import differences
from bauklens.errors import LensError
from bauklens.files import path_of, replacing, require_writable
from bauklens.reading_files import parse_json, require_regular

FORMAT = "bauklens.fit"
VERSION = 2

Tensors = dict[str, torch.Tensor]


def _sum(tensors: Tensors) -> int:
    """The CRC-32 of the values of tensors, in the order of their names."""
    found = 0
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8)
        found = zlib.crc32(values.numpy().data, found)
    return found


def require_alike(found: Tensors, own: Tensors) -> None:
    """Raises a ValueError if tensors of a file are not of the shapes and dtypes of a fit's own.

    One that is empty until something is added may have any length.
    """
    for name, like in own.items():
        given = found.get(name)
        if given is None or given.dtype != like.dtype or given.ndim != like.ndim:
            raise ValueError(name)
        if given.shape != like.shape and like.numel():
            raise ValueError(name)


@dataclass(frozen=True)
class Checkpoint:
    """A file with the state of a fit.

    Attributes:
        path: ends in ``.safetensors``; None keeps nothing.
        arguments: what the fit was asked for, as plain values; a file with others is refused.
        fingerprint: of the model's head (:func:`bauklens.decoders.fingerprint.fingerprint`).
    """

    path: Path | None
    arguments: Mapping[str, Any]
    fingerprint: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.path is None:
            return
        object.__setattr__(self, "path", path_of(self.path))
        if self.path.suffix != ".safetensors":
            raise LensError(f"a checkpoint is a .safetensors file; got {self.path.name!r}")
        require_writable(self.path)

    def read(self) -> tuple[Tensors, dict[str, Any]] | None:
        """The tensors, and how far the fit has come; None if the file does not exist yet.

        Raises:
            LensError: the file is not a checkpoint, is damaged, or belongs to another model or another fit.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            require_regular(self.path)
            with safe_open(self.path, framework="pt") as file:
                header = (file.metadata() or {}).get(FORMAT)
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            told = parse_json(header or "null")
        except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
            raise LensError(f"cannot read the checkpoint {self.path}: {error!s:.200}") from None
        if not isinstance(told, dict) or told.get("format") != FORMAT or told.get("version") != VERSION:
            raise LensError(f"{self.path} is not the checkpoint of a fit: pass another name, or remove it")
        self._require_same(told)
        done = told.get("done")
        if not isinstance(done, dict) or told.get("sum") != _sum(tensors):
            raise LensError(f"the checkpoint {self.path} is damaged: remove it to begin again")
        return tensors, done

    def write(self, tensors: Tensors, done: Mapping[str, Any]) -> None:
        """Replaces the file; if that fails, the old one is still there.

        Raises:
            LensError: the file cannot be written, such as when the disk is full.
        """
        if self.path is None:
            return
        told = {
            "format": FORMAT,
            "version": VERSION,
            "arguments": dict(self.arguments),
            "fingerprint": dict(self.fingerprint),
            "done": dict(done),
            "sum": _sum(tensors),
        }
        with replacing(self.path) as beside:
            try:
                save_file(tensors, beside, metadata={FORMAT: json.dumps(told)})
            except SafetensorError as error:
                raise LensError(f"cannot write the checkpoint {self.path}: {error!s:.200}") from None

    def _require_same(self, told: Mapping[str, Any]) -> None:
        given, own = told.get("arguments"), json.loads(json.dumps(dict(self.arguments)))
        if not isinstance(given, dict):
            raise LensError(f"the checkpoint {self.path} is damaged: remove it to begin again")
        other = differences(told.get("fingerprint"), dict(self.fingerprint))
        if other:
            raise LensError(f"the checkpoint {self.path} is of {other}: pass another name, or remove it")
        for name in own | given:
            if own.get(name) != given.get(name):
                raise LensError(
                    f"the checkpoint {self.path} was begun with {name}={given.get(name)!r:.100}, but now it is "
                    f"{own.get(name)!r:.100}: pass the same, or another name for the checkpoint"
                )

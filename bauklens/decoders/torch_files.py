"""Reads a torch.save file that anyone may have written: no code is run, and nothing grows larger than the file.

Such a file is a pickle in a zip archive. It is read with ``weights_only=True``, which builds tensors and plain values
only. Its tensors stay on the disk until :func:`in_memory` copies them.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from bauklens.errors import LensError
from bauklens.reading_files import require_regular

_SHARED = 64 << 20
"""Bytes of maps that a file may hold once and refer to several times, such as an identity."""

_PICKLED = "it is a pickle, which could run code: if you trust it, convert it with JacobianLens(...).save(...)"


def read_torch_file(path: Path) -> Mapping[Any, Any]:
    """The mapping in a file.

    Raises:
        LensError: it is not a regular file, not one of torch.save's, holds more than tensors and plain values, or is
            damaged; the message does not contain its name.
    """
    require_regular(path)
    _require_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError:
        raise LensError(
            "its pickle holds more than tensors and plain values, so that loading it could run code"
        ) from None
    except MemoryError:
        raise LensError("it is too large for the memory of this machine") from None
    except Exception as error:  # a damaged pickle may make torch and Python raise anything
        raise LensError(f"it is damaged: {error!s:.200}") from None
    if not isinstance(content, dict):
        raise LensError(f"looked for a mapping in it, and found {type(content).__name__}")
    return content


def in_memory(maps: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Copies of checked maps of a file, which do not change or vanish with the file.

    Raises:
        LensError: many maps are of the same numbers in the file, so that the copies would be far larger than it.
    """
    size = sum(each.numel() * each.element_size() for each in maps.values())
    if size > 2 * path.stat().st_size + _SHARED:
        raise LensError("its maps share their memory: copied, they would be far larger than the file")
    return {label: each.clone() for label, each in maps.items()}


def _require_archive(path: Path) -> None:
    """Rejects a bare pickle, and an archive with compressed parts, which could be small on disk and huge in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        with path.open("rb") as file:
            begins = file.read(2)
        is_pickle = begins[:1] == b"\x80" or begins[:1] in (b"(", b"}", b"]", b"c")
        raise LensError(_PICKLED if is_pickle else "it is not a file of torch.save, or is damaged") from None
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise LensError("its parts are compressed, as torch.save never does")
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise LensError("it is damaged: its parts are larger than the file")

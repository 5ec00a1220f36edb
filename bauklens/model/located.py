"""Finds the files of a model from its name: a hub id, a folder, a subfolder of it, or a .gguf file."""

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bauklens.errors import LensError
from bauklens.model.untrusted import require_regular_files

CONFIGURATION, ADAPTER = "config.json", "adapter_config.json"
"""The file that describes a folder's model; that of an adapter of PEFT names its base model."""

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_NAMED = 4
"""The most files or folders that an error names."""


def located(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The place at which ``from_pretrained`` finds a model, and further options that it needs.

    Args:
        name: a hub id, a folder, or a .gguf file.
        options: those of ``from_pretrained``.

    Raises:
        LensError: the folder or file does not exist; or the folder does not hold a model, and the error lists what it
            holds instead.
    """
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise LensError(f"the file {name} does not exist")
        require_gguf()
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        _require_model(name, path, options)
        return str(path), {}
    if path.exists():
        raise LensError(
            f"{name} is a file, but not a .gguf file; pass a folder with a model, a .gguf file, or a hub id"
        )
    if name.count("/") > 1 or name.startswith(("/", "./", "../", "~")) or (os.sep != "/" and os.sep in name):
        raise LensError(
            f"the folder {name} does not exist; pass a folder with a model, a .gguf file, a hub id, or 'demo'"
        )
    return name, {}


def require_gguf() -> None:
    """Refuses a .gguf file if the package that reads it is missing."""
    if find_spec("gguf") is None:
        raise LensError("reading .gguf files needs the package gguf: pip install 'bauklens[gguf]'")


def _require_model(name: str, path: Path, options: dict[str, Any]) -> None:
    subfolder = Path(options.get("subfolder") or "")
    needed = options.get("gguf_file") or CONFIGURATION
    inside = path / subfolder
    if not (_holds_a_model(inside) if needed == CONFIGURATION else (inside / needed).is_file()):
        said = f"the folder {name} contains no model: looked for {subfolder / needed}"
        raise LensError(said + _found_instead(path, inside))
    require_regular_files(path)
    require_regular_files((inside / needed).parent)


def _found_instead(path: Path, inside: Path) -> str:
    """What a folder holds instead of a model, and what to pass for it."""
    folder = inside if inside.is_dir() else path
    held = sorted(folder.iterdir(), key=_in_order)
    models = [each.relative_to(path) for each in held if _holds_a_model(each)]
    if models:
        return f"; models are in {_listed(models)}: pass subfolder={str(models[-1])!r}"
    files = [each.relative_to(path) for each in held if each.suffix == ".gguf"]
    if files:
        return f"; it holds {_listed(files)}: pass the path of that file"
    weights = [each.relative_to(path) for each in held if each.suffix in _WEIGHTS]
    if weights:
        return f"; it holds weights, {_listed(weights)}, without the {CONFIGURATION} that describes their model"
    return ""


def _holds_a_model(folder: Path) -> bool:
    return any((folder / file).is_file() for file in (CONFIGURATION, ADAPTER))


def _in_order(path: Path) -> list[tuple[int, str]]:
    """Names sorted by the numbers in them: checkpoint-9 before checkpoint-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", path.name)]


def _listed(paths: list[Path]) -> str:
    names = list(map(str, paths))
    if len(names) > _NAMED:
        names = [*names[: _NAMED - 1], f"... ({len(names) - _NAMED} more)", names[-1]]
    return ", ".join(names)

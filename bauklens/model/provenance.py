"""The provenance of a result: the model, the software that ran it, and the arguments."""

import platform
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bauklens import __version__
from bauklens.files import is_there
from bauklens.model.generation_settings import own_settings

_PACKAGES = ("torch", "transformers", "accelerate", "numpy")


def model_name(model: nn.Module) -> str:
    """The name that the model was loaded by; only the last part of a folder, so that a report contains no paths."""
    name = getattr(getattr(model, "config", None), "_name_or_path", "") or type(model).__name__
    return Path(name).name if Path(name).is_absolute() or is_there(name) else name


def provenance(model: nn.Module, states: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Model, revision, dtype, device, versions, date (UTC, ISO 8601) and arguments, as plain values.

    If the model generated, also its own settings that change what it generates.
    """
    settings = own_settings(model, arguments) if arguments.get("max_new_tokens") else {}
    return {
        "model": model_name(model),
        "model class": type(model).__name__,
        "revision": getattr(getattr(model, "config", None), "_commit_hash", None),
        "dtype": str(states.dtype).removeprefix("torch."),
        "device": _device(states.device),
        "packages": {"bauklens": __version__, "python": platform.python_version()}
        | {name: _version(name) for name in _PACKAGES},
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "arguments": {name: _plain(value) for name, value in arguments.items()},
    } | ({"generation settings": settings} if settings else {})


def _device(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    """An argument as JSON can hold it: a tensor or range as a list, a function as its name, a slice as its text."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    if isinstance(value, Iterable):
        return [_plain(each) for each in value]
    return value if isinstance(value, (int, float)) else str(value)

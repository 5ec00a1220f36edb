"""The models of a sweep: one, or a series such as the checkpoints of a training run."""

import os
import re
from collections.abc import Iterable, Mapping
from glob import glob
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bauklens.corpus.manifest import folder_of
from bauklens.corpus.natural import by_number
from bauklens.corpus.workers import Worker
from bauklens.errors import LensError
from bauklens.model.loading import load


def named_models(model: Any) -> dict[str, str]:
    """Name of each model -> the folder within the output that is for it; ``""`` for a single one.

    Args:
        model: a name, or several, each of which may be a pattern of folders; the folders of a pattern come in the order
            of the numbers in their names.

    Raises:
        LensError: no models are given, or no folder matches a pattern.
    """
    several = [model] if isinstance(model, (str, os.PathLike)) else model
    if not isinstance(several, Iterable):
        raise LensError(f"model must be a model, or its name; got {type(model).__name__}")
    names = list(dict.fromkeys(each for name in several for each in _matching(str(name))))
    if not names:
        raise LensError("model is empty: pass a model, or its name")
    if len(names) == 1 and isinstance(model, (str, os.PathLike)) and str(model) == names[0]:
        return {names[0]: ""}
    return dict(zip(names, _folders(names), strict=True))


def loaded(name: str, options: Mapping[str, Any], worker: Worker) -> tuple[nn.Module, Any]:
    """A model and its tokenizer; each worker on a machine takes a GPU of its own."""
    gpus = torch.cuda.device_count()
    if gpus and not {"device", "device_map"} & options.keys():
        options = {**options, "device": f"cuda:{worker.local % gpus}"}
    return load(name, **options)


def _matching(name: str) -> list[str]:
    if not any(sign in name for sign in "*?["):
        return [name]
    found = sorted((each for each in glob(name) if Path(each).is_dir()), key=by_number)
    if not found:
        raise LensError(f"no folder is named {name}: pass the folders of models")
    return found


def _folders(names: list[str]) -> list[str]:
    """A folder for each, by the last part of its name, with a number if it is taken."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]", "-", Path(name).name) or "model"
        place, number = plain, 2
        while place in found:
            place, number = f"{plain}-{number}", number + 1
        found.append(place)
    return [folder_of(place) for place in found]

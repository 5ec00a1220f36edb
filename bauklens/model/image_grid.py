"""Which positions of a prompt read which picture, video or sound, and which part of a picture each of them reads.

A place is only given if the layout of the model type is known, and the number of positions is exactly right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bauklens.model.image_layouts import LAYOUTS
from bauklens.model.image_parts import Given, Part
from bauklens.model.inputs import Inputs
from bauklens.model.placeholders import placeholders_of

_FRAMES = {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"}
"""Types of models that order a video's positions frame by frame, and within a frame row by row."""

_LOOKED_AT = {"mllama"}
"""Types of models whose placeholder marks the place of a picture, but is not filled by it."""


@dataclass(frozen=True, eq=False)
class View:
    """A part of a prompt other than text: a picture, a part of one, a frame of a video, a sound.

    Attributes:
        name: such as ``"image 1"`` or ``"image 2, tile 3"``.
        positions: (position,) int64, those that it fills.
        grid: (row, column) int64, the positions that read its patches; (0, 0) if they are not known.
        image: the number of the picture, from 0; None if it is not a picture, or its number is not known.
        frame: the number of the frame that the grid covers; None if it covers the whole picture.
        shown: whether the picture, or its pixels, can be shown under the grid.
    """

    name: str
    positions: np.ndarray
    grid: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    image: int | None = None
    frame: int | None = None
    shown: bool = True


def views_of(model: nn.Module, inputs: Inputs, tokenizer: Any = None, images: int | None = None) -> list[View]:
    """The parts of a prompt other than text, in the order of their positions.

    Args:
        inputs: those of one prompt; empty result if pictures fill no positions of it (as in an encoder-decoder).
        tokenizer: distinguishes the tokens that name tiles of a picture; may be None.
        images: the number of pictures, if it is known.
    """
    if inputs.keyword != "input_ids" or getattr(getattr(model, "config", None), "model_type", "") in _LOOKED_AT:
        return []
    found = []
    for kind, positions in _filled(model, inputs).items():
        if kind == "image":
            found += _pictures(model, inputs, positions, tokenizer, images)
        elif kind == "video":
            found += _videos(model, inputs, positions)
        else:
            found += _in_order("audio", positions, len(_runs(positions)))
    return sorted(found, key=lambda view: int(view.positions[0]))


def _filled(model: nn.Module, inputs: Inputs) -> dict[str, list[int]]:
    """Kind -> the positions that it fills."""
    filled = inputs.filled.nonzero()[:, 0].tolist()
    kinds = placeholders_of(model)
    named = [kinds.get(int(inputs.ids[0, position]), "image") for position in filled]
    kinds_of = dict(zip(filled, (each if each in ("image", "video") else "audio" for each in named), strict=True))
    return {
        kind: [position for position in filled if kinds_of[position] == kind]
        for kind in dict.fromkeys(kinds_of.values())
    }


def _pictures(model: nn.Module, inputs: Inputs, positions: list[int], tokenizer: Any, images: int | None) -> list[View]:
    runs = _runs(positions)
    given = Given(
        getattr(model, "config", None),
        inputs.extra,
        [len(run) for run in runs],
        images,
        _preceding(inputs, runs, tokenizer),
        _between(inputs, runs),
    )
    parts = _parts(given)
    views = None if parts is None else _placed(parts, positions)
    if views is not None:
        return views
    return _in_order("image", positions, images or _count(inputs))


def _parts(given: Given) -> list[Part] | None:
    layout = LAYOUTS.get(getattr(given.config, "model_type", ""))
    if layout is None:
        return None
    try:
        return layout(given)
    except (AttributeError, TypeError, ValueError, KeyError, IndexError, ZeroDivisionError):
        return None  # the configuration is of another version


def _placed(parts: Sequence[Part], positions: list[int]) -> list[View] | None:
    """Parts with their positions, in order; None unless the counts match and each part's positions are contiguous."""
    if not parts or sum(part.count for part in parts) != len(positions) or any(part.rows < 1 for part in parts):
        return None
    views, start = [], 0
    for part in parts:
        own = np.array(positions[start : start + part.count])
        start += part.count
        rows = own[part.before : part.count - part.after].reshape(part.rows, part.columns + part.row_end)
        together = rows if part.broken else own[None]
        if part.columns < 1 or (np.diff(together, axis=1) != 1).any():
            return None
        picture = "image" if part.image is None else f"image {part.image + 1}"
        name = f"{picture}, {part.name}" if part.name else picture
        views.append(View(name, own, rows[:, : part.columns], part.image, part.frame, part.shown))
    return views


def _videos(model: nn.Module, inputs: Inputs, positions: list[int]) -> list[View]:
    config, grids = getattr(model, "config", None), inputs.extra.get("video_grid_thw")
    if not isinstance(grids, torch.Tensor) or grids.dim() != 2 or getattr(config, "model_type", "") not in _FRAMES:
        return _in_order("video", positions, len(grids) if isinstance(grids, torch.Tensor) else None)
    vision: Any = getattr(config, "vision_config", None)
    by, together = vision.spatial_merge_size, vision.temporal_patch_size
    parts, names = [], []
    for video, (count, rows, columns) in enumerate(grids.tolist(), 1):
        for frame in range(count):
            parts.append(Part(rows // by, columns // by))
            names.append(f"video {video}, {_frames_said(frame * together + 1, (frame + 1) * together)}")
    views = _placed(parts, positions)
    if views is None:
        return _in_order("video", positions, len(grids))
    return [replace(view, name=name, image=None, shown=False) for view, name in zip(views, names, strict=True)]


def _frames_said(first: int, last: int) -> str:
    """The frames that are read together, counted from 1, in words."""
    return f"frame {first}" if first == last else f"frames {first} to {last}"


def _in_order(kind: str, positions: list[int], count: int | None) -> list[View]:
    """Positions whose content is not known in detail: one run per thing, or all of them together."""
    runs = _runs(positions)
    if count == 1 or len(runs) == 1:
        return [View(f"{kind} 1", np.array(positions), image=0 if kind == "image" else None)]
    if count == len(runs):
        return [
            View(f"{kind} {number + 1}", np.array(run), image=number if kind == "image" else None)
            for number, run in enumerate(runs)
        ]
    return [View(kind, np.array(positions))]


def _count(inputs: Inputs) -> int | None:
    """The number of pictures in the pixels, if their shape shows it."""
    pixels = inputs.extra.get("pixel_values")
    if not isinstance(pixels, torch.Tensor) or pixels.dim() != 4 or pixels.shape[1] != 3:
        return None
    return len(pixels)


def _runs(positions: Sequence[int]) -> list[list[int]]:
    """Runs of contiguous positions, one list each."""
    runs: list[list[int]] = []
    for position in positions:
        if runs and runs[-1][-1] == position - 1:
            runs[-1].append(position)
        else:
            runs.append([position])
    return runs


def _preceding(inputs: Inputs, runs: list[list[int]], tokenizer: Any) -> list[str]:
    """The token before each run, as its vocabulary writes it; empty without a tokenizer."""
    if tokenizer is None:
        return []
    before = [int(inputs.ids[0, run[0] - 1]) if run[0] else None for run in runs]
    return ["" if each is None else str(tokenizer.convert_ids_to_tokens(each)) for each in before]


def _between(inputs: Inputs, runs: list[list[int]]) -> list[list[int]]:
    """The ids after each run, up to the next one; one id after the last."""
    ends = [run[0] for run in runs[1:]] + [runs[-1][-1] + 2]
    return [inputs.ids[0, run[-1] + 1 : end].tolist() for run, end in zip(runs, ends, strict=True)]

"""The pictures of a prompt, as results keep them: what each position reads, and an image for display."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from bauklens.model.image_grid import View, views_of
from bauklens.model.inputs import Inputs
from bauklens.optional import require_pillow
from bauklens.result.pictures import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 512
"""Pixels of the longer side of an image for display, at most."""

_FEW_COLOURS = 256

_SMALL = 128 * 128
"""Pixels of an image that is kept as it is."""


def pictures_in(
    model: nn.Module, inputs: Inputs, tokenizer: Any, processor: Any, images: "Sequence[Image] | None"
) -> tuple[Picture, ...]:
    """The pictures, videos and sounds that a prompt holds.

    Args:
        processor: what made the inputs; its mean and deviation turn pixels back into an image.
        images: the pictures as they were given; None if only inputs were.
    """
    views = views_of(model, inputs, tokenizer, None if images is None else len(images))
    return tuple(
        Picture(view.name, view.grid, view.positions, _image(view, inputs, processor, images)) for view in views
    )


def _image(view: View, inputs: Inputs, processor: Any, images: "Sequence[Image] | None") -> bytes:
    """What the grid covers, as a file; empty if that is not available."""
    if not view.shown or not images:
        return b""
    original = images[view.image] if view.image is not None and view.image < len(images) else None
    if view.frame is None:
        return b"" if original is None or not view.grid.size else _file(original)
    seen = _seen(inputs.extra.get("pixel_values"), view.frame, getattr(processor, "image_processor", processor))
    if seen is None:
        return b""
    if original is not None and view.name == f"image {view.image + 1}" and _is_whole(processor):  # type: ignore[operator]
        seen = _in_proportion(seen, original)
    return _file(seen)


def _seen(pixels: Any, frame: int, processor: Any) -> "Image | None":
    """One picture of pixels, (.., 3, height, width), with the colours that it had before the processor scaled them."""
    if not isinstance(pixels, torch.Tensor) or pixels.dim() < 4 or pixels.shape[-3] != 3:
        return None
    values = pixels.reshape(-1, *pixels.shape[-3:])[frame].detach().float().cpu().numpy()  # (3, height, width)
    if getattr(processor, "do_normalize", False):
        mean, deviation = (np.asarray(getattr(processor, f"image_{name}"), dtype=float) for name in ("mean", "std"))
        values = values * deviation.reshape(-1, 1, 1) + mean.reshape(-1, 1, 1)
    if getattr(processor, "do_rescale", False):
        values = values / processor.rescale_factor
    whole = np.rint(np.nan_to_num(values)).clip(0, 255).astype(np.uint8)
    found: Image = require_pillow().fromarray(np.ascontiguousarray(np.moveaxis(whole, 0, 2)))
    return found


def _is_whole(processor: Any) -> bool:
    """Whether a processor only scales pictures, so that all of each is seen, and nothing else."""
    images = getattr(processor, "image_processor", processor)
    return not any(
        getattr(images, name, None) for name in ("do_center_crop", "do_pad", "do_crop", "do_image_splitting")
    )


def _in_proportion(seen: "Image", original: "Image") -> "Image":
    """A picture that was squeezed, in the proportions that it had."""
    scale = min(LONGEST, max(seen.size)) / max(original.size)
    return seen.resize((max(1, round(original.width * scale)), max(1, round(original.height * scale))))


def _file(image: "Image") -> bytes:
    """A PNG file if it is small or has few colours, or else a JPEG file."""
    scale = LONGEST / max(image.size)
    if scale < 1:
        width, height = image.size
        image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    written = io.BytesIO()
    if image.width * image.height <= _SMALL or image.getcolors(_FEW_COLOURS) is not None:
        image.save(written, "PNG", optimize=True)
    else:
        image.save(written, "JPEG", quality=88)
    return written.getvalue()

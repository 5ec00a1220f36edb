"""Turns pictures in any form (files, arrays, tensors) into what processors take. Files are treated as hostile."""

import base64
import binascii
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from bauklens.errors import LensError
from bauklens.optional import require_pillow
from bauklens.reading_files import read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Kinds of files that are read: only those that hold nothing but pixels, and no code."""

LARGEST = 1 << 28
"""The most bytes of a file."""

THINNEST = 200
"""The largest ratio of the longer side to the shorter one: processors scale the shorter one up."""

_KINDS = "a file, an image of PIL, or an array or a tensor of shape (height, width, 3) or (3, height, width)"


def pictures_of(given: Any) -> "list[Image]":
    """One picture or several, in order.

    Args:
        given: a picture as :func:`picture_of` takes it, or a list of them.

    Raises:
        LensError: there is none, or one cannot be read.
    """
    several = list(given) if isinstance(given, (list, tuple)) or getattr(given, "ndim", 0) == 4 else [given]
    if not several:
        raise LensError("images is empty: pass at least one image, or leave it out")
    return [picture_of(each, f"image {number}") for number, each in enumerate(several, 1)]


def picture_of(given: Any, name: str) -> "Image":
    """A picture in red, green and blue, turned upright if its file has an orientation.

    Args:
        given: a path; the bytes of a file; a ``file:`` or ``data:`` address; an image of PIL; or numbers: an array or a
            tensor of whole numbers 0 .. 255, or of numbers 0 .. 1, of shape (height, width), (height, width, 1, 3 or
            4), or with the channels first.
        name: its name in errors.

    Raises:
        LensError: it is none of these, is not a regular file, is damaged, or has more pixels than PIL allows.
    """
    module = require_pillow()
    if isinstance(given, module.Image):
        return _checked(given, name)
    if isinstance(given, str) and given.startswith("data:"):
        return _opened(_decoded(given, name), name)
    if isinstance(given, str) and given.startswith(("http:", "https:")):
        raise LensError(
            f"{name} is a web address, and nothing is downloaded: download it yourself and pass the file, in a message "
            'as {"type": "image", "image": FILE}'
        )
    if isinstance(given, str) and given.startswith("file:"):
        given = _local(given, name)
    if isinstance(given, (str, Path)):
        try:
            content = read_bytes(given, LARGEST)
        except LensError as error:
            raise LensError(f"cannot read {name}, {str(given)!r:.200}: {error}") from None
        return _opened(content, f"{name}, {str(given)!r:.200}")
    if isinstance(given, (bytes, bytearray)):
        return _opened(bytes(given), name)
    return _of_numbers(given, name)


def in_message(part: Mapping[str, Any], name: str) -> "Image | None":
    """The picture inside a part of a message; None if the part only marks the place of one.

    Raises:
        LensError: as :func:`picture_of`.
    """
    for key in ("image", "url", "path", "image_url"):
        value = part.get(key)
        value = value.get("url") if isinstance(value, Mapping) else value
        if value is not None:
            return picture_of(value, name)
    content = part.get("base64")
    return None if content is None else _opened(_decoded(f"data:,{content}", name), name)


def _local(address: str, name: str) -> str:
    """The path in a ``file:`` address of this machine."""
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise LensError(f"{name} is a file on {parts.netloc:.80}: pass a file on this machine")
    return url2pathname(parts.path)


def _decoded(address: str, name: str) -> bytes:
    try:
        return base64.b64decode(address.partition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise LensError(f"{name} is a data: address that is not in base64") from None


def _opened(content: bytes, name: str) -> "Image":
    module = require_pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("error", module.DecompressionBombWarning)
        try:
            image = module.open(io.BytesIO(content), formats=FORMATS)
        except (module.DecompressionBombWarning, module.DecompressionBombError):
            raise _too_large(name) from None
        except Exception:  # PIL may raise anything for a damaged file
            raise LensError(f"{name} is not an image that can be read ({', '.join(FORMATS)})") from None
        return _checked(image, name, upright=True)


def _checked(image: "Image", name: str, *, upright: bool = False) -> "Image":
    """An image with its pixels, in red, green and blue."""
    most = require_pillow().MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise _too_large(name)
    if max(image.size) > THINNEST * min(image.size):
        raise LensError(
            f"{name} has {image.width:,} x {image.height:,} pixels: one side may be at most {THINNEST} times the other"
        )
    from PIL import ImageOps

    try:
        turned = ImageOps.exif_transpose(image) if upright else image
        return turned.convert("RGB")
    except Exception as error:  # PIL may raise anything when it reads the pixels of a damaged file
        raise LensError(f"{name} is damaged: {error!s:.200}") from None


def _too_large(name: str) -> LensError:
    most = require_pillow().MAX_IMAGE_PIXELS
    return LensError(f"{name} has more than {most:,} pixels: pass a smaller one, or raise PIL.Image.MAX_IMAGE_PIXELS")


def _of_numbers(given: Any, name: str) -> "Image":
    value = given.detach().cpu().float().numpy() if hasattr(given, "detach") and given.is_floating_point() else given
    value = value.detach().cpu().numpy() if hasattr(value, "detach") else value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "uif":
        raise LensError(f"{name} is a {type(given).__name__}: pass {_KINDS}")
    value = _channels_last(value)
    if value is None or not value.size:
        raise LensError(f"{name} has shape {tuple(np.shape(given))}: pass {_KINDS}")
    most = 1.0 if value.dtype.kind == "f" else 255
    if not np.isfinite(value).all() or value.min() < 0 or value.max() > most:
        raise LensError(
            f"{name} holds numbers from {value.min():g} to {value.max():g}: pass whole numbers 0 .. 255 or numbers "
            "0 .. 1, or, if it is what a processor returned, pass that as pixel_values"
        )
    whole = np.rint(value * 255) if value.dtype.kind == "f" else value
    return _checked(require_pillow().fromarray(whole.astype(np.uint8)), name)


def _channels_last(value: np.ndarray) -> np.ndarray | None:
    """(height, width) or (height, width, 3 or 4); None if it has another shape."""
    if value.ndim == 2:
        return value
    if value.ndim != 3:
        return None
    if value.shape[0] in (1, 3, 4) and value.shape[2] not in (1, 3, 4):
        value = np.moveaxis(value, 0, 2)
    if value.shape[2] == 1:
        return value[..., 0]
    return value if value.shape[2] in (3, 4) else None

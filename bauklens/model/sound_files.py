"""Turns sounds in any form (WAV files, arrays, tensors) into what processors take. Files are treated as hostile."""

import struct
from os import PathLike
from typing import Any

import numpy as np
import torch

from bauklens.errors import LensError
from bauklens.reading_files import read_bytes

LARGEST = 1 << 28
"""The most bytes of a file."""

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_KINDS = {(_PCM, 8): "u1", (_PCM, 16): "<i2", (_PCM, 32): "<i4", (_FLOAT, 32): "<f4", (_FLOAT, 64): "<f8"}
"""The format of samples, and their bits -> numpy's name for them; it has none for 24 bits."""


def sounds_of(given: Any, rate: int | None) -> Any:
    """A sound, (sample,), or a list of them, as arrays; files are read here, because processors would open URLs too.

    Args:
        rate: the processor's samples per second, if it has a fixed rate.

    Raises:
        LensError: it is something else, or a file cannot be read.
    """
    if isinstance(given, (list, tuple)) and given and not isinstance(given[0], (int, float)):
        return [_sound(each, f"audio {number}", rate) for number, each in enumerate(given, 1)]
    return _sound(given, "audio 1", rate)


def _sound(given: Any, name: str, rate: int | None) -> np.ndarray:
    if isinstance(given, str) and given.startswith(("http:", "https:", "data:", "file:")):
        raise LensError(f"{name} is a web address, and nothing is downloaded: download it yourself and pass the file")
    if isinstance(given, (str, PathLike)):
        return _of_file(given, name, rate)
    try:
        sound = torch.as_tensor(given, device="cpu").detach().float().numpy()
    except (TypeError, ValueError, RuntimeError):
        sound = None
    if sound is None or sound.ndim != 1 or not sound.size:
        raise LensError(
            f"{name} is a {type(given).__name__}: pass a WAV file, or an array (sample,) of numbers, or a list of them"
        )
    return sound


def _of_file(path: "str | PathLike[str]", name: str, rate: int | None) -> np.ndarray:
    """The samples of a WAV file, (sample,) float32 in -1..1; several channels become their mean.

    Args:
        name: its name in errors.
        rate: the processor's samples per second; None if it has no fixed rate.

    Raises:
        LensError: it cannot be read, is not a WAV file, is damaged, or has another rate.
    """
    called = f"{name}, {str(path)!r:.200},"
    try:
        content = read_bytes(str(path), LARGEST)
    except LensError as error:
        raise LensError(f"cannot read {name}, {str(path)!r:.200}: {error}") from None
    to = f"ffmpeg -i FILE -ac 1{f' -ar {rate}' if rate else ''} sound.wav"
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise LensError(f"{called} is not a WAV file: convert it ({to})")
    head, data = _chunks(content)
    if len(head) < 16 or data is None:
        raise LensError(f"{called} is a damaged WAV file")
    kind, channels, found, _, _, bits = struct.unpack("<HHIIHH", head[:16])
    if kind == _EXTENSIBLE and len(head) >= 26:
        (kind,) = struct.unpack("<H", head[24:26])
    if (kind, bits) not in _KINDS and (kind, bits) != (_PCM, 24):
        raise LensError(f"{called} is a WAV file of an unsupported kind: convert it ({to})")
    if rate and found != rate:
        raise LensError(f"{called} has {found:,} samples a second, and the processor takes {rate:,}: convert it ({to})")
    count = len(data) // (bits // 8 * channels) if channels else 0
    if not count:
        raise LensError(f"{called} has no samples")
    values = _numbers(data[: count * bits // 8 * channels], kind, bits).reshape(count, channels).mean(axis=1)
    if not np.isfinite(values).all():
        raise LensError(f"{called} has samples that are not numbers")
    samples: np.ndarray = values.astype(np.float32)
    return samples


def _chunks(content: bytes) -> tuple[bytes, bytes | None]:
    """The file's description of its samples, and the samples; a missing part is empty, or None."""
    head, place = b"", 12
    while place + 8 <= len(content):
        name, size = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        part = content[place + 8 : place + 8 + size]
        if name == b"data":
            return head, part
        head = part if name == b"fmt " else head
        place += 8 + size + size % 2
    return head, None


def _numbers(data: bytes, kind: int, bits: int) -> np.ndarray:
    """Samples, -1..1."""
    if bits == 24:
        low, middle, high = np.frombuffer(data, "u1").reshape(-1, 3).T.astype(np.int32)
        whole: np.ndarray = low | middle << 8 | (high ^ 0x80) - 0x80 << 16
        return whole / 2.0**23
    values = np.frombuffer(data, _KINDS[kind, bits]).astype(np.float64)
    if kind == _FLOAT:
        return values
    return (values - 128) / 128 if bits == 8 else values / 2.0 ** (bits - 1)

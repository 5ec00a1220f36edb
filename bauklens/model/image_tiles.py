"""Layouts of pictures that are cut into tiles, which a model reads together with the whole picture."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch

from bauklens.model.image_parts import Given, Layout, Part, frames, patch_size, side_of


def tiles_in_runs(side: Callable[[Given], int]) -> Layout:
    """A picture is one run of positions, tile after tile; the inputs do not show which tile is which."""

    def layout(given: Given) -> list[Part] | None:
        size, pixels = side(given), given.pixels()
        if not size or pixels is None or any(run % (size * size) for run in given.runs):
            return None
        each = [run // (size * size) for run in given.runs]
        if sum(each) != pixels[0]:
            return None
        known = given.images in (None, len(each))
        parts = [
            Part(size, size, image if known else None, "" if known and count == 1 else f"view {tile + 1}")
            for image, count in enumerate(each)
            for tile in range(count)
        ]
        return [replace(part, frame=frame) for frame, part in enumerate(parts)]

    return layout


def tiles_apart(side: Callable[[Given], int], whole: str | None = None) -> Layout:
    """Each tile is a separate run of positions.

    Args:
        whole: the token before the whole picture, which comes after its tiles; None if no token marks it.
    """

    def layout(given: Given) -> list[Part] | None:
        size, pixels = side(given), given.pixels()
        if not size or pixels is None or any(run != size * size for run in given.runs) or len(given.runs) != pixels[0]:
            return None
        part = Part(size, size)
        ends = [number for number, before in enumerate(given.preceding) if before == whole]
        if not ends or ends[-1] != len(given.runs) - 1 or given.images not in (None, len(ends)):
            return frames(given, len(given.runs), part, cut=True)
        parts, start = [], 0
        for image, end in enumerate(ends):
            parts += [replace(part, image=image, name=f"tile {tile + 1}") for tile in range(end - start)]
            parts.append(replace(part, image=image, name="whole" if end > start else ""))
            start = end + 1
        return [replace(each, frame=frame) for frame, each in enumerate(parts)]

    return layout


def per_tile(scale: Callable[[Any], float]) -> Callable[[Given], int]:
    """How many positions a tile has each way; all tiles have the size that the vision tower takes."""

    def side(given: Given) -> int:
        pixels = given.pixels()
        if pixels is None or not patch_size(given) or pixels[1:] != (side_of(given.vision.image_size),) * 2:
            return 0
        found = pixels[1] // patch_size(given) * scale(given.config)
        return int(found) if found == int(found) else 0

    return side


def any_resolution(*, in_proportion: bool = False, most: bool = False) -> Layout:
    """First the whole picture as a square, then its tiles as one grid whose rows end with a position for a new line.

    Args:
        in_proportion: whether ``downsample_rate`` determines the positions of a square.
        most: whether ``vision_aspect_ratio`` limits the tiles.
    """

    def layout(given: Given) -> list[Part] | None:
        config, sizes = given.config, given.table("image_sizes")
        pixels = side_of(given.vision.image_size)
        side = pixels // side_of(given.vision.patch_size)
        if in_proportion:
            side = int(side * Fraction(config.downsample_rate))
        limit = int(config.vision_aspect_ratio.removeprefix("anyres_max_")) if most else None
        together = given.extra.get("batch_num_images")
        parts: list[Part] = []
        for image, size in enumerate(sizes):
            if isinstance(together, torch.Tensor) and int(together.reshape(-1)[0]) > 1:
                parts.append(Part(side, side, image, after=1))
                continue
            rows, columns = unpadded(size, best_resolution(size, config.image_grid_pinpoints), side, pixels)
            ratio = math.sqrt(rows * columns / (limit * side**2)) if limit else 0
            if ratio > 1.1:
                rows, columns = int(rows // ratio), int(columns // ratio)
            parts += [Part(side, side, image, "whole"), Part(rows, columns, image, "tiles", row_end=1)]
        return parts

    return layout


def best_resolution(size: Sequence[int], choices: Sequence[Sequence[int]]) -> Sequence[int]:
    """The height and width, out of several, that keep the most pixels of a picture and waste the fewest."""

    def used(choice: Sequence[int]) -> int:
        scale = min(choice[1] / size[1], choice[0] / size[0])
        return min(int(size[1] * scale) * int(size[0] * scale), size[0] * size[1])

    return max(choices, key=lambda choice: (used(choice), used(choice) - choice[0] * choice[1]))


def unpadded(size: Sequence[int], resolution: Sequence[int], side: int, pixels: int) -> tuple[int, int]:
    """Rows and columns of a picture's tiles, without the padding that keeps its proportions."""
    rows, columns = resolution[0] // pixels * side, resolution[1] // pixels * side
    if size[1] / size[0] > columns / rows:
        kept = int(round(size[0] * (columns / size[1]), 7))
        return rows - 2 * ((rows - kept) // 2), columns
    kept = int(round(size[1] * (rows / size[0]), 7))
    return rows, columns - 2 * ((columns - kept) // 2)


def whole_and_crops(given: Given) -> list[Part] | None:
    """From ``image_grids``: rows and columns of the whole picture, and of its crops together, if there are any."""
    parts = []
    for image, row in enumerate(given.table("image_grids")):
        if len(row) != 4:
            return None
        cropped = row[2] * row[3] > 0
        parts.append(Part(row[0], row[1], image, "whole" if cropped else "", broken=True))
        parts += [Part(row[2], row[3], image, "tiles", broken=True)] if cropped else []
    return parts

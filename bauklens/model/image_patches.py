"""Layouts of pictures that are one grid of patches each, found from sizes in the inputs or the shape of the pixels."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from bauklens.model.image_parts import Given, Layout, Part, frames, numbered, patch_size, side_of, whole_root


def grid_thw(field: str = "spatial_merge_size", **ends: Any) -> Layout:
    """From ``image_grid_thw``, in patches; a field of the vision tower says how many make one position each way."""

    def layout(given: Given) -> list[Part] | None:
        return _of_grid_thw(given, [getattr(given.vision, field, None)] * len(given.table("image_grid_thw")), **ends)

    return layout


def merged_grid_thw(given: Given) -> list[Part] | None:
    """From ``image_grid_thw``, in positions."""
    return _of_grid_thw(given, [1] * len(given.table("image_grid_thw")))


def grid_thw_each(given: Given) -> list[Part] | None:
    """From ``image_grid_thw``, in patches, and ``image_merge_sizes``: how many are merged each way, per picture."""
    return _of_grid_thw(given, [row[0] for row in given.table("image_merge_sizes")])


def _of_grid_thw(given: Given, merge: Sequence[Any], **ends: Any) -> list[Part] | None:
    """From ``image_grid_thw``, in patches, and the number that each picture merges into one position each way."""
    parts = []
    for image, (size, each) in enumerate(zip(given.table("image_grid_thw"), merge, strict=False)):
        by = side_of(each)
        if len(size) != 3 or size[0] != 1 or not by or size[1] % by or size[2] % by:
            return None
        parts.append(Part(size[1] // by, size[2] // by, image, **ends))
    return parts if len(parts) == len(given.table("image_grid_thw")) else None


def listed_sizes(
    name: str, divisor: Callable[[Given], int], *, up: bool = False, cut: bool = False, **rest: Any
) -> Layout:
    """From an input (picture, 2) with heights and widths.

    Args:
        divisor: what they are divided by.
        up: whether to round up.
        cut: whether a picture may be cut into several that this input lists.
        rest: further fields of each part.
    """

    def layout(given: Given) -> list[Part] | None:
        by, sizes = divisor(given), given.table(name)
        if not by or any(len(size) != 2 or (not up and (size[0] % by or size[1] % by)) for size in sizes):
            return None
        parts = [Part(-(-height // by), -(-width // by), **rest) for height, width in sizes]
        return numbered(given, parts, cut=cut)

    return layout


def patch_places(pooling: Callable[[Given], int]) -> Layout:
    """From ``image_position_ids`` (picture, patch, 2): column and row of each patch, -1 if there is none."""

    def layout(given: Given) -> list[Part] | None:
        places, by = given.extra.get("image_position_ids"), pooling(given)
        if not isinstance(places, torch.Tensor) or places.dim() != 3 or not by:
            return None
        parts = []
        for image, each in enumerate(places.tolist()):
            known = [(row, column) for column, row in each if column >= 0]
            rows, columns = (max(axis) + 1 for axis in zip(*known, strict=True)) if known else (0, 0)
            if known != [divmod(place, columns) for place in range(rows * columns)] or rows % by or columns % by:
                return None
            parts.append(Part(rows // by, columns // by, image))
        return parts

    return layout


def pixel_patches(divisor: Callable[[Given], int], *, cut: bool = False, **rest: Any) -> Layout:
    """From pixels that are pictures, cut into squares of this many pixels."""

    def layout(given: Given) -> list[Part] | None:
        by, pixels = divisor(given), given.pixels()
        if not by or pixels is None or pixels[1] % by or pixels[2] % by:
            return None
        return frames(given, pixels[0], Part(pixels[1] // by, pixels[2] // by, **rest), cut=cut)

    return layout


def patches_and_class(given: Given) -> list[Part] | None:
    """One position per patch; with the strategy "full", the class token of a CLIP tower comes before them."""
    pixels, side = given.pixels(), patch_size(given)
    if pixels is None or not side:
        return None
    full = getattr(given.config, "vision_feature_select_strategy", None) == "full"
    before = int(full and getattr(given.vision, "model_type", "") == "clip_vision_model")
    return frames(given, pixels[0], Part(pixels[1] // side, pixels[2] // side, before=before))


def squares(side: Callable[[Given], int], *, cut: bool = False) -> Layout:
    """From pixels that are pictures, or crops of them if they may be cut, with this many positions each way."""

    def layout(given: Given) -> list[Part] | None:
        size, pixels = side(given), given.pixels()
        if not size or pixels is None:
            return None
        return frames(given, pixels[0], Part(size, size), cut=cut)

    return layout


def feature_map(given: Given) -> list[Part] | None:
    """From square pictures with equally many positions each: those of a square."""
    pixels = given.pixels()
    if pixels is None or pixels[1] != pixels[2] or given.count % pixels[0]:
        return None
    side = whole_root(given.count // pixels[0])
    return frames(given, pixels[0], Part(side, side)) if side else None


def rows_apart(given: Given) -> list[Part] | None:
    """For one picture: each row is a separate run, all have the same length, and the same token follows each."""
    ends = {tuple(each) for each in given.between}
    if given.images not in (None, 1) or len(set(given.runs)) != 1 or len(ends) != 1 or len(next(iter(ends))) != 1:
        return None
    return [Part(len(given.runs), given.runs[0], broken=True, shown=False)]

"""How types of models lay out what they read of pictures in a prompt: only those whose layout was seen by running them.

A layout is a function of the configuration and of the inputs. It gives the parts of all pictures in the order of their
positions, or None if it is not known; :mod:`bauklens.model.image_grid` gives them positions, if their count is right.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch


@dataclass(frozen=True)
class Part:
    """A picture, or a tile or view of it, as a grid of positions, row by row.

    Attributes:
        rows, columns: of the grid.
        image: the number of the picture, from 0; None if it is not known which one this is a part of.
        name: which part it is, such as ``"tile 2"``; empty for the whole picture.
        before, row_end, after: positions that are no cell: before the grid, at the end of each row, and after the grid.
        broken: whether other tokens may come between rows.
        frame: the number of the pixels that it is made of, among all pictures of ``pixel_values``; None if it covers
            the whole picture.
        shown: whether the whole picture, or these pixels, are what the grid covers.
    """

    rows: int
    columns: int
    image: int | None = 0
    name: str = ""
    before: int = 0
    row_end: int = 0
    after: int = 0
    broken: bool = False
    frame: int | None = None
    shown: bool = True

    @property
    def count(self) -> int:
        """How many positions it has."""
        return self.before + self.rows * (self.columns + self.row_end) + self.after


@dataclass(frozen=True)
class Given:
    """What there is to tell a layout from.

    Attributes:
        config: of the model.
        extra: the inputs beside the ids.
        runs: how many positions follow one another, for each run of them.
        images: how many pictures there are, if that is known.
        preceding: the token before each run, as text; empty if there is no tokenizer.
        between: the ids after each run, up to the next one; one id after the last.
    """

    config: Any
    extra: Mapping[str, Any]
    runs: Sequence[int]
    images: int | None = None
    preceding: Sequence[str] = ()
    between: Sequence[Sequence[int]] = ()

    @property
    def count(self) -> int:
        """Of all positions."""
        return sum(self.runs)

    @property
    def vision(self) -> Any:
        """The configuration of the vision tower."""
        return getattr(self.config, "vision_config", None)

    def pixels(self, name: str = "pixel_values") -> tuple[int, int, int] | None:
        """How many pictures there are of pixels, and their height and width; None if pixels are not pictures."""
        value = self.extra.get(name)
        if not isinstance(value, torch.Tensor) or value.dim() < 4 or value.shape[-3] != 3:
            return None
        return math.prod(value.shape[:-3]), int(value.shape[-2]), int(value.shape[-1])

    def table(self, name: str) -> list[list[int]]:
        """An input of whole numbers, a row for each picture; empty if there is none."""
        value = self.extra.get(name)
        if not isinstance(value, torch.Tensor) or value.dim() not in (1, 2):
            return []
        return [list(map(int, row)) for row in value.reshape(len(value), -1).tolist()]


Layout = Callable[[Given], list[Part] | None]


def _grid_thw(given: Given, merge: Sequence[Any], **ends: Any) -> list[Part] | None:
    """Of ``image_grid_thw``, in patches, of which so many, for each picture, are merged to one position each way."""
    parts = []
    for image, (size, each) in enumerate(zip(given.table("image_grid_thw"), merge, strict=False)):
        by = _side(each)
        if len(size) != 3 or size[0] != 1 or not by or size[1] % by or size[2] % by:
            return None
        parts.append(Part(size[1] // by, size[2] // by, image, **ends))
    return parts if len(parts) == len(given.table("image_grid_thw")) else None


def _thw(field: str = "spatial_merge_size", **ends: Any) -> Layout:
    def layout(given: Given) -> list[Part] | None:
        return _grid_thw(given, [getattr(given.vision, field, None)] * len(given.table("image_grid_thw")), **ends)

    return layout


def _merged_thw(given: Given) -> list[Part] | None:
    return _grid_thw(given, [1] * len(given.table("image_grid_thw")))


def _thw_each(given: Given) -> list[Part] | None:
    return _grid_thw(given, [row[0] for row in given.table("image_merge_sizes")])


def _sizes(name: str, divisor: Callable[[Given], int], *, up: bool = False, cut: bool = False, **rest: Any) -> Layout:
    """Of an input (picture, 2) with heights and widths.

    Args:
        divisor: by how much they are divided.
        up: whether a rest counts as one.
        cut: whether a picture may be cut into several that this input lists.
        rest: of each part.
    """

    def layout(given: Given) -> list[Part] | None:
        by, sizes = divisor(given), given.table(name)
        if not by or any(len(size) != 2 or (not up and (size[0] % by or size[1] % by)) for size in sizes):
            return None
        parts = [Part(-(-height // by), -(-width // by), **rest) for height, width in sizes]
        return _numbered(given, parts, cut=cut)

    return layout


def _numbered(given: Given, parts: list[Part], *, cut: bool) -> list[Part]:
    """Parts of pictures: one of each, or else views of one picture, or of unknown ones.

    Args:
        cut: whether a picture may be cut into several parts, so that their number does not say how many there are.
    """
    if len(parts) in (1, given.images) or (given.images is None and not cut):
        return [replace(part, image=number) for number, part in enumerate(parts)]
    image = 0 if given.images == 1 else None
    return [replace(part, image=image, name=f"view {number}", shown=False) for number, part in enumerate(parts, 1)]


def _pixel_patches(divisor: Callable[[Given], int], *, cut: bool = False, **rest: Any) -> Layout:
    """Of pixels that are pictures, cut into squares of so many pixels."""

    def layout(given: Given) -> list[Part] | None:
        by, pixels = divisor(given), given.pixels()
        if not by or pixels is None or pixels[1] % by or pixels[2] % by:
            return None
        return _frames(given, pixels[0], Part(pixels[1] // by, pixels[2] // by, **rest), cut=cut)

    return layout


def _frames(given: Given, count: int, part: Part, *, cut: bool = False) -> list[Part]:
    """So many pictures of pixels, each with the same grid."""
    parts = _numbered(given, [part] * count, cut=cut)
    return [replace(each, frame=number, shown=True) for number, each in enumerate(parts)]


def _llava(given: Given) -> list[Part] | None:
    return _PIXTRAL(given) if given.vision.model_type == "pixtral" else _patches_and_class(given)


def _patches_and_class(given: Given) -> list[Part] | None:
    """One position for each patch; before them, with the strategy "full", that of a CLIP tower's class."""
    pixels, side = given.pixels(), _patch(given)
    if pixels is None or not side:
        return None
    full = getattr(given.config, "vision_feature_select_strategy", None) == "full"
    before = int(full and getattr(given.vision, "model_type", "") == "clip_vision_model")
    return _frames(given, pixels[0], Part(pixels[1] // side, pixels[2] // side, before=before))


def _square(side: Callable[[Given], int]) -> Layout:
    """Of pixels that are pictures, of so many positions each way."""

    def layout(given: Given) -> list[Part] | None:
        size, pixels = side(given), given.pixels()
        if not size or pixels is None:
            return None
        return _frames(given, pixels[0], Part(size, size))

    return layout


def _feature_map(given: Given) -> list[Part] | None:
    """Of square pixels, each with as many positions: those of a square."""
    pixels = given.pixels()
    if pixels is None or pixels[1] != pixels[2] or given.count % pixels[0]:
        return None
    side = _root(given.count // pixels[0])
    return _frames(given, pixels[0], Part(side, side)) if side else None


def _tiles(side: Callable[[Given], int]) -> Layout:
    """A picture is a run of positions, of one tile after another; which tile is which is not in the inputs."""

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


def _named_tiles(side: Callable[[Given], int]) -> Layout:
    """Each tile is a run of positions of its own, after a token that names it; the last one is the whole picture."""

    def layout(given: Given) -> list[Part] | None:
        size, pixels = side(given), given.pixels()
        if not size or pixels is None or any(run != size * size for run in given.runs) or len(given.runs) != pixels[0]:
            return None
        part = Part(size, size)
        ends = [number for number, before in enumerate(given.preceding) if before == "<global-img>"]
        if not ends or ends[-1] != len(given.runs) - 1 or given.images not in (None, len(ends)):
            return _frames(given, len(given.runs), part, cut=True)
        parts, start = [], 0
        for image, end in enumerate(ends):
            parts += [replace(part, image=image, name=f"tile {tile + 1}") for tile in range(end - start)]
            parts.append(replace(part, image=image, name="whole" if end > start else ""))
            start = end + 1
        return [replace(each, frame=frame) for frame, each in enumerate(parts)]

    return layout


def _any_resolution(*, in_proportion: bool = False, most: bool = False) -> Layout:
    """First the whole picture as a square, then its tiles as one grid whose rows end with a position for a new line.

    Args:
        in_proportion: whether a square has as many positions as ``downsample_rate`` says.
        most: whether ``vision_aspect_ratio`` limits the tiles.
    """

    def layout(given: Given) -> list[Part] | None:
        config, sizes = given.config, given.table("image_sizes")
        pixels = _side(given.vision.image_size)
        side = pixels // _side(given.vision.patch_size)
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
    """Of several heights and widths, the one in which a picture keeps most of its pixels, and wastes the fewest."""

    def used(choice: Sequence[int]) -> int:
        scale = min(choice[1] / size[1], choice[0] / size[0])
        return min(int(size[1] * scale) * int(size[0] * scale), size[0] * size[1])

    return max(choices, key=lambda choice: (used(choice), used(choice) - choice[0] * choice[1]))


def unpadded(size: Sequence[int], resolution: Sequence[int], side: int, pixels: int) -> tuple[int, int]:
    """Rows and columns of the tiles of a picture, without those of the padding that keeps its proportions."""
    rows, columns = resolution[0] // pixels * side, resolution[1] // pixels * side
    if size[1] / size[0] > columns / rows:
        kept = int(round(size[0] * (columns / size[1]), 7))
        return rows - 2 * ((rows - kept) // 2), columns
    kept = int(round(size[1] * (rows / size[0]), 7))
    return rows, columns - 2 * ((columns - kept) // 2)


def _places(pooling: Callable[[Given], int]) -> Layout:
    """Of ``image_position_ids`` (picture, patch, 2): column and row of each patch, -1 where there is none."""

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


def _whole_and_crops(given: Given) -> list[Part] | None:
    """Of ``image_grids``: rows and columns of the whole picture, and of its crops together, if there are any."""
    parts = []
    for image, row in enumerate(given.table("image_grids")):
        if len(row) != 4:
            return None
        cropped = row[2] * row[3] > 0
        parts.append(Part(row[0], row[1], image, "whole" if cropped else "", broken=True))
        parts += [Part(row[2], row[3], image, "tiles", broken=True)] if cropped else []
    return parts


def _rows_apart(given: Given) -> list[Part] | None:
    """Of one picture: each row is a run of its own, all of the same length, and the same token follows each."""
    ends = {tuple(each) for each in given.between}
    if given.images not in (None, 1) or len(set(given.runs)) != 1 or len(ends) != 1 or len(next(iter(ends))) != 1:
        return None
    return [Part(len(given.runs), given.runs[0], broken=True, shown=False)]


def _side(value: Any) -> int:
    """A size that configurations give as a number, or twice; 0 if it is neither."""
    if isinstance(value, (list, tuple)):
        return value[0] if len(set(value)) == 1 and type(value[0]) is int else 0
    return value if type(value) is int else 0


def _root(count: int) -> int:
    """The square root, if it is a whole number; else 0."""
    root = math.isqrt(count)
    return root if root * root == count else 0


def _patch(given: Given) -> int:
    return _side(getattr(given.vision, "patch_size", None))


def _per_tile(scale: Callable[[Any], float]) -> Callable[[Given], int]:
    """How many positions a tile has each way, as all are of the size that the vision tower takes."""

    def side(given: Given) -> int:
        pixels = given.pixels()
        if pixels is None or not _patch(given) or pixels[1:] != (_side(given.vision.image_size),) * 2:
            return 0
        found = pixels[1] // _patch(given) * scale(given.config)
        return int(found) if found == int(found) else 0

    return side


def _downscaled(given: Given) -> int:
    """By how much a VQ-VAE's encoder makes a picture smaller."""
    return int(2 ** (len(given.config.vq_config.channel_multiplier) - 1))


def _minicpm(given: Given) -> int:
    return {"4x": 2, "16x": 4}.get(given.config.downsample_mode, 0)


def _vision_tokenizer(given: Given) -> int:
    return int(given.vision.spatial_scale_factor)


def _by_merged_patches(given: Given) -> int:
    return _patch(given) * _side(given.config.spatial_merge_size)


def _by_pooled_patches(given: Given) -> int:
    return _patch(given) * _side(given.config.projector_pooling_ratio)


def _by_strides(given: Given) -> int:
    return _patch(given) * _side(given.vision.hidden_stride)


def _convolved(given: Given) -> int:
    """Of patches that two convolutions of stride 2 follow: pixels to a position."""
    return _patch(given) * 4


def _sam(given: Given) -> int:
    """The same of a SAM tower, in front of another one."""
    return _side(given.vision.sam_config.patch_size) * 4


_PIXTRAL = _sizes("image_sizes", _patch, broken=True)
_MERGED = _thw()
_SQUARE_OF_PATCHES = _pixel_patches(_patch)
_CONVOLVED = _pixel_patches(_convolved, cut=True)
_UNSHUFFLED = _tiles(_per_tile(lambda config: 1 / config.downsample_factor))
_SHUFFLED = _tiles(_per_tile(lambda config: config.downsample_ratio))
_NAMED = _named_tiles(_per_tile(lambda config: 1 / config.scale_factor))
_TARGETS = _sizes("target_sizes", _minicpm, cut=True)

LAYOUTS: dict[str, Layout] = {
    **dict.fromkeys(
        (
            *("cohere_compass", "cosmos3_edge", "cosmos3_omni", "dots3_note", "ernie4_5_vl_moe", "exaone4_5"),
            *("glm46v", "glm4v", "glm4v_moe", "glm5_next", "glm_ocr", "glmga", "hyperclovax_vision_v2", "lfm3_vl"),
            *("minimax_m3_vl", "paddleocr_vl", "qwen2_5_omni_thinker", "qwen2_5_vl", "qwen2_vl", "qwen3_5"),
            *("qwen3_5_moe", "qwen3_omni_moe_thinker", "qwen3_vl", "qwen3_vl_moe", "qwen4_exp"),
        ),
        _MERGED,
    ),
    "muse_glimmer": _thw("merge_size"),
    "muse_spark": _thw("merge_size"),
    "kimi_k25": _thw("merge_kernel_size", shown=False),  # it pads pictures at the right and below
    "hunyuan_vl": _thw(before=1, row_end=1, after=1),
    "hy_v4_vl": _thw(row_end=1),
    "inkling2": _merged_thw,
    "inkling2_loop": _merged_thw,
    "video_llama_3": _thw_each,
    "nemotron_h_omni": _sizes("image_grid_hw", lambda given: round(1 / given.config.downsample_ratio)),
    "lfm2_vl": _sizes("spatial_shapes", lambda given: _side(given.config.downsample_factor), up=True, cut=True),
    "minicpm_ocr": _TARGETS,
    "minicpmv4_6": _TARGETS,
    "minicpmv4_7": _TARGETS,
    "apertus1p5": _sizes("image_sizes", _vision_tokenizer),
    "emu3": _sizes("image_sizes", _downscaled, row_end=1),
    "lighton_ocr": _sizes("image_sizes", _by_merged_patches),
    "mistral3": _sizes("image_sizes", _by_merged_patches, broken=True),
    "mistral_large4": _sizes("image_sizes", _by_merged_patches, broken=True),
    "llava": _llava,
    "vipllava": _patches_and_class,
    "video_llava": _patches_and_class,
    "paligemma": _SQUARE_OF_PATCHES,
    "deepseek_vl": _SQUARE_OF_PATCHES,
    "deepseek_vl_hybrid": _SQUARE_OF_PATCHES,
    "janus": _SQUARE_OF_PATCHES,
    "ovis2": _pixel_patches(_by_strides, cut=True),
    "perception_lm": _pixel_patches(_by_pooled_patches, cut=True),
    "chameleon": _pixel_patches(_downscaled),
    "got_ocr2": _CONVOLVED,
    "pp_chart2table": _CONVOLVED,
    "step3p7": _CONVOLVED,
    "unlimited_ocr": _pixel_patches(_sam, cut=True, row_end=1, after=1),
    "fast_vlm": _feature_map,
    "gemma3": _square(lambda given: _root(given.config.mm_tokens_per_image)),
    "shieldgemma2": _square(lambda given: _root(given.config.mm_tokens_per_image)),
    "gemma3n": _square(lambda given: _root(given.config.vision_soft_tokens_per_image)),
    "gemma4": _places(lambda given: _side(given.vision.pooling_kernel_size)),
    "gemma4_unified": _places(lambda _: 1),
    "aya_vision": _UNSHUFFLED,
    "cohere2_vision": _UNSHUFFLED,
    "internvl": _SHUFFLED,
    "qianfan_ocr": _SHUFFLED,
    "idefics3": _NAMED,
    "smolvlm": _NAMED,
    "granite_docling": _named_tiles(_per_tile(lambda config: 1 / config.vision_config.scale_factor)),
    "llama4": _named_tiles(_per_tile(lambda config: config.vision_config.pixel_shuffle_ratio)),
    "llava_next": _any_resolution(),
    "llava_next_video": _any_resolution(),
    "llava_onevision": _any_resolution(most=True),
    "granite4_vision": _any_resolution(in_proportion=True),
    "molmo2": _whole_and_crops,
    "fuyu": _rows_apart,
}
"""Type of model -> the layout of its pictures."""

"""How types of models lay out pictures in a prompt: only types whose layout was checked by running them.

A layout is a function of the configuration and the inputs. It returns the parts of all pictures in the order of their
positions, or None if they are not known; :mod:`bauklens.model.image_grid` adds the positions, if their count is right.
"""

from bauklens.model.image_parts import Given, Layout, Part, patch_size, side_of, whole_root
from bauklens.model.image_patches import (
    feature_map,
    grid_thw,
    grid_thw_each,
    listed_sizes,
    merged_grid_thw,
    patch_places,
    patches_and_class,
    pixel_patches,
    rows_apart,
    squares,
)
from bauklens.model.image_tiles import any_resolution, per_tile, tiles_apart, tiles_in_runs, whole_and_crops


def _llava(given: Given) -> list[Part] | None:
    return _PIXTRAL(given) if given.vision.model_type == "pixtral" else patches_and_class(given)


def _downscaled(given: Given) -> int:
    """The factor by which a VQ-VAE's encoder makes a picture smaller."""
    return int(2 ** (len(given.config.vq_config.channel_multiplier) - 1))


def _minicpm(given: Given) -> int:
    return {"4x": 2, "16x": 4}.get(given.config.downsample_mode, 0)


def _vision_tokenizer(given: Given) -> int:
    return int(given.vision.spatial_scale_factor)


def _by_merged_patches(given: Given) -> int:
    return patch_size(given) * side_of(given.config.spatial_merge_size)


def _by_pooled_patches(given: Given) -> int:
    return patch_size(given) * side_of(given.config.projector_pooling_ratio)


def _by_strides(given: Given) -> int:
    return patch_size(given) * side_of(given.vision.hidden_stride)


def _convolved(given: Given) -> int:
    """For patches that are followed by two convolutions of stride 2: pixels per position."""
    return patch_size(given) * 4


def _sam(given: Given) -> int:
    """The same for a SAM tower in front of another one."""
    return side_of(given.vision.sam_config.patch_size) * 4


_PIXTRAL = listed_sizes("image_sizes", patch_size, broken=True)
_MERGED = grid_thw()
_SQUARE_OF_PATCHES = pixel_patches(patch_size)
_CONVOLVED = pixel_patches(_convolved, cut=True)
_UNSHUFFLED = per_tile(lambda config: 1 / config.downsample_factor)
_SHUFFLED = tiles_in_runs(per_tile(lambda config: config.downsample_ratio))
_IDEFICS = tiles_apart(per_tile(lambda config: 1 / config.scale_factor), "<global-img>")
_GEMMA = squares(lambda given: whole_root(given.config.mm_tokens_per_image), cut=True)  # Gemma can pan and scan
_TARGETS = listed_sizes("target_sizes", _minicpm, cut=True)

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
    "muse_glimmer": grid_thw("merge_size"),
    "muse_spark": grid_thw("merge_size"),
    "kimi_k25": grid_thw("merge_kernel_size", shown=False),  # Kimi pads pictures on the right and at the bottom
    "hunyuan_vl": grid_thw(before=1, row_end=1, after=1),
    "hy_v4_vl": grid_thw(row_end=1),
    "inkling2": merged_grid_thw,
    "inkling2_loop": merged_grid_thw,
    "video_llama_3": grid_thw_each,
    "nemotron_h_omni": listed_sizes("image_grid_hw", lambda given: round(1 / given.config.downsample_ratio)),
    "lfm2_vl": listed_sizes("spatial_shapes", lambda given: side_of(given.config.downsample_factor), up=True, cut=True),
    "minicpm_ocr": _TARGETS,
    "minicpmv4_6": _TARGETS,
    "minicpmv4_7": _TARGETS,
    "apertus1p5": listed_sizes("image_sizes", _vision_tokenizer),
    "emu3": listed_sizes("image_sizes", _downscaled, row_end=1),
    "lighton_ocr": listed_sizes("image_sizes", _by_merged_patches),
    "mistral3": listed_sizes("image_sizes", _by_merged_patches, broken=True),
    "mistral_large4": listed_sizes("image_sizes", _by_merged_patches, broken=True),
    "llava": _llava,
    "vipllava": patches_and_class,
    "video_llava": patches_and_class,
    "paligemma": _SQUARE_OF_PATCHES,
    "deepseek_vl": _SQUARE_OF_PATCHES,
    "deepseek_vl_hybrid": _SQUARE_OF_PATCHES,
    "janus": _SQUARE_OF_PATCHES,
    "ovis2": pixel_patches(_by_strides, cut=True),
    "perception_lm": pixel_patches(_by_pooled_patches, cut=True),
    "chameleon": pixel_patches(_downscaled),
    "got_ocr2": _CONVOLVED,
    "pp_chart2table": _CONVOLVED,
    "step3p7": _CONVOLVED,
    "unlimited_ocr": pixel_patches(_sam, cut=True, row_end=1, after=1),
    "fast_vlm": feature_map,
    "gemma3": _GEMMA,
    "shieldgemma2": _GEMMA,
    "gemma3n": squares(lambda given: whole_root(given.config.vision_soft_tokens_per_image)),
    "gemma4": patch_places(lambda given: side_of(given.vision.pooling_kernel_size)),
    "gemma4_unified": patch_places(lambda _: 1),
    "aya_vision": tiles_apart(_UNSHUFFLED, "TILE_GLOBAL"),
    "cohere2_vision": tiles_apart(_UNSHUFFLED),
    "internvl": _SHUFFLED,
    "qianfan_ocr": _SHUFFLED,
    "idefics3": _IDEFICS,
    "smolvlm": _IDEFICS,
    "granite_docling": tiles_apart(per_tile(lambda config: 1 / config.vision_config.scale_factor), "<global-img>"),
    "llama4": tiles_apart(per_tile(lambda config: config.vision_config.pixel_shuffle_ratio)),
    "llava_next": any_resolution(),
    "llava_next_video": any_resolution(),
    "llava_onevision": any_resolution(most=True),
    "granite4_vision": any_resolution(in_proportion=True),
    "molmo2": whole_and_crops,
    "fuyu": rows_apart,
}
"""Type of model -> the layout of its pictures."""

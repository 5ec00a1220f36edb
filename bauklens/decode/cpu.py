"""The number formats, besides float32, that this CPU multiplies in hardware."""

import platform
from functools import cache

import torch

_PROBE = (64, 512, 1_024)
"""Rows, width and tokens of a product that shows whether those of int8 are exact."""


@cache
def bfloat16_features() -> tuple[str, ...]:
    """The CPU features that multiply bfloat16 two to three times as fast as float32; empty if there are none."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        return ("BF16",) if has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported() else ()
    known = {"AVX512-BF16": "_is_avx512_bf16_supported", "AMX": "_is_amx_tile_supported"}
    return tuple(name for name, ask in known.items() if getattr(torch.cpu, ask, bool)())


def int8_product(one: torch.Tensor, other: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """(row, width) and (token, width) int8 -> (row, token) int32."""
    return torch._int_mm(one, other.T) if out is None else torch._int_mm(one, other.T, out=out)


@cache
def has_int8() -> bool:
    """Whether this CPU multiplies int8 in hardware, and torch does so exactly, as older instructions do not."""
    if not (hasattr(torch, "_int_mm") and getattr(torch.cpu, "_is_vnni_supported", bool)()):
        return False
    rows, width, tokens = _PROBE
    one = torch.full((rows, width), 127, dtype=torch.int8, device="cpu")
    other = torch.full((tokens, width), 127, dtype=torch.int8, device="cpu")
    one[1::2], other[::3, ::2] = -127, -127  # pairs that two bytes cannot hold
    exact = one.double() @ other.double().T
    return bool(torch.equal(int8_product(one, other).double(), exact))

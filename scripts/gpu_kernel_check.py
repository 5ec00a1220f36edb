#!/usr/bin/env python3
"""The kernel of gpu_kernels.py against float64, and its time beside torch's operators; prints JSON.

TRITON_INTERPRET=1 .venv/bin/python scripts/gpu_kernel_check.py --device cpu
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import click
import torch
import triton
from gpu_kernels import BLOCK, GROUP, Reduced, by_torch, reduce_block, reduced
from gpu_timing import milliseconds

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TOLERANCE = 1e-5
"""The largest difference of log Z and the entropy from float64, in nats; relative if log Z is above 1."""

TOPK = 5


def equality(device: torch.device) -> list[dict[str, Any]]:
    """For each case, how far the kernel is from float64 on the same logits, and whether its top k are the largest."""
    return [_compared(f"{name}, {_name(dtype)}", logits) for dtype in DTYPES for name, logits in _logits(dtype, device)]


def times(
    device: torch.device, rows: int, vocabulary: int, rounds: int, compiled: bool = False
) -> list[dict[str, Any]]:
    """Milliseconds for one tile of each dtype, and GB/s of one read of its logits in the kernel's time.

    Args:
        compiled: time torch's operators under torch.compile instead of the kernel.
    """
    found = []
    for dtype in DTYPES:
        logits = (3 * torch.randn(rows, vocabulary, device=device)).to(dtype)
        other: Callable[[torch.Tensor, int], Reduced] = torch.compile(by_torch) if compiled else reduced
        ways = {"torch": partial(by_torch, logits, TOPK), "other": partial(other, logits, TOPK)}
        taken, failed = milliseconds(ways, rounds, device)
        if failed:
            raise RuntimeError("; ".join(f"{name}: {reason}" for name, reason in failed.items()))
        size = logits.numel() * logits.element_size()
        found.append(
            {
                "way": "torch.compile" if compiled else "kernel",
                "dtype": _name(dtype),
                "rows": rows,
                "vocabulary": vocabulary,
                "milliseconds": taken["other"],
                "torch, milliseconds": taken["torch"],
                "GB/s": size / taken["other"] / 1e6,
            }
        )
    return found


def _logits(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)

    def random(rows: int, vocabulary: int, spread: float = 3.0) -> torch.Tensor:
        return (spread * torch.randn(rows, vocabulary, generator=generator)).to(device, dtype)

    yield "GPT-2's tokens", random(3, 50257)
    yield "few tokens", random(4, 63)
    yield "a block and one token", random(2, 2049)
    yield "a part of wider rows", random(3, 5000)[:, :4321]
    yield "large logits", random(2, 3000, 300.0)
    yield "many of the same logit", random(2, 5000).round()
    left_out = random(2, 9000)
    left_out[:, 1000:7000] = -torch.inf  # whole blocks
    yield "tokens that are left out", left_out


def not_finite(device: torch.device) -> bool:
    """Whether a NaN or an infinite logit makes only its own row's log Z not finite."""
    logits = torch.zeros(3, 5000, device=device)
    logits[0, 3], logits[1, 4000] = torch.nan, torch.inf
    return reduced(logits, TOPK).log_z.isfinite().tolist() == [False, False, True]


def machine_code(capability: int) -> dict[str, int]:
    """Bytes of the kernel's code for GPUs of a capability (an H100 has 90), for each dtype; needs no GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    numbers = dict.fromkeys(("stride", "vocabulary", "groups", "blocks"), "i32")
    results = dict.fromkeys(("group_maxima", "maxima", "sums", "weighted"), "*fp32")
    sizes = {"block_groups": BLOCK // GROUP, "group": GROUP}
    found = {}
    for dtype, name in zip(DTYPES, ("fp32", "fp16", "bf16"), strict=True):
        kinds = {"logits": f"*{name}"} | results | numbers | dict.fromkeys(sizes, "constexpr")
        source = ASTSource(reduce_block, kinds, constexprs=sizes)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        found[_name(dtype)] = len(compiled.asm["cubin"])
    return found


def _compared(name: str, logits: torch.Tensor) -> dict[str, Any]:
    found, wide = reduced(logits, TOPK), logits.double()
    log_z = wide.logsumexp(dim=-1)
    logs = wide - log_z[:, None]
    entropy = -torch.where(logs.isneginf(), 0, logs.exp() * logs).sum(dim=-1)
    apart = float(((found.log_z - log_z).abs() / log_z.abs().clamp_min(1)).max())
    entropy_apart = float((found.entropy - entropy).abs().max())
    best = wide.topk(TOPK).values
    distinct = all(len(set(row)) == TOPK for row in found.top_ids.tolist())
    top = distinct and torch.equal(found.top_logits.double(), best) and torch.equal(wide.gather(1, found.top_ids), best)
    equal = top and apart <= TOLERANCE and entropy_apart <= TOLERANCE
    return {"case": name, "equal": equal, "top": top, "log Z": apart, "entropy": entropy_apart}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--device", default="cuda", show_default=True)
@click.option("--rows", default=640, show_default=True, help="Rows of the tile that is timed; 0 times none.")
@click.option("--vocabulary", default=50257, show_default=True)
@click.option("--rounds", default=20, show_default=True)
@click.option("--compile-for", type=int, help="Only compile for GPUs of this capability, for example 90; needs no GPU.")
def main(device: str, rows: int, vocabulary: int, rounds: int, compile_for: int | None) -> None:
    """Prints the results."""
    if compile_for is not None:
        print(json.dumps(machine_code(compile_for)))
        return
    on = torch.device(device)
    timed = times(on, rows, vocabulary, rounds) if rows else []
    print(json.dumps({"equality": equality(on), "not finite": not_finite(on), "times": timed}, indent=1))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The kernel of gpu_kernels.py against float64, and its time beside torch's operators; prints JSON.

TRITON_INTERPRET=1 .venv/bin/python scripts/gpu_kernel_check.py --device cpu
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import click
import torch
from gpu_kernels import Reduced, by_torch, reduced
from gpu_timing import milliseconds

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TOLERANCE = 1e-5
"""How far log Z and the entropy may be from float64's, in nats; of a log Z above 1, relative to it."""

TOPK = 5


def equality(device: torch.device) -> list[dict[str, Any]]:
    """Each case: how far the kernel is from float64 on the same logits, and whether its top k are the largest."""
    return [
        _compared(f"{name}, {_name(dtype)}", logits)
        for dtype in DTYPES
        for name, logits in _logits(dtype, device)
    ]


def times(device: torch.device, rows: int, vocabulary: int, rounds: int, compiled: bool = False) -> list[dict[str, Any]]:
    """Milliseconds for one tile of each dtype, and GB/s of one read of its logits in the kernel's time.

    Args:
        compiled: time what torch.compile makes of torch's operators instead of the kernel.
    """
    found = []
    for dtype in DTYPES:
        logits = (3 * torch.randn(rows, vocabulary, device=device)).to(dtype)
        other: Callable[[torch.Tensor, int], Reduced] = torch.compile(by_torch) if compiled else reduced
        ways = {"torch": lambda logits=logits: by_torch(logits, TOPK)}
        ways["other"] = lambda logits=logits, other=other: other(logits, TOPK)
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
@click.option("--rows", default=640, show_default=True, help="Of the tile that is timed; 0 times none.")
@click.option("--vocabulary", default=50257, show_default=True)
@click.option("--rounds", default=20, show_default=True)
def main(device: str, rows: int, vocabulary: int, rounds: int) -> None:
    """Prints what was found."""
    on = torch.device(device)
    timed = times(on, rows, vocabulary, rounds) if rows else []
    print(json.dumps({"equality": equality(on), "times": timed}, indent=1))


if __name__ == "__main__":
    main()

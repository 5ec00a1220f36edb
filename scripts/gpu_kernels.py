"""An experiment: softmax, top-k and entropy from one read of the logits, by Triton. The package does not use it.

On a GPU the softmax, the top-k and the measures of a tile are limited by memory: each reads all of its logits. Here one
kernel reads them once. It keeps the sums of each block of tokens, and the maximum of each group of 64; a few small
operators of torch do the rest. The k largest logits of a row are in the k groups with the largest maxima, as no logit
outside them is larger than any of those k maxima.

Needs Triton, and CUDA, or TRITON_INTERPRET=1 in the environment before Triton is imported.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

GROUP = 64
"""How many tokens share one maximum."""

BLOCK = 2048
"""How many tokens one program reads and sums."""


@triton.jit  # type: ignore[untyped-decorator]
def reduce_block(
    logits: tl.tensor,
    group_maxima: tl.tensor,
    maxima: tl.tensor,
    sums: tl.tensor,
    weighted: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    groups: tl.tensor,
    blocks: tl.tensor,
    block_groups: tl.constexpr,
    group: tl.constexpr,
) -> None:
    """One row and block: logits, (row, vocabulary) with a stride of rows -> (row, group) and three of (row, block)."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    numbers = block * block_groups + tl.arange(0, block_groups)
    tokens = numbers[:, None] * group + tl.arange(0, group)[None, :]
    read = tl.load(logits + row * stride + tokens, mask=tokens < vocabulary, other=float("-inf")).to(tl.float32)
    each = tl.max(read, axis=1)
    tl.store(group_maxima + row * groups + numbers, each, mask=numbers < groups)
    largest = tl.max(each, axis=0)
    shift = tl.where(largest == float("-inf"), 0.0, largest)  # a block may have only tokens that are left out
    below = read - shift
    exponents = tl.exp(below)
    products = tl.where(read == float("-inf"), 0.0, exponents * below)
    tl.store(maxima + row * blocks + block, largest)
    tl.store(sums + row * blocks + block, tl.sum(tl.sum(exponents, axis=1), axis=0))
    tl.store(weighted + row * blocks + block, tl.sum(tl.sum(products, axis=1), axis=0))


@dataclass(frozen=True)
class Reduced:
    """The readings of some rows.

    Attributes:
        top_ids: (row, k) int64. Tokens with equal logits may be in any order.
        top_logits: (row, k) float32, largest first.
        log_z: (row,) float32, the log of the softmax's denominator; not finite if a logit is NaN or +inf.
        entropy: (row,) float32, nats.
    """

    top_ids: torch.Tensor
    top_logits: torch.Tensor
    log_z: torch.Tensor
    entropy: torch.Tensor

    @property
    def top_probs(self) -> torch.Tensor:
        """(row, k) float32."""
        return (self.top_logits - self.log_z[:, None]).exp()


def reduced(logits: torch.Tensor, k: int) -> Reduced:
    """Reads rows with the kernel.

    Args:
        logits: (row, vocabulary) in float32, float16 or bfloat16; contiguous within a row. At least k of each row are
            above -inf.
        k: how many of the largest logits to find.
    """
    rows, vocabulary = logits.shape
    groups, blocks = triton.cdiv(vocabulary, GROUP), triton.cdiv(vocabulary, BLOCK)
    group_maxima = torch.empty(rows, groups, dtype=torch.float32, device=logits.device)
    maxima, sums, weighted = torch.empty(3, rows, blocks, dtype=torch.float32, device=logits.device)
    sizes = logits.stride(0), vocabulary, groups, blocks
    reduce_block[rows, blocks](
        logits, group_maxima, maxima, sums, weighted, *sizes, block_groups=BLOCK // GROUP, group=GROUP
    )
    top_ids, top_logits = _largest(logits, group_maxima, k)
    return Reduced(top_ids, top_logits, *_sums(maxima, sums, weighted))


def by_torch(logits: torch.Tensor, k: int) -> Reduced:
    """The same with torch's operators, each of which reads all logits."""
    top = logits.topk(k)
    logs = logits.float().log_softmax(dim=-1)
    entropy = -torch.where(logs.isneginf(), 0, logs.exp() * logs).sum(dim=-1)
    values = top.values.float()
    return Reduced(top.indices, values, values[:, 0] - logs.gather(1, top.indices[:, :1])[:, 0], entropy)


def _largest(logits: torch.Tensor, group_maxima: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest logits of each row, among the groups with the k largest maxima."""
    best = group_maxima.topk(min(k, group_maxima.shape[1]), sorted=False).indices
    members = torch.arange(GROUP, device=logits.device)
    ids = (best[:, :, None] * GROUP + members).flatten(1)
    inside = ids < logits.shape[1]
    candidates = logits.gather(1, ids.clamp_max(logits.shape[1] - 1)).float().masked_fill(~inside, float("-inf"))
    values, places = candidates.topk(k)
    return ids.gather(1, places), values


def _sums(maxima: torch.Tensor, sums: torch.Tensor, weighted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log Z and the entropy of each row, from the sums of its blocks, each relative to its own maximum."""
    largest = maxima.amax(dim=1, keepdim=True)
    below = maxima - largest
    factors = below.exp()
    total = (factors * sums).sum(dim=1)
    moved = torch.where(below.isneginf(), 0, factors * (weighted + below * sums)).sum(dim=1)
    log_total = total.log()
    return largest[:, 0] + log_total, log_total - moved / total

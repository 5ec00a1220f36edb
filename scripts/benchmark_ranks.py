"""The cost of a lens of a model that is spread over ranks: torchrun --nproc-per-node 2 scripts/benchmark_ranks.py

The model is a Llama with random weights. Its head stays split, or the model's own forward pass gathers all logits, as
it does if the head is split by its inputs.
"""

import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch
from torch import distributed
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.distributed import DistributedConfig

import bauklens
from bauklens.model.head_shard import HeadShard

_GATHERED = {"lm_head": "rowwise_split_input"}


def folder_of(vocabulary: int, tokens: int) -> Path:
    """A folder with the model, written by the first rank."""
    made: list[str | None] = [None]
    if distributed.get_rank() == 0:
        torch.manual_seed(0)
        sizes = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 8}
        heads = {"num_attention_heads": 6, "num_key_value_heads": 6}
        config = LlamaConfig(**sizes, **heads, vocab_size=vocabulary, max_position_embeddings=max(1024, tokens))
        made[0] = tempfile.mkdtemp()
        AutoModelForCausalLM.from_config(config).save_pretrained(made[0])
    distributed.broadcast_object_list(made)
    return Path(str(made[0]))


class Counted:
    """How many bytes about its part of the head this rank has sent to the others."""

    def __init__(self) -> None:
        self.bytes = 0
        gathered = HeadShard.gathered

        def counting(shard: HeadShard, own: torch.Tensor) -> torch.Tensor:
            self.bytes += own.numel() * own.element_size()
            return gathered(shard, own)

        HeadShard.gathered = counting  # type: ignore[method-assign,assignment]


def measured(model: Any, ids: list[int], counted: Counted, rounds: int, **options: Any) -> tuple[float, float, str]:
    """Seconds, bytes per row, and how it was decoded; after a round that does not count."""
    taken = []
    for _ in range(rounds + 1):
        counted.bytes, begin = 0, time.perf_counter()
        lens = bauklens.logit_lens(model, None, ids, results="all", **options)
        taken.append(time.perf_counter() - begin)
    return min(taken[1:]), counted.bytes / lens.top_ids[..., 0].size, lens.provenance["decoding"]["by"]


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--tokens", default=256, show_default=True, help="Of the prompt.")
@click.option("--vocabulary", default=50_000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(tokens: int, vocabulary: int, rounds: int) -> None:
    """Prints the table, on the first rank."""
    distributed.init_process_group("gloo")
    size, folder = distributed.get_world_size(), folder_of(vocabulary, tokens)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, vocabulary, (tokens,), generator=generator).tolist()
    counted, lines = Counted(), []
    cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "in parts, `track=0`": ({}, {"track": 0}),
        "in parts, 256 tracked tokens": ({}, {}),
        "all logits gathered, `track=0`": ({"tp_plan": _GATHERED}, {"track": 0}),
    }
    for name, (plan, options) in cases.items():
        split = DistributedConfig(tp_size=size, **plan)
        model, _ = bauklens.load(folder, device="cpu", distributed_config=split)
        seconds, sent, by = measured(model, ids, counted, rounds, **options)
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
        lines.append(f"| {name} | {by} | {seconds:.2f} s | {held:.2f} GB | {f'{sent:,.0f}' if sent else ''} |")
    if distributed.get_rank() == 0:
        heads = [
            "| | decoded by | time | peak memory of a rank so far | bytes told per row |",
            "| --- | --- | ---: | ---: | ---: |",
        ]
        click.echo("\n".join([*heads, *lines]))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()

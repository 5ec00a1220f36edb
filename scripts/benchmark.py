#!/usr/bin/env python3
"""What the parts of a lens cost, as ratios measured in one run: medians, alternating, as machines are noisy.

.venv/bin/python scripts/benchmark.py --model demo --tokens 128
"""

import platform
import statistics
import time
from collections.abc import Callable

import click
import torch
from rich.console import Console
from rich.table import Table

import bauklens
from bauklens import anatomy
from bauklens.calls import model_logits
from bauklens.trace import evaluating


def medians(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each case: the median of several rounds, in each of which every case runs once."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for _ in range(rounds):
        for name, case in cases.items():
            started = time.perf_counter()
            case()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in seconds.items()}


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", default="demo", show_default=True)
@click.option("--device", help="By default CUDA where there is one.")
@click.option("--tokens", default=128, show_default=True, help="Length of the prompt.")
@click.option("--rounds", default=7, show_default=True)
def main(model: str, device: str | None, tokens: int, rounds: int) -> None:
    """Prints the table."""
    loaded, _ = bauklens.load(model, device=device)
    torch.manual_seed(0)
    prompt = torch.randint(0, loaded.get_input_embeddings().weight.shape[0], (tokens,))  # type: ignore[operator]
    token_ids = prompt[None].to(next(loaded.parameters()).device)

    def forward() -> object:
        with evaluating(loaded):
            return model_logits(loaded, token_ids, logits_to_keep=1)

    def resolve() -> object:
        anatomy.forget(loaded)
        return anatomy.resolve(loaded, token_ids)

    found = medians(
        {
            "forward pass": forward,
            "resolve, the first time": resolve,
            "resolve, remembered": lambda: anatomy.resolve(loaded, token_ids),
            "hidden states": lambda: bauklens.get_hidden_states(loaded, None, prompt),
            "lens, last position": lambda: bauklens.logit_lens(loaded, None, prompt, positions=-1),
            "lens, all positions": lambda: bauklens.logit_lens(loaded, None, prompt),
        },
        rounds,
    )
    table = Table(title=f"{model}, {tokens} tokens, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for column in ("", "milliseconds", "forward passes"):
        table.add_column(column, justify="left" if not column else "right")
    for name, seconds in found.items():
        table.add_row(name, f"{1000 * seconds:.1f}", f"{seconds / found['forward pass']:.2f}")
    Console().print(table, f"{platform.machine()}, {token_ids.device}")


if __name__ == "__main__":
    main()

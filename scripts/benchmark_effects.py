#!/usr/bin/env python3
"""The cost of trace_effect(), compared with the forward passes that it needs and with one forward pass per place.

It needs both prompts; the positions before each place, once; and for each position from the first token that
differs, a batch of its layers, with cached keys and values of earlier positions. All cases alternate in one run, as
machines are noisy: read the ratios.

.venv/bin/python scripts/benchmark_effects.py --tokens 10 --tokens 64
"""

import statistics
import time
from copy import deepcopy
from typing import Any

import click
import torch

import bauklens

CLEAN, CORRUPTED = "The Eiffel Tower is located in the city of", "The Colosseum is located in the city of"
BEFORE = "The council met on Tuesday to discuss the plan for the new bridge over the river, which was late. "

Prompts = tuple[list[int], list[int]]


def prompts_of(tokenizer: Any, tokens: int) -> Prompts:
    """Two prompts of this many tokens, which differ near their end."""
    clean, corrupted = (tokenizer(text)["input_ids"] for text in (CLEAN, CORRUPTED))
    count = min(len(clean), len(corrupted), tokens)  # of another model than the demo's, these may differ
    clean, corrupted = clean[-count:], corrupted[-count:]
    before = (tokenizer(BEFORE)["input_ids"] * tokens)[: max(0, tokens - len(clean))]
    return before + clean, before + corrupted


def places_of(prompts: Prompts, layers: int) -> dict[int, int]:
    """Position -> how many rows differ there: one per layer, and the embedding if the token differs."""
    differ = [one != other for one, other in zip(*prompts, strict=True)]
    return {position: layers + differ[position] for position in range(differ.index(True), len(differ))}


@torch.no_grad()
def needed(model: Any, prompts: Prompts, layers: int) -> None:
    """Only the forward passes."""
    for each in prompts:
        model(input_ids=torch.tensor([each], device=model.device), use_cache=False, logits_to_keep=1)
    ids = torch.tensor([prompts[1]], device=model.device)
    cache, done = None, 0
    for position, copies in places_of(prompts, layers).items():
        passed = model(input_ids=ids[:, done:position], past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, done = passed.past_key_values, position
        own = deepcopy(cache)
        own.batch_repeat_interleave(copies)
        model(input_ids=ids[:, position:].expand(copies, -1), past_key_values=own, use_cache=True, logits_to_keep=1)


@torch.no_grad()
def one_pass(model: Any, prompts: Prompts) -> None:
    """A forward pass of one prompt."""
    model(input_ids=torch.tensor([prompts[1]], device=model.device), use_cache=False)


def seconds(model: Any, case: Any) -> float:
    """How long a case takes."""
    start = time.perf_counter()
    case()
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(model: Any, tokenizer: Any, prompts: Prompts, where: str, rounds: int) -> str:
    """A line about two prompts."""
    target = tokenizer(" Paris")["input_ids"][-1]

    def traced() -> bauklens.Effects:
        return bauklens.trace_effect(model, tokenizer, *prompts, target, where=where)

    layers = sum(label != "embed" for label in traced().layers)  # and the model is known from here on
    count = (layers + (where == "hidden")) * len(prompts[0])
    cases = (traced, lambda: needed(model, prompts, layers), lambda: one_pass(model, prompts))
    times = [[seconds(model, case) for case in cases] for _ in range(rounds)]
    ours, least, single = (statistics.median(each) for each in zip(*times, strict=True))
    ratio = statistics.median(mine / other for mine, other, _ in times)
    return (
        f"{where}, {len(prompts[0])} tokens: {ours:.2f} s; the passes needed {least:.2f} s, ratio {ratio:.2f}; one "
        f"pass for each of {count:,} places about {single * count:.1f} s"
    )


@click.command(help=__doc__)
@click.option("--model", default="demo", show_default=True, help="The model, as for bauklens.load.")
@click.option("--tokens", multiple=True, type=int, default=(10, 64), show_default=True, help="Lengths of the prompts.")
@click.option("--where", multiple=True, default=("hidden",), show_default=True, help="What is replaced.")
@click.option("--rounds", default=3, show_default=True, help="How often each case runs.")
def main(model: str, tokens: tuple[int, ...], where: tuple[str, ...], rounds: int) -> None:
    """Prints one line per length."""
    loaded, tokenizer = bauklens.load(model)
    for each in where:
        for length in tokens:
            print(f"{model}, {measure(loaded, tokenizer, prompts_of(tokenizer, length), each, rounds)}", flush=True)


if __name__ == "__main__":
    main()

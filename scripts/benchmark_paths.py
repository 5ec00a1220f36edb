"""The cost of each path through the package, as a multiple of the least work that it needs."""

import atexit
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from tqdm import tqdm
from viewer_cases import Case as ViewerCase
from viewer_cases import lens_of

import bauklens
from bauklens.model.guard import evaluating

PATHS = "performance_paths.json"
"""In docs/: the latest measurements."""

NEW_TOKENS = 16
"""How many tokens are generated."""

FOLLOWED = 8
"""Tokens that are followed, the prompt's first."""

KEPT = (49, 1_024)
"""Layers and positions of the lens that is saved and loaded."""

Case = Callable[[], object]
Paths = dict[str, tuple[Case, Case, str]]
"""Name -> what a user calls, the least work for it, and that work in words."""


class Least:
    """The least work of a path, as work of the model and of one product with its head.

    Args:
        forward: runs the model on the prompt.
        head: (vocabulary, width), the head's weights.
        rows: the rows of a table of one stream.
    """

    def __init__(self, forward: Case, head: torch.Tensor, rows: int) -> None:
        self._forward, self._head, self._low, self._rows = forward, head, head.to(torch.bfloat16), rows

    def __call__(self, *, forwards: int = 1, tables: float = 1, exact: bool = False, also: Case | None = None) -> Case:
        """This many forward passes and products of whole tables, and something else.

        Args:
            exact: whether every logit is needed in the model's own dtype, as for exact ranks; else bfloat16 does.
        """

        def run() -> None:
            for _ in range(forwards):
                self._forward()
            self._products(round(tables * self._rows), self._head if exact else self._low)
            if also is not None:
                also()

        return run

    @staticmethod
    def _products(rows: int, head: torch.Tensor) -> None:
        at_once = min(rows, 512)
        if not at_once:
            return
        states = torch.zeros(at_once, head.shape[1], dtype=head.dtype, device=head.device)
        logits = torch.empty(at_once, len(head), dtype=head.dtype, device=head.device)
        for start in range(0, rows, at_once):
            count = min(at_once, rows - start)
            torch.mm(states[:count], head.T, out=logits[:count])


def paths(model: Any, tokenizer: Any, prompt: torch.Tensor, decoder: Any, forward: Case) -> Paths:
    """The paths that are measured, on one prompt."""
    head = model.get_output_embeddings().weight
    layers = 1 + model.config.num_hidden_layers
    least = Least(forward, head.detach(), layers * len(prompt))

    def lens(**arguments: Any) -> Any:
        return bauklens.logit_lens(model, tokenizer, prompt, **{"track": 0, **arguments})

    followed = list(dict.fromkeys(prompt.tolist()))[:FOLLOWED]
    half = range(len(head) // 2)
    one, other = lens(measures=[]), lens(measures=[], norm=None)
    parts = [prompt[start : start + len(prompt) // 4] for start in range(0, len(prompt), len(prompt) // 4)]
    texts = [tokenizer.decode(part) for part in parts]
    mapped = (layers - 2) * len(prompt)

    def maps() -> None:
        states = torch.zeros(mapped // (layers - 2), head.shape[1], device=head.device)
        square = torch.zeros(head.shape[1], head.shape[1], device=head.device)
        for _ in range(layers - 2):
            states @ square

    return {
        "a lens": (lens, least(), "forward, product"),
        "tracked tokens (256)": (lambda: lens(track=256), least(), "forward, product"),
        "a set of thousands of tokens": (lambda: lens(mass={"set": half}), least(), "forward, product"),
        "eight tokens followed": (lambda: lens(targets=followed), least(exact=True), "forward, exact product"),
        "measures of every kind": (
            lambda: lens(measures=list(bauklens.MEASURES)),
            least(exact=True),
            "forward, exact product",
        ),
        "streams hidden, attention, mlp": (
            lambda: lens(stream=["hidden", "attention", "mlp"]),
            least(tables=3 - 2 / layers),
            "forward, three products",
        ),
        "four prompts": (
            lambda: list(bauklens.lenses(texts, model, tokenizer, track=0)),
            least(),
            "forward and product of as many tokens",
        ),
        "through a decoder": (
            lambda: lens(decoder=decoder, missing="plain"),
            least(also=maps),
            "forward, maps, product",
        ),
        "logit lens and decoder": (
            lambda: lens(decoder=["logit", decoder], missing="plain"),
            least(tables=2, also=maps),
            "forward, maps, two products",
        ),
        "heads of one layer": (
            lambda: lens(stream="heads", layers=[layers // 2]),
            least(tables=model.config.num_attention_heads / layers),
            "forward, product",
        ),
        "generation of 16 tokens, and their lens": (
            lambda: lens(max_new_tokens=NEW_TOKENS),
            least(tables=(len(prompt) + NEW_TOKENS) / len(prompt), also=lambda: generated(model, prompt)),
            "forward, generate, product",
        ),
        "neurons of one layer": (
            lambda: bauklens.top_neurons(model, tokenizer, prompt, layer=layers // 2, position=-1),
            least(tables=0),
            "forward",
        ),
        "nearest tokens": (
            lambda: bauklens.nearest_tokens(model, tokenizer, prompt[:1].tolist()),
            least(forwards=0, tables=1 / (layers * len(prompt)), exact=True),
            "an exact product of one row",
        ),
        "contributions to one token": (
            lambda: bauklens.contributions(model, tokenizer, prompt),
            least(tables=0),
            "forward",
        ),
        "comparison of two results": (
            lambda: bauklens.compare(one, other),
            lambda: [np.argsort(each.top_ids) for each in (one, other)],
            "a sort of the tokens of each cell",
        ),
        **_files(),
    }


def generated(model: Any, prompt: torch.Tensor) -> object:
    """The model's own generation, greedy, with its cache."""
    with evaluating(model), torch.no_grad():
        ids = prompt[None].to(model.device)
        return model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False
        )


def _files() -> Paths:
    """Saving and loading a large lens; the least is to write and read its numbers as they are."""
    lens = lens_of(ViewerCase(*KEPT, 5))
    temporary = tempfile.TemporaryDirectory(prefix="bauklens-paths-")
    atexit.register(temporary.cleanup)
    folder = Path(temporary.name)
    path, arrays = folder / "lens.safetensors", folder / "arrays.safetensors"
    numbers = {"ids": lens.top_ids, "probs": lens.top_probs, **lens.measures}
    if lens.tracked is not None:
        numbers |= {"ranks": lens.tracked.rank, "logs": lens.tracked.log_probability}
    numbers = {name: np.ascontiguousarray(each) for name, each in numbers.items()}
    lens.save(path)
    save_file(numbers, arrays)
    size = f"{KEPT[0]} x {KEPT[1]:,}"
    return {
        f"save {size}": (lambda: lens.save(path), lambda: save_file(numbers, arrays), "safetensors"),
        f"load {size}": (lambda: bauklens.LensResult.load(path), lambda: load_file(arrays), "safetensors"),
    }


def measure(name: str, every: Paths, rounds: int, about: dict[str, Any]) -> dict[str, Any]:
    """Medians of several rounds. Each path alternates with its least; each runs twice, and the second run counts."""
    taken: dict[str, tuple[list[float], list[float]]] = {path: ([], []) for path in every}
    for _ in tqdm(range(rounds), desc="Rounds", unit="round", disable=None):
        for path, (case, least, _words) in every.items():
            for run, seconds in zip((case, least), taken[path], strict=True):
                run()
                started = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - started)
    found = {
        path: {"seconds": statistics.median(own), "least": statistics.median(least), "words": every[path][2]}
        for path, (own, least) in taken.items()
    }
    return {"model": name, "rounds": rounds, "paths": found, **about}


def of_paths(run: dict[str, Any]) -> str:
    """The section of docs/PERFORMANCE.md."""
    lines = [
        "## Paths",
        "",
        f"{run['model']}, {run['tokens']} tokens, {run['machine']}, medians of {run['rounds']}. *Least* is the work "
        "that a path cannot do without, measured beside it: forward passes, and products with the head, results "
        "discarded. They are in bfloat16, or exact, in the model's own dtype, if exact ranks need every logit.",
        "",
        "| path | milliseconds | least: milliseconds | of | times the least |",
        "| --- | ---: | ---: | --- | ---: |",
    ]
    for path, each in run["paths"].items():
        own, least = each["seconds"], each["least"]
        lines.append(f"| {path} | {1000 * own:,.1f} | {1000 * least:,.1f} | {each['words']} | {own / least:.2f} |")
    return "\n".join([*lines, "", f"`{run['command']}`", ""])

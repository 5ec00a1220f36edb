#!/usr/bin/env python3
"""How much the closed form reduces the noise of an exact Jacobian lens: the basis of fit_decoder(..., anchors=).

For each window, the exact Jacobian and its closed form are computed. The table compares how much the exact Jacobian
varies from window to window with how much its difference from the closed form does: the sum over entries of the
sample variance. With many anchors, the error of a mean of exact Jacobians falls by this ratio.

.venv/bin/python scripts/anchored_jacobian.py --windows 8 --layer 20 --layer 24 --layer 27
"""

from itertools import islice
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

import bauklens
from bauklens.cli.text_files import read_texts
from bauklens.decoders.fit.jacobian import Jacobians
from bauklens.decoders.fit.mean_field import product_of
from bauklens.decoders.fit.mean_field_fit import closed_blocks
from bauklens.decoders.fit.own_texts import own_windows
from bauklens.decoders.fit.states import Fitted, fitted_layers
from bauklens.decoders.texts import LENGTH, SKIP_FIRST, Windows
from bauklens.model.resolving import resolve


def spread(jacobians: torch.Tensor) -> torch.Tensor:
    """(window, layer, size, size) -> (layer,), the sample variance, summed over entries."""
    return jacobians.double().var(dim=0).sum(dim=(1, 2))


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", "name", default="demo", show_default=True)
@click.option("--texts", type=click.Path(path_type=Path, exists=True), help="By default the model writes its own.")
@click.option("--windows", default=8, show_default=True, type=click.IntRange(min=2))
@click.option("--length", default=LENGTH, show_default=True, type=click.IntRange(min=SKIP_FIRST + 2))
@click.option("--layer", "layers", multiple=True, default=["20", "24", "27"], show_default=True)
def main(name: str, texts: Path | None, windows: int, length: int, layers: tuple[str, ...]) -> None:
    """Prints the table."""
    model, tokenizer = bauklens.load(name)
    source = (
        own_windows(model, length, seed=1)
        if texts is None
        else Windows(model, tokenizer, read_texts(texts), length=length)
    )
    some = [window.inputs for window in islice(source, windows)]
    anatomy = resolve(model, some[0])
    *labels, target = fitted_layers(anatomy, list(layers), None)
    fitted = Fitted(model, anatomy, tuple(labels), target, SKIP_FIRST)
    jacobians, exact, closed = Jacobians(fitted), [], []
    for inputs in tqdm(some, desc="Jacobians", unit="window", disable=None):
        exact.append(jacobians.of(inputs))
        products = product_of(torch.stack(closed_blocks(fitted, [inputs])), anatomy)
        closed.append(torch.stack([products[label] for label in labels]))
    alone, apart = torch.stack(exact), torch.stack(exact) - torch.stack(closed)
    table = Table(title=f"{name}, {len(some)} windows of {length} tokens")
    for column in ("layer", "spread, exact", "spread, exact less closed form", "times less"):
        table.add_column(column, justify="right")
    for label, one, other in zip(labels, spread(alone).tolist(), spread(apart).tolist(), strict=True):
        table.add_row(label, f"{one:.3g}", f"{other:.3g}", f"{one / other:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()

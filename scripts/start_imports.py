"""The large packages that a Python program imports, by which module and for how long: ``-X importtime``."""

import re
from typing import NamedTuple

LARGE = (
    "torch.distributed.tensor",
    "torch._dynamo",
    "sympy",
    "scipy",
    "accelerate",
    "sklearn",
    "pandas",
    "pyarrow",
    "matplotlib",
    "datasets",
    "ray",
    "numba",
    "peft",
)
"""Packages that are slow to import, and that a lens of a prompt does not need."""

_LINE = re.compile(r"import time: +\d+ \| +(\d+) \| ( *)(\S+)")


class Imported(NamedTuple):
    """A package, as it was imported.

    Attributes:
        by: the module outside of it and of torch that imported it; empty if the program itself did.
        seconds: the time, including everything that it imported first.
    """

    by: str
    seconds: float


def large_imports(told: str) -> dict[str, Imported]:
    """The packages of :data:`LARGE` that were imported.

    Args:
        told: Python's standard error under ``-X importtime``.
    """
    rows = [(int(spent), len(indent) // 2, name) for spent, indent, name in _LINE.findall(told)]
    above: list[tuple[int, str]] = []  # a module is printed after what it imports
    chains: list[tuple[str, int, list[str]]] = []
    for spent, depth, name in reversed(rows):
        while above and above[-1][0] >= depth:
            above.pop()
        chains.append((name, spent, [each for _, each in reversed(above)]))
        above.append((depth, name))
    found = {}
    for package in LARGE:
        first = [
            (spent, chain)
            for name, spent, chain in chains
            if _within(name, package) and not any(_within(each, package) for each in chain)
        ]
        if first:
            _, chain = max(first)
            outside = (each for each in chain if not _within(each, "torch") and not _within(each, package))
            found[package] = Imported(next(outside, ""), sum(spent for spent, _ in first) / 1e6)
    return found


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")

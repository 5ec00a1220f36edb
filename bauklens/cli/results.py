"""The files that the lens command writes: one table as CSV, and one JSON file per result."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bauklens.cli.output import write
from bauklens.optional import csv_text, joined_frames

if TYPE_CHECKING:
    from bauklens.result.result import LensResult


def as_csv(results: "Sequence[LensResult]") -> str:
    """All results, one below the other; the column ``decoder`` distinguishes them."""
    return csv_text(joined_frames([result.to_frame() for result in results]))


def write_json(path: str, results: "Sequence[LensResult]") -> list[str]:
    """Writes results as JSON: one line each on standard output, or one file each, named after its decoder.

    Returns:
        The files, if their names differ from the caller's.
    """
    if path == "-" or not results[1:]:
        write(path, "".join(f"{result.to_json()}\n" for result in results))
        return []
    names = _named(path, [result.decoder for result in results])
    for name, result in zip(names, results, strict=True):
        write(name, f"{result.to_json()}\n")
    return names


def _named(path: str, decoders: Sequence[str]) -> list[str]:
    """lens.json -> lens-logit.json, lens-demo.json, and so on; numbered if two decoders have the same name."""
    whole = Path(path)
    plain = [re.sub(r"[^\w.]+", "-", decoder).strip("-.")[:80] or "decoder" for decoder in decoders]
    apart = [name if plain.count(name) == 1 else f"{name}-{place}" for place, name in enumerate(plain, 1)]
    if len({name.casefold() for name in apart}) < len(apart):  # two would overwrite each other
        apart = [f"{name}-{place}" for place, name in enumerate(plain, 1)]
    return [str(whole.with_name(f"{whole.stem}-{name}{whole.suffix}")) for name in apart]

"""What a sweep is asked for, and how its manifest records that."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bauklens.arguments import checked_count, is_whole_number, one_of
from bauklens.corpus.manifest import MOST_PER
from bauklens.decode.decoder import Decoder
from bauklens.decoders.chosen import chosen_decoders
from bauklens.decoders.learned import LearnedDecoder
from bauklens.errors import LensError
from bauklens.lens.options import Options
from bauklens.result.mass import described_mass
from bauklens.vocabulary import FAILED_PROMPTS, ROWS, SWEEP_OPTIONS


@dataclass(frozen=True)
class Asked:
    """What a sweep is asked for, besides its prompts and its model.

    Attributes:
        options: the options of every lens.
        decoders: those that they name, read.
        layout: the shards, as the manifest describes them.
        raises: whether a prompt that fails ends the sweep.
    """

    options: Options
    decoders: list[Decoder]
    layout: Mapping[str, Any]
    raises: bool

    @staticmethod
    def of(
        per: int, rows: str | None, positions: str | int | None, on_error: str, options: Mapping[str, Any]
    ) -> "Asked":
        """What the arguments of :func:`bauklens.sweep` ask for.

        Raises:
            LensError: an argument has a wrong type or value.
            TypeError: an option that a sweep does not take.
        """
        for name in options:
            if name not in SWEEP_OPTIONS:
                known = ", ".join(SWEEP_OPTIONS)
                raise TypeError(f"sweep() got an unexpected keyword argument {name!r}: it takes {known} of a lens")
        if checked_count("per", per) >= MOST_PER:
            raise LensError(f"per is {per}: pass less than {MOST_PER:,}")
        one_of("on_error", on_error, FAILED_PROMPTS)
        rows = rows or ("cell" if positions == "all" else "layer")
        one_of("rows", rows, ROWS)
        positions = ("all" if rows == "cell" else "last") if positions is None else positions
        if positions not in ("last", "all") and not is_whole_number(positions):
            raise LensError(f"positions is {positions!r:.40}: pass 'last', 'all' or a number")
        if rows == "layer" and positions == "all":
            raise LensError("one row per layer needs one position: pass positions='last' or a number, or rows='cell'")
        chosen = None if positions == "all" else [-1 if positions == "last" else positions]
        lens = Options.of({**options, "positions": chosen, "track": 0}, "sweep", prompts=False)
        layout = {"per": per, "rows": rows, "positions": positions, "on_error": on_error}
        return Asked(lens, chosen_decoders(lens.decoder), layout, on_error == "raise")

    def described(self) -> dict[str, Any]:
        """The options, as the manifest records them."""
        named = {
            name: getattr(self.options, name) for name in SWEEP_OPTIONS if name not in ("decoder", "mass", "stream")
        }
        return {
            **{name: _plain(value) for name, value in named.items()},
            "stream": list(self.options.streams),
            "decoder": [_described(each) for each in self.decoders],
            "mass": described_mass(self.options.mass),
        }


def _described(decoder: Decoder) -> str | list[str]:
    """A decoder's name, and for a learned one also a digest of its maps."""
    if not isinstance(decoder, LearnedDecoder):
        return decoder.name
    found = hashlib.sha256()
    for layer in decoder.layers:
        for part in (decoder.weight(layer), decoder.bias(layer)):
            if part is not None:
                found.update(f"{layer} {tuple(part.shape)} {part.dtype}".encode())
                found.update(part.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    found.update(repr(sorted(decoder.temperatures.items())).encode())
    return [decoder.name, found.hexdigest()]


def _plain(value: Any) -> Any:
    """An option as JSON can hold it."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, Iterable):
        return [_plain(each) for each in value]
    return int(value) if is_whole_number(value) else str(value)

"""Edits that take their states from other runs: the mean over texts, and the states of another prompt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bauklens.arguments import chosen_positions
from bauklens.edits.kinds import _Kind
from bauklens.edits.setting import Setting, Site
from bauklens.errors import LensError
from bauklens.model.encoding import Prompt, encode
from bauklens.stream.changes import Change
from bauklens.stream.heads import HeadStates
from bauklens.stream.stream import Stream
from bauklens.vocabulary import EMBED


@dataclass(frozen=True)
class MeanAblate(_Kind):
    """The mean of what is there over the positions of some texts, leaving out the first of each."""

    texts: tuple[Prompt, ...] = ()

    def at(self, setting: Setting, site: Site) -> Change:
        """The change at one layer."""
        mean = setting.once(self, site.where, lambda: self._means(setting, site.where))[site.label]
        return lambda states, _: mean.to(states).expand_as(states)

    def _means(self, setting: Setting, where: str | int) -> dict[str, torch.Tensor]:
        """(hidden,) float32 for every layer; each text is run once, and its states are dropped."""
        sites = setting.sites(where)
        sums, count = dict.fromkeys(sites, torch.zeros((), dtype=torch.float64, device="cpu")), 0
        for inputs in [encode(setting.model, setting.tokenizer, text) for text in self.texts] or [setting.inputs]:
            stream = setting.stream_of(inputs, [where])
            first = int(inputs.count > 1)
            count += inputs.count - first
            for site in sites:
                sums[site] = sums[site] + states_at(setting, stream, site)[first:].cpu().double().sum(dim=0)
        return {site.label: (total / count).float() for site, total in sums.items()}

    def described(self, setting: Setting | None) -> dict[str, Any]:  # noqa: ARG002
        """As plain values."""
        return {"edit": "mean ablate", "texts": [_text(each) for each in self.texts] or "this prompt"}


@dataclass(frozen=True, eq=False)
class Patch(_Kind):
    """The states that another prompt has there, position by position."""

    prompt: Prompt = None
    align: Mapping[int, int] | None = None

    def at(self, setting: Setting, site: Site) -> Change:
        """The change at one layer."""
        source = encode(setting.model, setting.tokenizer, self.prompt)
        places = aligned(setting.inputs.count, source.count, self.align)
        stream = setting.once(self, site.where, lambda: setting.stream_of(source, [site.where]))
        found = states_at(setting, stream, site).float()

        def change(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
            columns = [column for column, position in enumerate(positions.tolist()) if position in places]
            if not columns:
                return states
            changed = states.clone()
            changed[:, columns] = found[[places[int(positions[column])] for column in columns]].to(states)
            return changed

        return change

    def only_at(self, count: int) -> list[int]:
        """The positions that have a counterpart in the other prompt."""
        return list(range(count)) if self.align is None else _aligned_here(count, self.align)

    def described(self, setting: Setting | None) -> dict[str, Any]:  # noqa: ARG002
        """As plain values."""
        align = None if self.align is None else {int(to): int(source) for to, source in self.align.items()}
        return {"edit": "patch", "prompt": _text(self.prompt), "align": align}


def aligned(count: int, other: int, align: Mapping[int, int] | None) -> dict[int, int]:
    """Position of this prompt -> position of the other; the same positions without ``align``.

    Raises:
        LensError: the lengths differ and ``align`` is missing, or a position does not exist.
    """
    if align is None:
        if count != other:
            raise LensError(
                f"this prompt has {count} tokens and the one to patch from has {other}: pass "
                "align={position here: position there}"
            )
        return {position: position for position in range(count)}
    here = _aligned_here(count, align)
    there = [chosen_positions(other, position)[0] for position in align.values()]
    return dict(zip(here, there, strict=True))


def _aligned_here(count: int, align: Any) -> list[int]:
    """The positions of this prompt that ``align`` names."""
    if not isinstance(align, Mapping) or not align:
        raise LensError(f"align must be {{position here: position there}}; got {align!r:.80}")
    return chosen_positions(count, list(align))


def states_at(setting: Setting, stream: Stream, site: Site) -> torch.Tensor:
    """(position, hidden), what a run left at a site."""
    if site.where == "hidden":
        row = 0 if site.label == EMBED else 1 + setting.anatomy.labels.index(site.label)
        return stream.states[row]
    block = setting.anatomy.labels.index(site.label)
    if isinstance(site.where, int):
        return HeadStates(stream, [(block, site.where)]).of(0)
    return stream.named(site.where)[block]


def _text(prompt: Any) -> Any:
    """A prompt as a plain value: its text, or its ids."""
    if isinstance(prompt, str):
        return prompt
    return prompt.tolist() if hasattr(prompt, "tolist") else list(prompt)

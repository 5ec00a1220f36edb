"""What a lens is asked for: checked before anything runs, and brought to one prompt."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bauklens.arguments import Layers, Positions, checked_count, checked_topk, chosen_layers, chosen_positions, one_of
from bauklens.errors import LensError
from bauklens.lens.run import How, Rows, Run, lens_of
from bauklens.model.anatomy import Anatomy, resolve
from bauklens.model.generation import continued
from bauklens.model.inputs import Prompt, encode
from bauklens.model.layout import nearest_modules
from bauklens.model.sublayers import Sublayers
from bauklens.result.measures import MEASURES, chosen_measures
from bauklens.result.result import LensResult
from bauklens.result.targets import wanted_targets
from bauklens.stream.states import EMBED, Edit

STREAMS = ("hidden", "delta", "attention", "mlp", "mid")
NORMS = ("own", "final", None)
PRECISIONS = ("auto", "exact")

Measures = str | Iterable[str] | None
Targets = str | int | Iterable[str | int] | None


@dataclass(frozen=True)
class Request:
    """The arguments of :func:`bauklens.logit_lens` that are not the model and the prompt, under the same names.

    Raises:
        LensError: one is not of its kind; whether it fits a model shows in :meth:`plan`.
    """

    stream: str | Sequence[str]
    topk: int
    layers: Layers
    positions: Positions
    norm: str | None
    precision: str
    chunk_rows: int | None
    edit_output: Edit | None
    blocks: str | None
    head: str | None
    measures: Measures
    targets: Targets
    words: str
    max_new_tokens: int
    seed: int | None
    generate_options: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, Iterator):
                object.__setattr__(self, name, list(value))
        if not self.streams:
            raise LensError(f"stream is empty: pass at least one of {', '.join(STREAMS)}")
        for name in self.streams:
            one_of("stream", name, STREAMS)
        one_of("precision", self.precision, PRECISIONS)
        chosen_measures(self.measures, complete=True)
        if self.chunk_rows is not None:
            checked_count("chunk_rows", self.chunk_rows)
        if self.edit_output is not None and not callable(self.edit_output):
            raise LensError(f"edit_output must be a function of (output, layer); got {type(self.edit_output).__name__}")
        if self.max_new_tokens and self.edit_output is not None:
            raise LensError(
                "edit_output acts on the lens, not on what is generated: generate first, then edit that text"
            )
        if self.generate_options and not self.max_new_tokens:
            name = next(iter(self.generate_options))
            raise TypeError(f"logit_lens() got an unexpected keyword argument {name!r}")

    @property
    def streams(self) -> list[str]:
        """The names of the streams."""
        named = isinstance(self.stream, str) or not isinstance(self.stream, Iterable)
        return [self.stream] if named else list(self.stream)  # type: ignore[list-item]

    def ids(self, model: nn.Module, tokenizer: Any, prompt: Prompt) -> tuple[torch.Tensor, int]:
        """The ids of a prompt and of what is generated after it, (1, position), and how many are the prompt's."""
        token_ids = encode(model, tokenizer, prompt)
        prompted = token_ids.shape[1]
        if self.max_new_tokens:
            options = self.generate_options
            token_ids = continued(model, tokenizer, token_ids, self.max_new_tokens, seed=self.seed, options=options)
        return token_ids, prompted

    def plan(self, model: nn.Module, tokenizer: Any, token_ids: torch.Tensor) -> "Plan":
        """What this means for a model, shown by a prompt's ids."""
        named = _named_norm(model, self.norm)
        anatomy = resolve(model, token_ids, blocks=self.blocks, norm=named, head=self.head)
        for name in self.streams:
            chosen_layers(labels(anatomy, name), self.layers)
        how = How(
            topk=checked_topk(self.topk, anatomy.vocabulary),
            norm=self.norm if named is None else "own",
            precision=self.precision,
            chunk_rows=self.chunk_rows,
            targets=tuple(wanted_targets(tokenizer, anatomy.vocabulary, self.targets, self.words)),
        )
        if self.edit_output is not None and any(target.part == "whole" for target in how.targets):
            raise LensError(
                "a word of several tokens is followed in longer texts, where edit_output would act elsewhere: pass "
                "words='first'"
            )
        asked = chosen_measures(() if self.measures is None else self.measures, complete=True)
        to_the_end = self.norm == "final" or any(MEASURES[name].final for name in asked)
        needed = None if to_the_end else _needed(anatomy, self.streams, self.layers)
        return Plan(self, anatomy, _sublayers(anatomy, self.streams), needed, how)

    def described(self, rows: Rows) -> dict[str, Any]:
        """The arguments as the provenance of a result names them."""
        edit, options = self.edit_output, self.generate_options
        named = {name: value for name, value in vars(self).items() if name not in ("edit_output", "generate_options")}
        return {
            **named,
            "stream": rows.name,
            "layers": None if self.layers is None else rows.labels,
            "positions": None if self.positions is None else rows.positions,
            **options,
            "edit_output": getattr(edit, "__qualname__", None if edit is None else repr(edit)),
        }


@dataclass(frozen=True)
class Plan:
    """A request, brought to a model.

    Attributes:
        sublayers: those to follow; None where no stream needs them.
        blocks: how many have to run; None is all, and to the logits.
    """

    request: Request
    anatomy: Anatomy
    sublayers: Sublayers | None
    blocks: int | None
    how: How

    @property
    def tracing(self) -> dict[str, Any]:
        """What :func:`bauklens.stream.states.trace_stream` is given."""
        return {"sublayers": self.sublayers, "edit_output": self.request.edit_output, "blocks": self.blocks}

    def require_positions(self, token_ids: torch.Tensor) -> None:
        """Refuses a prompt without the positions that are asked for."""
        chosen_positions(token_ids.shape[1], self.request.positions)

    def results(self, ran: Run) -> list[LensResult]:
        """A result for each stream of a prompt's run."""
        results = []
        measures = chosen_measures(self.request.measures, complete=ran.stream.last_logits is not None)
        for name in self.request.streams:
            rows = rows_of(ran, name, self.request.layers, self.request.positions)
            how = replace(self.how, measures=measures)
            results.append(lens_of(ran, rows, how, arguments=self.request.described(rows)))
        return results


def _named_norm(model: nn.Module, norm: Any) -> str | None:
    """The norm where it names a module, and is not one of the three kinds."""
    if norm in NORMS:
        return None
    if norm not in dict(model.named_modules()):
        near = "".join(f", {each!r}" for each in nearest_modules(model, norm))
        raise LensError(f"unknown norm {norm!r}: pass 'own', 'final' or None, or the name of a module{near}")
    return str(norm)


def labels(anatomy: Anatomy, name: str) -> list[str]:
    """What the rows of a stream are called."""
    return [EMBED, *anatomy.labels] if name == "hidden" else list(anatomy.labels)


def rows_of(ran: Run, name: str, layers: Layers, positions: Positions) -> Rows:
    """The rows of a stream that are asked for."""
    named, states = labels(ran.anatomy, name), ran.stream.named(name)
    rows, columns = chosen_layers(named, layers), chosen_positions(ran.token_ids.shape[1], positions)
    states = states if layers is None else states[rows]
    states = states if positions is None or ran.anatomy.whole else states[:, columns]
    return Rows(name, states, [named[row] for row in rows], columns)


def _sublayers(anatomy: Anatomy, names: Sequence[str]) -> Sublayers | None:
    """The sublayers where a stream needs them; refuses ``mid`` where both are given the same state."""
    if not {"attention", "mlp", "mid"} & set(names):
        return None
    found = anatomy.require_sublayers()
    if "mid" in names and not found.sequential:
        raise LensError(
            f"the blocks of {anatomy.model_class} give attention and MLP the same state, so there is no stream 'mid' "
            "between them: pass 'attention', 'mlp', 'delta' or 'hidden'"
        )
    return found


def _needed(anatomy: Anatomy, names: Sequence[str], layers: Layers) -> int | None:
    """How many blocks the rows need; None where that is all, or where only a whole run can be followed."""
    if layers is None or not anatomy.plain or len(set(anatomy.blocks)) < len(anatomy.blocks):
        return None
    last = max(max(chosen_layers(labels(anatomy, name), layers)) + (name != "hidden") for name in names)
    return max(1, last) if last < len(anatomy.blocks) else None

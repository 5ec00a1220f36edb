"""What the options mean for a model: which rows of which streams, and how many blocks have to run for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from torch import nn

from bauklens.arguments import checked_topk, chosen_positions
from bauklens.decode.decoder import LOGIT_LENS, Decoder
from bauklens.decode.rows import Way
from bauklens.decode.unembed import Rows
from bauklens.decoders.chosen import told_apart
from bauklens.decoders.fits import require_capture, require_fit
from bauklens.errors import LensError
from bauklens.lens.attention import attended
from bauklens.lens.how import How
from bauklens.lens.keeping import keeps_states
from bauklens.lens.options import Options
from bauklens.lens.prompted import Prompted, named_norm
from bauklens.lens.run import lens_of, lenses_of, near_top
from bauklens.lens.table_rows import blocks_needed, chosen_rows, labels, mapped_rows, rows_of
from bauklens.model.anatomy import Anatomy
from bauklens.model.encoding import Prompt
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import heads_of, resolve, sublayers_of
from bauklens.model.sublayers import Sublayers
from bauklens.result.edited import in_words
from bauklens.result.labels import LabelNames
from bauklens.result.mass import wanted_mass
from bauklens.result.measures import MASS, MEASURES, chosen_measures
from bauklens.result.result import LensResult
from bauklens.result.targets import wanted_targets
from bauklens.stream.acting import Acting
from bauklens.stream.run import Run
from bauklens.stream.stream import Stream
from bauklens.stream.tracing import Tracing


@dataclass(frozen=True)
class Plan:
    """Options, applied to a model.

    Attributes:
        tracing: what the forward pass is traced for.
        hows: how rows are decoded, one for each decoder.
    """

    options: Options
    anatomy: Anatomy
    tracing: Tracing
    hows: tuple[How, ...]

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures that results may have."""
        chosen = chosen_measures(self.options.measures, complete=self.tracing.blocks is None)
        return (*chosen, *(f"{MASS}{name}" for name in self.options.mass or {}))

    def require_positions(self, inputs: Inputs) -> None:
        """Rejects a prompt without the positions that are asked for."""
        chosen_positions(inputs.count, self.options.positions)

    def run(self, model: nn.Module, tokenizer: Any, prompt: Prompt, given: Prompted, stream: Stream) -> Run:
        """A prompt that has run.

        Args:
            stream: what it left.
        """
        edited = () if given.bound is None else given.bound.described
        notes = (*given.notes, *self.anatomy.notes, *(f"Edited: {in_words(each)}." for each in edited))
        return Run(
            model,
            tokenizer,
            prompt if given.text is None else given.text,
            given.inputs,
            self.anatomy,
            stream,
            given.own,
            notes=notes,
            pictures=given.pictures,
            edits=edited,
        )

    def tracing_of(self, given: Prompted) -> Tracing:
        """What a prompt's forward pass is traced for, and the edits that act on it."""
        return self.tracing if given.bound is None else replace(self.tracing, acting=given.bound.acting)

    def rows(self, run: Run, stream: str, how: How) -> Rows:
        """The rows of a stream that are asked for."""
        return rows_of(run, stream, self.options.layers, self.options.positions, how, self.tracing.heads)

    def results(self, run: Run, prompts: int = 1, edits: Acting | None = None) -> list[tuple[LensResult, How]]:
        """A result for each stream and decoder of a prompt's run, the decoders of a stream after one another.

        Args:
            prompts: how many there are, whose results share the memory for tracked tokens and attention weights.
            edits: what acted in it, and acts again in a run for attention weights.
        """
        measures = chosen_measures(self.options.measures, complete=run.stream.logits is not None)
        found: list[tuple[LensResult, How]] = []
        pairs = [(stream, how) for stream in self.options.streams for how in self.hows]
        tables = [self.rows(run, stream, how) for stream, how in pairs]
        near = [near_top(run, rows, how) for rows, (_, how) in zip(tables, pairs, strict=True)] if pairs[1:] else []
        shared = tuple(dict.fromkeys(token for each in zip_longest(*near) for token in each if token is not None))
        beside = prompts * len(pairs)
        seen = None
        if self.options.attention:
            seen = attended(run, tables, self.options.attention, edits, prompts)
        for rows, (_, how) in zip(tables, pairs, strict=True):
            how = replace(how, beside=beside, shared=shared)
            result = lens_of(
                run,
                rows,
                replace(how, measures=measures, left_out=self._left_out(rows)),
                arguments=self._arguments(how, rows),
                attended=seen,
            )
            found.append((result, how))
        return found

    @property
    def decodes_together(self) -> bool:
        """Whether prompts that ran together can be decoded together: nothing is chosen for each by itself."""
        return not (self.options.attention or any(how.track for how in self.hows) or self.anatomy.whole)

    def results_together(self, together: Run, runs: Sequence[Run]) -> list[list[tuple[LensResult, How]]]:
        """As :meth:`results`, of prompts that ran together and are decoded together: the results of each.

        Args:
            together: all of them, end to end.
            runs: each by itself.

        Raises:
            LensError: something is wrong with one of them.
        """
        measures = chosen_measures(self.options.measures, complete=together.stream.logits is not None)
        found: list[list[tuple[LensResult, How]]] = [[] for _ in runs]
        for stream in self.options.streams:
            for how in self.hows:
                tables = [self.rows(run, stream, how) for run in runs]
                called = replace(how, measures=measures, left_out=self._left_out(tables[0]))
                arguments = [self._arguments(how, rows) for rows in tables]
                for each, result in zip(found, lenses_of(together, runs, tables, called, arguments), strict=True):
                    each.append((result, how))
        return found

    def _left_out(self, rows: Rows) -> tuple[str, ...]:
        """Labels of rows that were asked for but do not exist."""
        named = labels(self.anatomy, rows.stream, self.tracing.heads)
        asked = [named[row] for row in chosen_rows(self.anatomy, named, self.options.layers)]
        return tuple(label for label in asked if label not in rows.labels)

    def _arguments(self, how: How, rows: Rows) -> dict[str, Any]:
        """The options, as a result's provenance records them."""
        return self.options.described(rows.stream, how.decoder, rows.labels, rows.positions)


def planned(
    model: nn.Module, tokenizer: Any, inputs: Inputs, options: Options, decoders: Sequence[Decoder] = (LOGIT_LENS,)
) -> Plan:
    """What options mean for a model, shown by a prompt.

    Args:
        decoders: those that the options name.

    Raises:
        LensError: they do not fit the model.
    """
    named = named_norm(model, options.norm)
    anatomy = resolve(model, inputs, blocks=options.blocks, norm=named, head=options.head)
    heads = heads_of(model, anatomy, inputs) if "heads" in options.streams else None
    for name in options.streams:
        chosen_rows(anatomy, labels(anatomy, name, heads), options.layers)
    made_for = [require_fit(decoder, model, anatomy, options.streams, options.norm) for decoder in decoders]
    norm = options.norm if named is None else "own"
    most = anatomy.vocabulary if anatomy.classes is None else max(options.topk, anatomy.vocabulary)
    topk = min(checked_topk(options.topk, most), anatomy.vocabulary)  # a classifier of two labels has no top five
    written_in = tokenizer if anatomy.classes is None else LabelNames(anatomy.classes)
    targets = tuple(wanted_targets(written_in, anatomy.vocabulary, options.targets, options.words))
    mass = wanted_mass(anatomy.vocabulary, options.mass)
    hows = tuple(
        How(
            topk,
            Way(norm, options.precision, options.chunk_rows, decoder),
            targets=targets,
            missing=options.missing,
            misfit=other,
            called=called,
            track=options.track,
            mass=mass,
        )
        for decoder, other, called in zip(decoders, made_for, told_apart([each.name for each in decoders]), strict=True)
    )
    for name in options.streams:
        for how in hows:
            mapped_rows(anatomy, labels(anatomy, name, heads), options.layers, how)
    edited = options.edit_output is not None or options.edits is not None
    if edited and any(target.part == "whole" for target in targets):
        raise LensError(
            "a word of several tokens is followed in longer texts, where an edit would act elsewhere: pass "
            "words='first'"
        )
    asked = chosen_measures(() if options.measures is None else options.measures, complete=True)
    to_the_end = options.norm == "final" or any(MEASURES[name].final for name in asked)
    blocks = None if to_the_end else blocks_needed(anatomy, options.streams, options.layers, heads)
    sublayers = _sublayers(model, anatomy, inputs, options.streams)
    for decoder in decoders:
        require_capture(decoder, model, sublayers)
    tracing = Tracing(
        "delta" in options.streams,
        sublayers,
        heads,
        options.edit_output,
        blocks,
        in_shards=True,
        positions=options.positions,
        keep_states=keeps_states(model, anatomy, options, targets),
    )
    return Plan(options, anatomy, tracing, hows)


def _sublayers(model: nn.Module, anatomy: Anatomy, inputs: Inputs, streams: Sequence[str]) -> Sublayers | None:
    """The sublayers if a stream needs them; refuses ``mid`` if both are given the same state."""
    if not {"attention", "mlp", "mid", "heads"} & set(streams):
        return None
    found = sublayers_of(model, anatomy, inputs)
    if "mid" in streams and not found.sequential:
        raise LensError(
            f"the blocks of {anatomy.model_class} give attention and MLP the same state, so they have no stream 'mid' "
            "between the two: pass 'attention', 'mlp', 'delta' or 'hidden'"
        )
    return found

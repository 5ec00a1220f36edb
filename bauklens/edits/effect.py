"""trace_effect(): which states of a prompt produce its answer, found by putting each into another prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from bauklens.arguments import Layers, Positions, as_lists, chosen_layers, chosen_positions, one_of
from bauklens.edits.answers import Answers, asked_answers
from bauklens.edits.from_runs import aligned, states_at
from bauklens.edits.setting import Setting, Site, Token
from bauklens.errors import LensError
from bauklens.model.encoding import Prompt, encode
from bauklens.model.in_hand import in_hand
from bauklens.model.inputs import Inputs
from bauklens.model.provenance import model_name, provenance
from bauklens.model.resolving import resolve
from bauklens.model.together import together
from bauklens.progress import bar
from bauklens.result.effects import Effects
from bauklens.result.tokens import token_texts
from bauklens.row_labels import block_of
from bauklens.stream.changes import Spot
from bauklens.stream.copies import Copied, Place, run_copies
from bauklens.stream.heads import head_places
from bauklens.stream.stream import Stream
from bauklens.vocabulary import CLEAN, CORRUPTED, EMBED, PATCHED, PROMPTS


@together
def trace_effect(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt,
    corrupted: Prompt,
    target: Token | Sequence[Token] | None = None,
    *,
    into: str = CORRUPTED,
    where: str = "hidden",
    layers: Layers = None,
    positions: Positions = None,
    align: Mapping[int, int] | None = None,
    results: str = "first",  # noqa: ARG001 - read by together()
) -> Effects:
    """Activation patching: puts each state of one prompt into another, and shows how much of the answer comes with it.

    One state at a time, at one layer and one position, replaces the other prompt's state there; the model continues,
    and the logits at the last position are read. Places at which both prompts have exactly the same state are skipped,
    because they change nothing.

    Args:
        model: as for :func:`bauklens.logit_lens`.
        tokenizer: its tokenizer.
        prompt: the clean prompt, which has the answer in question.
        corrupted: a prompt that differs in what matters, and has another answer.
        target: one token, whose log probability is measured; or two, the clean answer and the corrupted one, whose
            logit difference is measured. Each is a text (of several tokens, the first counts) or an id. By default,
            these are the two prompts' own next tokens.
        into: ``"corrupted"``: states of the clean prompt are put into the corrupted one, which shows which of them are
            sufficient to restore the answer. ``"clean"``: the other way round, which shows which are necessary.
        where: what is replaced: the stream after a block (``"hidden"``), between its attention and its MLP (``"mid"``),
            what its ``"attention"`` or ``"mlp"`` writes, or what each of its ``"heads"`` writes.
        layers: labels of layers, as for :func:`bauklens.logit_lens`; None means all, and for ``"hidden"`` the stream
            before block 0 (``"embed"``) too. For heads, a number means all heads of that layer, and ``"20.h3"`` a
            single one.
        positions: positions of the prompt that is run; None means all that have a counterpart.
        align: {position in the corrupted prompt: position in the clean one}; required if their lengths differ. None
            pairs equal positions.
        results: for a model spread over several ranks, which of them get the result: ``"first"`` or ``"all"``.

    Returns:
        A table of layers (or heads) and positions: the logit difference with each state, how much it changed, and the
        share of the way from the corrupted prompt's value to the clean one's.

    Raises:
        LensError: the prompts have different lengths and ``align`` is missing; both have the same answer, or the same
            logit difference; the target is not one or two tokens; a layer or position does not exist; the model's
            states are not (position, hidden), or it has no such sublayers; or memory runs out.
    """
    one_of("into", into, PROMPTS)
    one_of("where", where, PATCHED)
    model, tokenizer = in_hand(model, tokenizer)
    given = {CLEAN: _encoded(model, tokenizer, prompt), CORRUPTED: _encoded(model, tokenizer, corrupted)}
    run, source = given[into], given[CLEAN if into == CORRUPTED else CORRUPTED]
    pairs = _pairs(given, into, align)
    setting = Setting(model, tokenizer, resolve(model, run), run)
    if setting.anatomy.classes is not None:
        raise LensError(
            f"trace_effect needs a model that predicts tokens; {setting.anatomy.model_class} predicts labels"
        )
    columns = _columns(pairs, run.count, positions)
    sites = _sites(setting, where, layers)
    wheres = sorted({site.where for site in sites.values()}, key=str)
    streams = {name: setting.stream_of(each, wheres) for name, each in given.items()}
    own = {name: _last(setting, stream) for name, stream in streams.items()}
    asked = asked_answers(setting, target, own)
    values = {name: float(asked.of(logits[None])[0]) for name, logits in own.items()}
    notes = (*asked.notes, *asked.notes_on(values))
    texts = token_texts(tokenizer, [*run.ids[0].tolist(), *source.ids[0].tolist()])
    states = {
        name: {label: states_at(setting, stream, site) for label, site in sites.items()}
        for name, stream in streams.items()
    }
    patching = _Patching(setting, where, sites, [(here, pairs[here]) for here in columns])
    there = states[CLEAN if into == CORRUPTED else CORRUPTED]
    found = patching.run(states[into], there, streams[into].states.dtype, own[into], asked)
    tops = {name: int(logits.argmax()) for name, logits in own.items()}
    run_ids, source_ids = run.ids[0].tolist(), source.ids[0].tolist()
    arguments = {"prompt": prompt, "corrupted": corrupted, "target": target, "into": into, "where": where}
    arguments |= {"layers": as_lists(layers), "positions": as_lists(positions), "align": align}
    return Effects(
        model=model_name(model),
        clean=_text(tokenizer, prompt, given[CLEAN]),
        corrupted=_text(tokenizer, corrupted, given[CORRUPTED]),
        into=into,
        where=where,
        target=asked.texts,
        target_ids=asked.ids,
        layers=tuple(sites),
        positions=np.array(columns),
        tokens=tuple(texts[run_ids[here]] for here in columns),
        source_positions=np.array([pairs[here] for here in columns]),
        source_tokens=tuple(texts[source_ids[pairs[here]]] for here in columns),
        difference=found.values,
        clean_difference=values[CLEAN],
        corrupted_difference=values[CORRUPTED],
        top_ids=found.tops,
        clean_top=tops[CLEAN],
        corrupted_top=tops[CORRUPTED],
        vocabulary=token_texts(tokenizer, [*np.unique(found.tops).tolist(), *tops.values()]),
        notes=notes,
        provenance=provenance(model, streams[into].states, arguments),
    )


@dataclass(frozen=True)
class _Found:
    """What was read at each place, (layer, position): the value, and the id of the most probable token."""

    values: np.ndarray
    tops: np.ndarray


@dataclass(frozen=True)
class _Patching:
    """The places of a prompt that are changed.

    Attributes:
        setting: the model, and the prompt that is run.
        where: what is changed, in words.
        sites: label of a row -> what is changed.
        pairs: (position of the prompt that is run, position of the other).
    """

    setting: Setting
    where: str
    sites: Mapping[str, Site]
    pairs: Sequence[tuple[int, int]]

    def run(
        self,
        here: Mapping[str, torch.Tensor],
        there: Mapping[str, torch.Tensor],
        dtype: torch.dtype,
        own: torch.Tensor,
        asked: Answers,
    ) -> _Found:
        """Runs a copy for each place at which the two prompts differ.

        Args:
            here, there: label -> (position, hidden), the states of the prompt that is run and of the other.
            own: (vocabulary,), the logits of the prompt that is run, as it is.
        """
        labels = list(self.sites)
        shape = len(labels), len(self.pairs)
        values = np.full(shape, float(asked.of(own[None])[0]), np.float32)
        tops = np.full(shape, int(own.argmax()))
        differing = [
            (row, column)
            for column, (position, source) in sorted(enumerate(self.pairs), key=lambda each: each[1])
            for row, label in enumerate(labels)
            if not torch.equal(here[label][position], there[label][source])
        ]
        places = [
            Place(Spot(*self.sites[labels[row]]), self.pairs[column][0], there[labels[row]][source])
            for row, column in differing
            for source in [self.pairs[column][1]]
        ]
        setting = self.setting
        wheres = {site.where for site in self.sites.values()}
        heads = setting.heads if any(isinstance(each, int) for each in wheres) else ()
        sublayers = setting.sublayers_for(wheres)
        prompt = Copied(setting.model, setting.anatomy, setting.inputs, own, dtype, sublayers, heads)
        with bar("Patching", "place", total=len(places)) as done:

            def read(first: int, logits: torch.Tensor) -> None:
                some = differing[first : first + len(logits)]
                rows, columns = zip(*some, strict=True)
                measured = asked.of(logits).cpu().numpy()
                if not np.isfinite(measured).all():
                    row, column = some[int(np.flatnonzero(~np.isfinite(measured))[0])]
                    raise LensError(
                        f"the model's logits are NaN or infinite with the other prompt's {self.where} at layer "
                        f"{labels[row]}, position {self.pairs[column][0]}"
                    )
                values[rows, columns] = measured
                tops[rows, columns] = logits.argmax(dim=-1).cpu().numpy()
                done.update(len(logits))

            run_copies(prompt, places, read)
        return _Found(values, tops)


def _encoded(model: nn.Module, tokenizer: Any, prompt: Prompt) -> Inputs:
    """A prompt as token ids, and nothing else."""
    inputs = encode(model, tokenizer, prompt)
    if inputs.extra or inputs.keyword != "input_ids":
        raise LensError("trace_effect takes text or token ids, and a model that needs no other inputs")
    return inputs


def _pairs(given: Mapping[str, Inputs], into: str, align: Mapping[int, int] | None) -> dict[int, int]:
    """Position of the prompt that is run -> position of the other."""
    clean, corrupted = given[CLEAN].count, given[CORRUPTED].count
    if align is None and clean != corrupted:
        raise LensError(
            f"the clean prompt has {clean} tokens and the corrupted one {corrupted}: pass align= with "
            "pairs of corresponding positions, the corrupted prompt's first, such as the last ones, -1 and -1"
        )
    found = aligned(corrupted, clean, align)
    if into == CORRUPTED:
        return found
    other = {there: here for here, there in found.items()}
    if len(other) < len(found):
        raise LensError("align names a position of the clean prompt twice, which cannot be reversed: pass it once")
    return other


def _columns(pairs: Mapping[int, int], count: int, positions: Positions) -> list[int]:
    """The positions of the prompt that is run at which states are replaced."""
    if positions is None:
        return sorted(pairs)
    chosen = chosen_positions(count, positions)
    apart = [each for each in chosen if each not in pairs]
    if apart:
        raise LensError(f"position {apart[0]} has no counterpart in the other prompt: name it in align=")
    return chosen


def _sites(setting: Setting, where: str, layers: Layers) -> dict[str, Site]:
    """The rows, by their labels, and what each of them changes."""
    anatomy = setting.anatomy
    given = [] if layers is None else [layers] if isinstance(layers, (str, int)) else list(layers)
    named_heads = [each for each in given if isinstance(each, str) and block_of(each) != each]
    if named_heads and where != "heads":
        raise LensError(f"{named_heads[0]!r} is a head: pass where='heads'")
    if where == "heads":
        heads = head_places(anatomy.labels, setting.heads)
        found = {label: Site(anatomy.labels[block], head) for label, (block, head) in heads.items() if head is not None}
    else:
        named = [EMBED, *anatomy.labels] if where == "hidden" else list(anatomy.labels)
        found = {label: Site(label, where) for label in named}
    labels = list(found)
    wanted = None if layers is None else given
    return {labels[row]: found[labels[row]] for row in chosen_layers(labels, wanted, anatomy.idle)}


def _last(setting: Setting, stream: Stream) -> torch.Tensor:
    """(vocabulary,) float32, the model's own logits at the last position."""
    assert stream.logits is not None
    return stream.logits[-1, : setting.anatomy.vocabulary].float()


def _text(tokenizer: Any, prompt: Prompt, inputs: Inputs) -> str:
    """A prompt's text."""
    if isinstance(prompt, str):
        return prompt
    ids = inputs.ids[0].tolist()
    texts = token_texts(tokenizer, ids)
    return "".join(texts[each] for each in ids)

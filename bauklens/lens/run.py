"""Decodes rows of a run to a result, with the check."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bauklens.decode.reading import Reading, Values
from bauklens.decode.rows import Decoded, Way, decode, decode_parts
from bauklens.decode.tracking import NEAR, Tracking
from bauklens.decode.unembed import Rows
from bauklens.decode.ways import ways
from bauklens.errors import LensError
from bauklens.lens.how import How
from bauklens.lens.result_of import result_of
from bauklens.lens.table_rows import labels
from bauklens.model.encoding import Prompt, encode
from bauklens.model.in_hand import in_hand
from bauklens.model.proof import NotProvedError
from bauklens.model.resolving import forget, resolve
from bauklens.result.attended import Attended
from bauklens.result.result import LensResult
from bauklens.result.targets import SET
from bauklens.result.tracked import most_tracked
from bauklens.stream.run import Run
from bauklens.stream.states import trace_stream


def run(model: nn.Module, tokenizer: Any, prompt: Prompt) -> Run:
    """Runs a prompt through a model and keeps its residual stream; raises as :func:`bauklens.logit_lens` does."""
    model, tokenizer = in_hand(model, tokenizer)
    inputs = encode(model, tokenizer, prompt)
    anatomy = resolve(model, inputs)
    stream = trace_stream(model, anatomy, inputs)
    return Run(model, tokenizer, prompt, inputs, anatomy, stream, inputs.count)


def lens_of(
    run: Run, rows: Rows, how: How, *, arguments: dict[str, Any], attended: Attended | None = None
) -> LensResult:
    """Decodes rows of a run to a result; raises as :func:`bauklens.logit_lens` does.

    If the decoded logits are not the model's own, because it now behaves differently than when it was inspected, the
    next slower way is used, and the model is inspected again the next time.
    """
    failed = None
    for by, anatomy in ways(run.anatomy).items():
        try:
            found = _lens_of(replace(run, anatomy=anatomy), rows, how, by, arguments)
            own = None if attended is None else attended.part(rows.labels, range(len(rows.positions)))
            return found if own is None else replace(found, attended=own)
        except NotProvedError as error:
            forget(run.model)
            failed = failed or error
    assert failed is not None
    raise failed


def lenses_of(
    together: Run, runs: Sequence[Run], each_rows: Sequence[Rows], how: How, each_arguments: Sequence[dict[str, Any]]
) -> list[LensResult]:
    """Decodes the rows of several prompts that ran together, as if they were one, to a result of each.

    Args:
        together: the prompts, padded to one length, end to end.
        runs: each prompt by itself.
        each_rows: its rows; the same layers of each.

    Raises:
        LensError: something is wrong with the rows of one of them; :func:`lens_of` shows which one.
    """
    rows, parts = each_rows[0], []
    columns: list[int] = []
    for place, own in enumerate(each_rows):
        parts.append(range(len(columns), len(columns) + len(own.positions)))
        columns += [place * together.length + position for position in own.positions]
    states = together.stream.named(rows.stream)
    places = [labels(together.anatomy, rows.stream).index(label) for label in rows.labels]
    joined = Rows(rows.stream, states if places == list(range(len(states))) else states[places], rows.labels, columns)
    following = torch.cat([_following(run, own) for run, own in zip(runs, each_rows, strict=True)])
    by, anatomy = next(iter(ways(together.anatomy).items()))
    decoded = decode_parts(replace(together, anatomy=anatomy), joined, _reading(how, following), how.way, parts)
    return [
        result_of(run, own, how, by, arguments, found)
        for run, own, arguments, found in zip(runs, each_rows, each_arguments, decoded, strict=True)
    ]


def _lens_of(run: Run, rows: Rows, how: How, by: str, arguments: dict[str, Any]) -> LensResult:
    return result_of(run, rows, how, by, arguments, _decode(run, rows, how))


def decoded_values(run: Run, rows: Rows, how: How) -> Values:
    """What is read off the logits of rows, (layer, position, ...)."""
    return _decode(run, rows, how).values


def near_top(run: Run, rows: Rows, how: How) -> list[int]:
    """Tokens near the top of some row at the last column, the nearest first, so that related lenses track the same.

    Empty for states that are decoded whole, and if decoding fails: the lens itself raises the error.
    """
    if not how.track or run.anatomy.whole:
        return []
    last = Rows(rows.stream, rows.states, rows.labels, rows.positions[-1:])
    few = replace(how, topk=min(NEAR, run.anatomy.vocabulary), measures=(), targets=(), track=0, mass=())
    try:
        tops = decoded_values(run, last, few)["top_ids"][:, 0]
    except LensError:
        return []
    return list(dict.fromkeys(tops.T.flatten().tolist()))


def check(run: Run) -> float:
    """The largest difference between the last block's logits, decoded here at every position, and the model's own.

    Raises:
        NotProvedError: the difference is more than rounding, so that no row could be trusted.
    """
    rows = Rows("hidden", run.final[None], [run.anatomy.labels[-1]], list(range(run.inputs.count)))
    difference = _decode(run, rows, How(1, Way(precision="exact"))).check.logits
    assert difference is not None
    return difference


def _decode(run: Run, rows: Rows, how: How) -> Decoded:
    return decode(run, rows, _reading(how, _following(run, rows)), how.way, _tracking(run, rows, how))


def _reading(how: How, following: torch.Tensor) -> Reading:
    targets = [each.scored for each in how.targets]
    mass = [torch.tensor(each.token_ids, dtype=torch.int64, device="cpu") for each in how.mass]
    return Reading(how.topk, how.measures, following, targets, mass=mass)


def _following(run: Run, rows: Rows) -> torch.Tensor:
    """(column,) int64, the token that follows in the text; -1 if none does, or if it has no logit."""
    following = torch.cat([run.inputs.ids[0, 1:].cpu(), torch.tensor([-1], device="cpu")])
    if run.anatomy.classes is not None:
        following[:] = -1  # no token of the text is predicted
    following[:-1][run.inputs.filled[1:].cpu()] = -1  # a picture's positions are not tokens
    following[following >= run.anatomy.vocabulary] = -1  # some input ids are never predicted, and have no logit
    return following[rows.positions]


def _tracking(run: Run, rows: Rows, how: How) -> Tracking:
    """What to track: no more than the budget has room for, and before others the members of sets that are followed."""
    vocabulary = run.anatomy.vocabulary
    most = most_tracked(how.track, rows.everything.count, vocabulary, how.beside)
    text = [] if run.anatomy.classes is not None else run.inputs.ids[0][~run.inputs.filled].tolist()
    members = [token for target in how.targets if target.part == SET for token in target.token_ids]
    return Tracking(most, members, text, how.shared)

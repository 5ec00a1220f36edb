"""The probability of words of several tokens, each token after those before it."""

from dataclasses import replace

import numpy as np
import torch

from bauklens.decode.ways import ways
from bauklens.errors import LensError
from bauklens.lens.how import How
from bauklens.lens.plan import Plan
from bauklens.lens.run import decoded_values
from bauklens.lens.table_rows import rows_of
from bauklens.model.inputs import exceeded_context
from bauklens.progress import bar
from bauklens.result.result import LensResult
from bauklens.result.targets import Target, Wanted
from bauklens.stream.batches import traced
from bauklens.stream.kept import are_alike
from bauklens.stream.run import Run
from bauklens.stream.stream import Stream


def with_whole_words(result: LensResult, run: Run, plan: Plan, decoded: How) -> LensResult:
    """A result whose targets of several tokens have the probability of all of them.

    The model is given the text up to a position, followed by the word (teacher forcing), and the probabilities of the
    word's tokens in the rows there are multiplied. This takes one more forward pass per position; as many as possible
    run together.

    Raises:
        LensError: the text and the word are longer than the model's context; memory runs out.
    """
    if all(target.part != "whole" for target in result.targets):
        return result
    followed = [
        _followed(target, result, run, plan, decoded) if target.part == "whole" else target for target in result.targets
    ]
    return replace(result, targets=followed)


def _followed(target: Target, result: LensResult, run: Run, plan: Plan, decoded: How) -> Target:
    word = torch.tensor(target.token_ids, device=run.inputs.ids.device)
    positions = result.positions.tolist()
    _require_cut(target, run, positions)
    texts = [run.inputs.first(position + 1).followed_by(word[:-1]) for position in positions]
    longest = max(text.count for text in texts)
    context = exceeded_context(run.model, longest)
    if context is not None:
        raise LensError(
            f"the text and {target.text!r} after it have {longest:,} tokens, but the model's context is "
            f"{context:,}: pass words='first', or fewer positions"
        )
    how = replace(
        decoded,
        topk=1,
        way=replace(decoded.way, precision="exact"),
        measures=(),
        track=0,
        targets=_tokens(target),
        mass=(),
    )
    anatomy = ways(run.anatomy)[result.provenance["decoding"]["by"]]
    probability = target.probability.copy()
    tracing = replace(plan.tracing, positions=range(1 - len(word), 0))
    streams = traced(run.model, anatomy, texts, tracing)
    for column, stream in bar("Following words", "position", streams, total=len(texts)):
        if isinstance(stream, LensError):
            raise stream
        first = positions[column] + 1
        _require_causal(target, run, stream, positions[column])
        longer = replace(run, inputs=texts[column], anatomy=anatomy, stream=stream)
        rows = rows_of(
            longer, result.stream, plan.options.layers, range(first, first + len(word) - 1), how, plan.tracing.heads
        )
        each = decoded_values(longer, rows, how)["target_probs"]  # (layer, token's place, token)
        probability[:, column] *= each.diagonal(dim1=1, dim2=2).prod(dim=-1).numpy()
    none = np.full_like(probability, np.nan)
    return replace(target, probability=probability, logit=none, rank=none)


def _require_causal(target: Target, run: Run, longer: Stream, position: int) -> None:
    """Rejects a prompt whose positions see later ones: the word would follow a different text than the one shown.

    Args:
        longer: of the text up to the position, and the word after it.

    Raises:
        LensError: the states at the position are not those of the whole prompt.
    """
    here = slice(position, position + 1)
    if run.anatomy.plain and not are_alike(run.stream.states[:, here], longer.states[:, here]):
        raise LensError(
            f"{target.text!r} has several tokens, which are followed after the text up to each position, but the state "
            f"at position {position} depends on what comes later: pass words='first', or positions=-1"
        )


def _require_cut(target: Target, run: Run, positions: list[int]) -> None:
    """Rejects positions after which the prompt cannot be cut off, because its images or sounds come later.

    Raises:
        LensError: there are some.
    """
    whole = [position for position in positions if run.inputs.first(position + 1).count != position + 1]
    if not whole:
        return
    after = next((each for each in range(max(whole) + 1, run.inputs.count)), None)
    raise LensError(
        f"{target.text!r} has several tokens, which are followed after the text up to each position, but at position "
        f"{whole[0]} this prompt cannot be cut off, because its images or sounds come later: pass words='first'"
        + ("" if after is None else f", or positions=slice({after}, None)")
    )


def _tokens(target: Target) -> tuple[Wanted, ...]:
    return tuple(Wanted("", (token_id,), "token", "") for token_id in target.token_ids[1:])

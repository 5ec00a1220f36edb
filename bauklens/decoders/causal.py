"""Whether what a decoder shows is what moves the model: directions of tokens, added to states, and what comes of it.

The direction of token t at layer l is ``J' u``, of unit norm. J is the decoder's linear part there, the identity for
the logit lens; ``u = G' (w_t - w)`` is the gradient of the logit of t, less the mean logit: w_t are the head's rows, w
is their mean, and G is the linear part of the final norm: its gain, and of a LayerNorm its centring. So it is the
direction in which what the decoder shows of t rises fastest, but for the norm's scale.

0.3 of the norm of a state is added to it along this direction, at the output of block l and the last position of a
prompt, and the model goes on. The gain is by how much log p of t rises there, in the model's own final row. The control
is a random direction of equal norm.
"""

import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from bauklens.decode.decoder import LOGIT_LENS, Decoder
from bauklens.decoders.kinds import LearnedDecoder
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy, resolve
from bauklens.model.block_output import state_of, with_state
from bauklens.model.forward import last_logits_only, model_logits
from bauklens.model.guard import evaluating
from bauklens.model.inputs import Inputs, text_config
from bauklens.model.memory import free_memory, out_of_memory
from bauklens.model.proof import allowed_difference
from bauklens.model.tail import replaying
from bauklens.model.tracing import TraceDict
from bauklens.progress import bar
from bauklens.stream.states import Stream, most_with_logits, trace_stream
from bauklens.vocabulary import EMBED

SHARE = 0.3
"""Of a state's norm, how much is added to it."""

TOKENS = 8
"""Whose directions are added, for each text."""

_AT_ONCE = 32
"""States that are changed in one forward pass, each in a copy of the prompt."""

_POSITIONS = 2048
"""Of all these copies together, if each is run whole."""

_ALIKE = 1e-3
"""Nats, by how much log p in float32 may differ after the prompt's cached keys and values."""

log = logging.getLogger(__name__)


class Moved(NamedTuple):
    """What came of it: sums of gains over tokens, and how many these were.

    Attributes:
        gains, random: of each decoder, (text, layer) float64, nats; NaN if a layer has no direction.
        counts: (text, 1).
    """

    gains: list[np.ndarray]
    random: list[np.ndarray]
    counts: np.ndarray


def require_steerable(anatomy: Anatomy) -> None:
    """Refuses a model whose tokens have no directions, or whose states have more axes than these.

    Raises:
        LensError: its head is not a plain linear module, or its states are not (position, hidden).
    """
    if anatomy.post_ops is None or anatomy.whole or not anatomy.plain or anatomy.norm is not None:
        raise LensError(
            f"causal needs a head that is a plain linear module, and states (position, hidden); {anatomy.model_class} "
            "has others: leave causal out"
        )
    if len(anatomy.norms) > 1:
        raise LensError(
            f"causal needs one final norm; found {', '.join(anatomy.norms)} in {anatomy.model_class}: leave causal out"
        )


def moved_by(
    asked: Sequence[tuple[Decoder, Sequence[str]]],
    model: nn.Module,
    prompts: Sequence[Inputs],
    frequency: np.ndarray,
    *,
    tokens: int,
    seed: int,
) -> Moved:
    """The gains of tokens by directions of decoders.

    Args:
        asked: decoders, and the labels of their layers.
        prompts: one prompt each, at whose last position states are changed.
        frequency: (vocabulary,), how often each token is drawn, in proportion; the model's own top token is left out.
        tokens: so many for each prompt, the same for all decoders.
        seed: draws tokens and random directions.

    Raises:
        LensError: a decoder cannot be differentiated; or memory runs out for a single state.
    """
    gains: list[list[np.ndarray]] = [[] for _ in asked]
    random: list[list[np.ndarray]] = [[] for _ in asked]
    counts = np.zeros((len(prompts), 1))
    for number, inputs in enumerate(bar("Steering", "text", list(prompts))):
        anatomy = resolve(model, inputs)
        prompt = _Prompt(model, anatomy, inputs, trace_stream(model, anatomy, inputs))
        chosen = _drawn(frequency, prompt.top, tokens, np.random.default_rng([seed, 1, number]))
        counts[number] = len(chosen)
        found = _sums(asked, prompt, chosen, [seed, 2, number])
        for place, (_, labels) in enumerate(asked):
            gains[place].append(np.array([found[place, label] for label in labels]))
            random[place].append(np.array([found[None, label] for label in labels]))
    return Moved([np.stack(each) for each in gains], [np.stack(each) for each in random], counts)


class _Prompt(NamedTuple):
    """A prompt, and what a forward pass left of it."""

    model: nn.Module
    anatomy: Anatomy
    inputs: Inputs
    stream: Stream

    @property
    def last(self) -> torch.Tensor:
        """(vocabulary,), the logits of the last position."""
        assert self.stream.logits is not None
        return self.stream.logits[-1]

    @property
    def top(self) -> int:
        """The model's own top token there."""
        return int(self.last.argmax())


def _drawn(frequency: np.ndarray, top: int, count: int, random: np.random.Generator) -> list[int]:
    """Ids of tokens, as often as they come in texts, without one of them."""
    shares = frequency.copy()
    shares[top] = 0
    total = shares.sum()
    return random.choice(len(shares), count, p=shares / total).tolist() if total else []


def _sums(
    asked: Sequence[tuple[Decoder, Sequence[str]]], prompt: _Prompt, chosen: list[int], seed: list[int]
) -> dict[tuple[int | None, str], float]:
    """(number of a decoder, or None for random directions; label) -> the sum of the gains of some tokens."""
    named = [EMBED, *prompt.anatomy.labels]
    labels = [label for label in named if any(label in own for _, own in asked)]
    towards = _logit_gradients(prompt, chosen)
    each: list[tuple[tuple[int | None, str], torch.Tensor]] = []
    for label in labels:
        row = named.index(label)
        state = prompt.stream.states[row, -1]
        random = np.random.default_rng([*seed, row]).normal(size=tuple(towards.shape)).astype(np.float32)
        own = [(place, decoder) for place, (decoder, mapped) in enumerate(asked) if label in mapped]
        directions: list[tuple[int | None, torch.Tensor]] = [(None, torch.from_numpy(random).to(towards))]
        directions += [(place, _pulled_back(decoder, label, state, towards)) for place, decoder in own]
        size = SHARE * torch.linalg.vector_norm(state.float())
        each += [((place, label), size * nn.functional.normalize(some, dim=-1)) for place, some in directions]
    found = dict.fromkeys((key for key, _ in each), float("nan"))
    works = [
        (key, added) for key, added in each if len(chosen) and added.any(dim=-1).all() and _is_seen(prompt, key[1])
    ]
    changes = [
        _Change(named.index(key[1]), state, token)
        for key, added in works
        for state, token in zip(added, chosen, strict=True)
    ]
    gains = _gains(prompt, changes).reshape(-1, max(1, len(chosen)))
    return found | {key: float(gain.sum()) for (key, _), gain in zip(works, gains, strict=True)}


def _is_seen(prompt: _Prompt, label: str) -> bool:
    """Whether a module returns the state of a row, so that it can be changed there."""
    return label != EMBED or prompt.anatomy.embedding is not None


def _logit_gradients(prompt: _Prompt, tokens: Sequence[int]) -> torch.Tensor:
    """(token, hidden) float32: of each token's logit less the mean logit, through head and norm, the scale as it is."""
    anatomy, final = prompt.anatomy, prompt.stream.states[-1]
    with (
        replaying(
            prompt.model,
            anatomy,
            prompt.inputs,
            norm="final" if anatomy.norms else "own",
            final=final,
            to_head=True,
            in_place=anatomy.in_place,
        ) as tail,
        torch.enable_grad(),
    ):
        weight = cast("nn.Linear", tail.head).weight.detach()[: anatomy.vocabulary]
        mean = weight.mean(dim=0, dtype=torch.float32)
        rows = weight[torch.tensor(tokens, dtype=torch.int64, device=weight.device)].float() - mean
        given = final[-1:].expand(len(rows), 1, -1).clone().requires_grad_()
        inputs = tail.head_inputs(given, torch.tensor([prompt.inputs.count - 1]))
        (found,) = torch.autograd.grad(inputs, given, rows[:, None].to(inputs))
    return found[:, 0].float()


def _pulled_back(decoder: Decoder, label: str, state: torch.Tensor, towards: torch.Tensor) -> torch.Tensor:
    """(token, hidden) float32, ``J' u`` of each row u; zeros if a learned decoder is a constant there.

    Raises:
        LensError: the decoder is a function that cannot be differentiated.
    """
    if decoder is LOGIT_LENS:
        return towards
    if isinstance(decoder, LearnedDecoder):
        weight = decoder.weight(label)
        back = torch.zeros_like(towards) if weight is None else towards @ weight.to(towards)
        return back + towards if decoder.is_residual else back
    with torch.enable_grad():
        given = state.expand(1, len(towards), -1).clone().requires_grad_()
        try:
            found = decoder(given, [label])
            (back,) = torch.autograd.grad(found, given, towards[None].to(found))
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, LensError) or out_of_memory(error):
                raise
            raise LensError(
                f"the decoder {decoder.name!r} cannot be differentiated, so that tokens have no directions: leave "
                f"causal out ({error!s:.200})"
            ) from None
    return back[0].float()


class _Change(NamedTuple):
    """What is added to the state of a row of the table, and the token whose log p is looked at."""

    row: int
    added: torch.Tensor
    token: int


def _gains(prompt: _Prompt, changes: Sequence[_Change]) -> np.ndarray:
    """(change,) float64, how much each raises log p of its token at the last position."""
    if not changes:
        return np.zeros(0)
    found: list[float] = []
    with evaluating(prompt.model, in_place=prompt.anatomy.in_place) as running:
        passes = _Cached.of(running, prompt) or _Whole(running, prompt)
        tokens = torch.tensor([each.token for each in changes], device=passes.unchanged.device)
        before, limit = passes.unchanged[tokens], passes.at_once
        while len(found) < len(changes):
            some = changes[len(found) : len(found) + limit]
            try:
                with _changing(running, prompt.anatomy, some):
                    after = passes.logits(len(some)).float().log_softmax(dim=-1)
            except (RuntimeError, MemoryError) as error:
                if isinstance(error, LensError) or not out_of_memory(error):
                    raise
                if limit == 1:
                    raise LensError(f"out of memory for a single changed state: {error}") from None
                free_memory(error)
                limit //= 2
                continue
            start = len(found)
            own = after.gather(1, tokens[start : start + len(some), None])[:, 0]
            found += (own - before[start : start + len(some)]).double().cpu().tolist()
    return np.array(found)


@contextmanager
def _changing(running: nn.Module, anatomy: Anatomy, changes: Sequence[_Change]) -> Iterator[None]:
    """Adds to the state of the last position, for each prompt of a batch another one, at another row of the table."""
    row = 0

    def changed(output: Any, layer: str) -> Any:
        nonlocal row
        row = 0 if layer == anatomy.embedding else row + 1
        own = [place for place, each in enumerate(changes) if each.row == row]
        if not own:
            return output
        state = state_of(output, anatomy.parts).clone()
        state[own, -1] += torch.stack([changes[place].added for place in own]).to(state)
        return with_state(output, state, anatomy.parts)

    names = [*([] if anatomy.embedding is None else [anatomy.embedding]), *dict.fromkeys(anatomy.blocks)]
    with TraceDict(running, names, retain_output=False, edit_output=changed):
        yield


class _Whole:
    """Forward passes of copies of a prompt, each from its beginning.

    Attributes:
        at_once: the most copies.
        unchanged: (vocabulary,) float32, log p at the last position.
    """

    def __init__(self, running: nn.Module, prompt: _Prompt) -> None:
        self._running, self._ids, self._vocabulary = running, prompt.inputs.ids, prompt.anatomy.vocabulary
        hooked = prompt.anatomy.hooked  # by someone who may look for all positions of one prompt
        self._options = {} if hooked else last_logits_only(running)
        most = _POSITIONS if self._options else min(_POSITIONS, most_with_logits(prompt.anatomy))
        self.at_once = 1 if hooked else max(1, min(_AT_ONCE, most // prompt.inputs.count))
        self.unchanged = self.logits(min(2, self.at_once))[0].float().log_softmax(dim=-1)

    def logits(self, count: int) -> torch.Tensor:
        """(copy, vocabulary), at the last position."""
        logits = model_logits(self._running, Inputs(self._ids.expand(count, -1)), **self._options)
        return logits[:, -1, : self._vocabulary]


class _Cached:
    """Forward passes of the last position, after the keys and values of those before it; made by :meth:`of`.

    Attributes: as those of :class:`_Whole`.
    """

    at_once = _AT_ONCE

    def __init__(self, running: nn.Module, prompt: _Prompt) -> None:
        ids = prompt.inputs.ids
        self._running, self._last, self._vocabulary = running, ids[:, -1:], prompt.anatomy.vocabulary
        known = inspect.signature(running.forward).parameters
        self._name = "cache" if "cache" in known else "past_key_values"  # as older releases of transformers call it
        passed = running(input_ids=ids[:, :-1], use_cache=True, return_dict=True, **last_logits_only(running))
        self._cache = getattr(passed, self._name)
        self.unchanged = self.logits(2)[0].float().log_softmax(dim=-1)

    @classmethod
    def of(cls, running: nn.Module, prompt: _Prompt) -> "_Cached | None":
        """These, if the model has such a cache and log p is the same as without it; else None."""
        codebooks = getattr(text_config(running), "num_codebooks", 1)
        if prompt.anatomy.hooked or codebooks != 1 or prompt.inputs.count < 2:
            return None
        try:
            made = cls(running, prompt)
        except Exception as error:  # whatever a model raises that has another cache, or none
            log.debug("no cache for %s: %r", prompt.anatomy.model_class, error)
            return None
        own = prompt.last.float()
        differences = (made.unchanged - own.log_softmax(dim=-1).to(made.unchanged)).abs()
        is_wide = prompt.stream.states.dtype in (torch.float32, torch.float64)
        allowed = _ALIKE if is_wide else float(allowed_difference(own, prompt.stream.states.dtype))
        largest = float(differences[made.unchanged.isfinite()].max())
        if not largest <= allowed:
            log.debug("the cache of %s changes log p by %.3g", prompt.anatomy.model_class, largest)
            return None
        return made

    def logits(self, count: int) -> torch.Tensor:
        """(copy, vocabulary), at the last position."""
        cache = deepcopy(self._cache)
        cache.batch_repeat_interleave(count)
        ids, given = self._last.expand(count, -1), {self._name: cache}
        passed = self._running(input_ids=ids, use_cache=True, return_dict=True, **given)
        return passed.logits[:, -1, : self._vocabulary]  # type: ignore[no-any-return]

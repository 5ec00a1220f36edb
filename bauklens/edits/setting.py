"""What an edit acts on: a model, a prompt, and the directions of tokens there."""

from collections.abc import Callable, Collection, Hashable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import nn

from bauklens.decode.decoder import LOGIT_LENS, Basis, Decoder
from bauklens.decoders.chosen import chosen_decoders
from bauklens.decoders.fits import require_fit
from bauklens.decoders.learned import LearnedDecoder
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.guard import evaluating, is_sharded
from bauklens.model.heads import Heads
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import heads_of, sublayers_of
from bauklens.model.sublayers import Sublayers
from bauklens.model.weights import weights_of
from bauklens.result.targets import SET, Wanted, wanted_targets
from bauklens.result.tokens import token_texts
from bauklens.stream.states import trace_stream
from bauklens.stream.stream import Stream
from bauklens.stream.tracing import Tracing
from bauklens.vocabulary import EMBED

Token = str | int
"""A text, whose first token is used, or a token's id."""


Made = TypeVar("Made")

_SAME = 0.999
"""The least cosine between what a head makes of a state and what its weights do."""


class Site(NamedTuple):
    """A layer at which an edit acts, and what is changed there; see :class:`bauklens.edits.Edit`."""

    label: str
    where: str | int


class Setting:
    """A model and a prompt that edits are bound to.

    Args:
        model: the model itself.
        inputs: the prompt, as it is without an edit.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, anatomy: Anatomy, inputs: Inputs) -> None:
        if not anatomy.plain:
            raise LensError(
                f"edits need a model with a single stream of (position, hidden); {anatomy.model_class} has another kind"
            )
        self.model, self.tokenizer, self.anatomy, self.inputs = model, tokenizer, anatomy, inputs
        self._decoders: dict[int, tuple[Any, Decoder]] = {}
        self._pulled: dict[tuple[int, ...], torch.Tensor] = {}
        self._made: dict[tuple[int, Hashable], tuple[object, Any]] = {}

    def once(self, owner: object, what: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make`` returns, called once for each owner and setting, so that all layers of an edit share another
        run.
        """
        key = id(owner), what
        if key not in self._made:
            self._made[key] = owner, make()
        return cast("Made", self._made[key][1])

    @cached_property
    def sublayers(self) -> Sublayers:
        """Those of every block."""
        try:
            return sublayers_of(self.model, self.anatomy, self.inputs)
        except LensError as error:  # its message names an option of a lens
            raise LensError(str(error).replace("stream='hidden' or 'delta'", "where='hidden'")) from None

    def sublayers_for(self, wheres: Collection[str | int]) -> Sublayers | None:
        """Those of every block, if what they write, or the stream between them, is to be changed.

        Raises:
            LensError: that stream is to be changed, but does not exist.
        """
        if not set(wheres) - {"hidden"}:
            return None
        if "mid" in wheres and not self.sublayers.sequential:
            raise LensError(
                f"the blocks of {self.anatomy.model_class} give attention and MLP the same state, so they have no "
                "'mid' between the two: pass where='attention', 'mlp' or 'hidden'"
            )
        return self.sublayers

    @cached_property
    def heads(self) -> tuple[Heads | str, ...]:
        """(layer,), those of every block's attention, or why they cannot be told apart."""
        try:
            return heads_of(self.model, self.anatomy, self.inputs)
        except LensError as error:
            raise LensError(str(error).replace("pass stream=", "pass where=")) from None

    def head_count(self, label: str) -> int:
        """How many heads a block's attention has; 0 if they cannot be told apart."""
        found = self.heads[self.anatomy.labels.index(label)]
        return found.count if isinstance(found, Heads) else 0

    def sites(self, where: str | int) -> list[Site]:
        """Every layer at which that can be changed."""
        labels = [EMBED, *self.anatomy.labels] if where == "hidden" else list(self.anatomy.labels)
        has = [label for label in labels if not isinstance(where, int) or where < self.head_count(label)]
        return [Site(label, where) for label in has]

    @cached_property
    def clean(self) -> Stream:
        """The states of the prompt without an edit."""
        return trace_stream(self.model, self.anatomy, self.inputs, Tracing(positions=-1))

    def stream_of(self, inputs: Inputs, wheres: Sequence[str | int]) -> Stream:
        """The states of another prompt, with what its sublayers write if that is wanted."""
        heads = self.heads if any(isinstance(each, int) for each in wheres) else None
        tracing = Tracing(sublayers=self.sublayers_for(wheres), heads=heads, positions=-1)
        return trace_stream(self.model, self.anatomy, inputs, tracing)

    def decoder(self, given: Any) -> Decoder:
        """The decoder that a caller names, which fits the model."""
        known = self._decoders.get(id(given))
        if known is None:
            (found,) = chosen_decoders(given)
            require_fit(found, self.model, self.anatomy, ["hidden"], "own")
            if found is not LOGIT_LENS and not isinstance(found, LearnedDecoder):
                raise LensError(
                    f"the decoder {found.name!r} has no matrix, so tokens have no direction in its basis: pass a "
                    "learned decoder, or None for the logit lens"
                )
            known = self._decoders[id(given)] = (given, found)
        return known[1]

    def layers(self, given: Any) -> list[str]:
        """The labels of the blocks that a decoder has a map for."""
        basis = Basis(self.decoder(given), self.anatomy)
        return [label for label in self.anatomy.labels if basis.covers(label)]

    def token_ids(self, tokens: Sequence[Token]) -> list[int]:
        """The ids of tokens, each once; of a text of several, the first.

        Raises:
            LensError: one is a set of tokens, or none.
        """
        return list(dict.fromkeys(each.token_ids[0] for each in self._wanted(tokens)))

    def several(self, tokens: Sequence[Token]) -> dict[str, str]:
        """Texts of several tokens -> the first token of each, whose direction is used."""
        found = [each for each in self._wanted(tokens) if each.part == "first"]
        texts = token_texts(self.tokenizer, [each.token_ids[0] for each in found])
        return {each.text: texts[each.token_ids[0]] for each in found}

    def _wanted(self, tokens: Sequence[Token]) -> list[Wanted]:
        found: list[Wanted] = wanted_targets(self.tokenizer, self.anatomy.vocabulary, list(tokens), "first")
        if any(each.part == SET for each in found):
            raise LensError("an edit takes single tokens, not {name: [...]}: pass a text or an id for each")
        return found

    def directions(self, decoder: Any, token_ids: Sequence[int] | torch.Tensor, site: Site) -> torch.Tensor:
        """(..., token, hidden) float32, the unit direction along which each token's logit rises most.

        The gradient of the token's logit, minus the mean logit, through the decoder's map and the model's final norm at
        the mean of the prompt's final states: ``J' N' (W[t] - mean W)``. Without a decoder, J is left out.

        Raises:
            LensError: the decoder has no map for this layer, or the model's tail is not run position by position.
        """
        if self.anatomy.whole:
            raise LensError(
                f"the logits of {self.anatomy.model_class} can only be computed at all positions at once (it may "
                "have hooks outside its blocks), so no token has a direction: pass edits without tokens"
            )
        found = self.decoder(decoder)
        basis = Basis(found, self.anatomy)
        if not basis.covers(site.label):
            raise LensError(
                f"the decoder {found.name!r} has no map for layer {site.label}, so tokens have no direction there"
            )
        pulled = self._pulled_rows(token_ids)
        if basis.maps(site.label) and isinstance(found, LearnedDecoder):
            pulled = pulled @ found.matrix(site.label).to(pulled)
        lengths = pulled.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        unit: torch.Tensor = pulled / lengths
        return unit

    def read(self, decoder: Any, states: torch.Tensor, site: Site) -> torch.Tensor:
        """(row, hidden) -> (row, vocabulary), scores of tokens in states, ordered like a decoder's logits.

        Only the norm and the head are applied, while the model runs, and not what the model does to its logits.

        Raises:
            LensError: the model does more than that between its last block and its logits.
        """
        if self.anatomy.post_ops is None or self.anatomy.post_ops.scale <= 0:
            raise LensError(
                f"{self.anatomy.model_class} computes its logits with more than a norm and a head, so they cannot be "
                "read while it runs: name the tokens to ablate"
            )
        own = self.clean.states.dtype
        mapped = Basis(self.decoder(decoder), self.anatomy)(states[None].to(own), [site.label])[0]
        head = self.model.get_submodule(self.anatomy.head)
        logits: torch.Tensor = head(self._normed(self.model, mapped))
        return logits[..., : self.anatomy.vocabulary]

    def _normed(self, model: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """What the modules between the last block and the head make of states."""
        for name in self.anatomy.tail:
            if name != self.anatomy.head:
                module = model.get_submodule(name)
                states = module(states.to(next((each.device for each in module.parameters()), states.device)))
        return states

    @cached_property
    def _head(self) -> torch.Tensor:
        """(vocabulary, width), the head's weights."""
        head = self.model.get_submodule(self.anatomy.head)
        weight = None if is_sharded(self.model) else weights_of(head)
        if weight is None and getattr(head, "weight", None) is not None:
            raise LensError(
                f"the weights of the head of {self.anatomy.model_class} cannot be read (it is offloaded, quantized "
                "or split over ranks), so no token has a direction: load the model with a head that is in memory"
            )
        if weight is None or weight.dim() != 2 or len(weight) < self.anatomy.vocabulary:
            raise LensError(
                f"the head of {self.anatomy.model_class} has no row for each token: no token has a direction"
            )
        found: torch.Tensor = weight.detach()[: self.anatomy.vocabulary]
        self._require_all_of_head(found)
        return found

    def _require_all_of_head(self, rows: torch.Tensor) -> None:
        """Rejects a head that does more than multiply by its weights, such as one with an adapter."""
        probe = torch.linspace(-1, 1, rows.shape[1], dtype=torch.float32, device="cpu").to(rows)
        with evaluating(self.model, in_place=self.anatomy.in_place) as running, torch.no_grad():
            head = running.get_submodule(self.anatomy.head)
            one, other = head(torch.stack([probe, torch.zeros_like(probe)])).float()[:, : len(rows)]
        if not torch.cosine_similarity(one - other, rows.float() @ probe.float(), dim=0) > _SAME:
            raise LensError(
                f"the head of {self.anatomy.model_class} does more than multiply by its weights (it may have an "
                "adapter), so tokens have no direction: merge the adapter into the model (merge_and_unload)"
            )

    @cached_property
    def _mean_row(self) -> torch.Tensor:
        return self._head.float().mean(dim=0)

    def _pulled_rows(self, token_ids: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """(..., token, hidden) float32, ``N' (W[t] - mean W)``, which is the same at every layer."""
        if not isinstance(token_ids, torch.Tensor):
            named = tuple(token_ids)
            if named not in self._pulled:
                ids = torch.tensor(named, dtype=torch.int64, device=self._head.device)
                self._pulled[named] = self._pulled_rows(ids)
            return self._pulled[named]
        rows = self._head[token_ids.to(self._head.device)].float() - self._mean_row
        return self._before_norm(rows.flatten(0, -2)).view(*rows.shape[:-1], -1)

    def _before_norm(self, rows: torch.Tensor) -> torch.Tensor:
        """(token, head width) -> (token, hidden), gradients with respect to the state that the final norm is given."""
        states = self.clean.states[-1]
        mean = (states[1:] if len(states) > 1 else states).float().mean(dim=0)
        with evaluating(self.model, in_place=self.anatomy.in_place) as running, torch.enable_grad():
            x = mean.to(states.dtype).expand(len(rows), -1).clone().requires_grad_()
            y = self._normed(running, x)
            if y is x:
                return rows
            (found,) = torch.autograd.grad(y, x, rows.to(y))
        return found.float().to(rows.device)

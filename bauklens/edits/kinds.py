"""What edits do to states, which are (batch, position, hidden) float32, together with their positions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from typing_extensions import Self

from bauklens.arguments import checked_count
from bauklens.decode.decoder import LOGIT_LENS
from bauklens.edits.setting import Setting, Site, Token
from bauklens.errors import LensError
from bauklens.stream.changes import Change


@dataclass(frozen=True)
class _Kind:
    """What kinds of edits share."""

    @property
    def decoder(self) -> Any:
        """None: no directions are taken."""
        return None

    @property
    def takes_directions(self) -> bool:
        """False: no directions are taken."""
        return False

    @property
    def can_be_random(self) -> bool:
        """False: it has no direction to replace."""
        return False

    def randomized(self, seed: int) -> Self:  # noqa: ARG002
        """The edit itself: it has no direction to replace."""
        return self

    def only_at(self, count: int) -> list[int] | None:  # noqa: ARG002
        """None: it can act at every position."""
        return None


@dataclass(frozen=True)
class _Directed(_Kind):
    """What the kinds that move states along directions of tokens share.

    Attributes:
        decoder: whose directions.
        strength: how much; 0 changes nothing, to the last bit.
        seed: of random directions instead, as a control; None for the tokens' own.
    """

    decoder: Any = None
    strength: float = 1.0
    seed: int | None = None

    @property
    def takes_directions(self) -> bool:
        """True."""
        return True

    @property
    def can_be_random(self) -> bool:
        """True."""
        return True

    def randomized(self, seed: int) -> Self:
        """The same with random directions."""
        return replace(self, seed=seed)

    def _described(self, setting: Setting | None, tokens: Mapping[str, Sequence[Token]]) -> dict[str, Any]:
        """As plain values, the tokens with their ids if there is a tokenizer to look them up."""
        named: dict[str, Any] = {}
        several: list[str] = []
        for name, given in tokens.items():
            one = given[0] if name != "tokens" else list(given)
            named[name] = one
            if setting is not None:
                named[f"{name} ids"] = setting.token_ids(given)
                several += [f"{first!r} of {whole!r}" for whole, first in setting.several(given).items()]
        decoder = _named(self.decoder) if setting is None else setting.decoder(self.decoder).name
        control = {} if self.seed is None else {"random directions, seed": self.seed}
        first = {"first token": ", ".join(several)} if several else {}
        placed = {"edit": type(self).__name__.lower(), **named, "decoder": decoder, "strength": self.strength}
        return placed | first | control


@dataclass(frozen=True)
class Swap(_Directed):
    """``h + strength * c * (d_to - d_from)``, with c the coordinate of h along the unit direction d_from."""

    source: Token = ""
    target: Token = ""

    def at(self, setting: Setting, site: Site) -> Change:
        """The change at one layer."""
        ids = [*setting.token_ids([self.source]), *setting.token_ids([self.target])]
        if ids[0] == ids[1]:
            raise LensError(f"{self.source!r} and {self.target!r} begin with the same token: there is nothing to swap")
        one, other = setting.directions(self.decoder, ids, site)
        move = other - one
        if self.seed is not None:
            move = move.norm() * _random(1, move, self.seed, setting, site)[0]

        def change(states: torch.Tensor, _positions: torch.Tensor) -> torch.Tensor:
            coordinate = states @ one.to(states.device)
            moved: torch.Tensor = self.strength * coordinate[..., None] * move.to(states.device)
            return states + moved

        return change if self.strength else _nothing

    def described(self, setting: Setting | None) -> dict[str, Any]:
        """As plain values."""
        return self._described(setting, {"from": [self.source], "to": [self.target]})


@dataclass(frozen=True)
class Steer(_Directed):
    """``h + strength * rms(h) * d``: in units of the state's typical coordinate, the root of its mean square."""

    token: Token = ""

    def at(self, setting: Setting, site: Site) -> Change:
        """The change at one layer."""
        (direction,) = setting.directions(self.decoder, setting.token_ids([self.token]), site)
        if self.seed is not None:
            (direction,) = _random(1, direction, self.seed, setting, site)

        def change(states: torch.Tensor, _positions: torch.Tensor) -> torch.Tensor:
            typical = states.square().mean(dim=-1, keepdim=True).sqrt()
            added: torch.Tensor = self.strength * typical * direction.to(states.device)
            return states + added

        return change if self.strength else _nothing

    def described(self, setting: Setting | None) -> dict[str, Any]:
        """As plain values."""
        return self._described(setting, {"token": [self.token]})


@dataclass(frozen=True)
class Ablate(_Directed):
    """``h - strength * Q Q' h``, with Q an orthonormal basis of the span of the tokens' directions."""

    tokens: tuple[Token, ...] = ()

    def at(self, setting: Setting, site: Site) -> Change:
        """The change at one layer."""
        directions = setting.directions(self.decoder, setting.token_ids(self.tokens), site)
        if self.seed is not None:
            directions = _random(len(directions), directions[0], self.seed, setting, site)
        basis = _basis(directions)

        def change(states: torch.Tensor, _positions: torch.Tensor) -> torch.Tensor:
            own = basis.to(states.device)
            return states - self.strength * (states @ own.T) @ own

        return change if self.strength else _nothing

    def described(self, setting: Setting | None) -> dict[str, Any]:
        """As plain values."""
        return self._described(setting, {"tokens": self.tokens})


@dataclass(frozen=True)
class AblateTop(_Directed):
    """Like :class:`Ablate`, but at each position with the k tokens that the decoder ranks highest there."""

    k: int = 10

    def __post_init__(self) -> None:
        checked_count("k", self.k)

    def at(self, setting: Setting, site: Site) -> Change:
        """The change at one layer."""
        setting.directions(self.decoder, [0], site)  # refuses a layer without a map

        def change(states: torch.Tensor, _positions: torch.Tensor) -> torch.Tensor:
            rows = states.flatten(0, 1)
            if self.seed is None:
                directions = setting.directions(self.decoder, self._top(setting, site, rows), site)
            else:
                directions = _random(self.k, rows[0], self.seed, setting, site).expand(len(rows), -1, -1)
            basis = _basis(directions.to(rows))  # (row, k, hidden)
            along = torch.einsum("rkh,rh->rk", basis, rows)
            return (rows - self.strength * torch.einsum("rkh,rk->rh", basis, along)).view(states.shape)

        return change if self.strength else _nothing

    def described(self, setting: Setting | None) -> dict[str, Any]:
        """As plain values."""
        return {**self._described(setting, {}), "edit": "ablate top", "k": self.k}

    def _top(self, setting: Setting, site: Site, rows: torch.Tensor) -> torch.Tensor:
        """(row, k), the ids of the tokens that the decoder ranks highest in each state."""
        return setting.read(self.decoder, rows, site).topk(self.k, dim=-1).indices


@dataclass(frozen=True, eq=False)
class Add(_Kind):
    """``h + strength * v``."""

    vector: torch.Tensor
    strength: float = 1.0
    seed: int | None = None

    @property
    def can_be_random(self) -> bool:
        """True."""
        return True

    def randomized(self, seed: int) -> Self:
        """The same with a random vector of the same length."""
        return replace(self, seed=seed)

    def at(self, setting: Setting, site: Site) -> Change:
        """The change at one layer."""
        if self.vector.shape != (setting.anatomy.width,):
            raise LensError(
                f"the vector has shape {tuple(self.vector.shape)}, but a state of {setting.anatomy.model_class} has "
                f"{setting.anatomy.width:,} numbers"
            )
        vector = self.vector.float()
        if self.seed is not None:
            vector = vector.norm() * _random(1, vector, self.seed, setting, site)[0]

        def change(states: torch.Tensor, _positions: torch.Tensor) -> torch.Tensor:
            return states + self.strength * vector.to(states.device)

        return change if self.strength else _nothing

    def described(self, setting: Setting | None) -> dict[str, Any]:  # noqa: ARG002
        """As plain values."""
        control = {} if self.seed is None else {"random directions, seed": self.seed}
        return {
            "edit": "add",
            "length": round(float(self.vector.float().norm()), 6),
            "strength": self.strength,
            **control,
        }


@dataclass(frozen=True)
class Zero(_Kind):
    """Replaces what is there with 0."""

    def at(self, setting: Setting, site: Site) -> Change:  # noqa: ARG002
        """The change at one layer."""
        return lambda states, _: torch.zeros_like(states)

    def described(self, setting: Setting | None) -> dict[str, Any]:  # noqa: ARG002
        """As plain values."""
        return {"edit": "zero"}


def _basis(directions: torch.Tensor) -> torch.Tensor:
    """(..., direction, hidden) -> (..., rank, hidden), orthonormal, with zeros for directions that add nothing."""
    _, sizes, basis = torch.linalg.svd(directions.float(), full_matrices=False)
    significant = sizes > 1e-5 * sizes[..., :1]
    found: torch.Tensor = basis * significant[..., None]
    return found


def _random(count: int, like: torch.Tensor, seed: int, setting: Setting, site: Site) -> torch.Tensor:
    """(count, hidden), orthonormal directions; the same for the same seed and layer."""
    number = setting.anatomy.labels.index(site.label) if site.label in setting.anatomy.labels else -1
    generator = torch.Generator().manual_seed(1_000_003 * seed + number + 1)
    drawn = torch.randn(like.shape[-1], count, generator=generator, dtype=torch.float32, device="cpu")
    found: torch.Tensor = torch.linalg.qr(drawn).Q.T.to(like.device)
    return found


def _nothing(states: torch.Tensor, _positions: torch.Tensor) -> torch.Tensor:
    """The states themselves."""
    return states


def _named(decoder: Any) -> str:
    return LOGIT_LENS.name if decoder is None else str(getattr(decoder, "name", decoder))

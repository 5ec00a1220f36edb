"""Sets of any number of tokens of which only the total probability is followed. Needs no torch."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from bauklens.arguments import is_whole_number
from bauklens.errors import LensError


class Mass(NamedTuple):
    """A set of tokens.

    Attributes:
        name: what it is called.
        token_ids: the ids of its tokens, each once, ascending.
    """

    name: str
    token_ids: tuple[int, ...]


def wanted_mass(vocabulary: int, mass: Any) -> tuple[Mass, ...]:
    """The sets of tokens that a caller asks for.

    Args:
        vocabulary: how many tokens the model has.
        mass: names -> lists of token ids; an id that is given twice counts once.

    Raises:
        LensError: this is not a mapping of names to ids, or a set is empty, or an id is not the model's.
    """
    if mass is None:
        return ()
    if not isinstance(mass, Mapping) or not mass:
        raise LensError(f'mass must be {{name: token ids}}, such as {{"en": [262, 290]}}; got {mass!r:.80}')
    return tuple(Mass(name, _ids(vocabulary, name, ids)) for name, ids in mass.items())


def described_mass(mass: Any) -> Any:
    """The sets as a result's provenance records them: how many tokens, and a digest instead of their ids.

    The digest is of the ids as decimal numbers, each once, ascending, with a space between.
    """
    if not isinstance(mass, Mapping):
        return mass
    each = {name: sorted({int(token_id) for token_id in ids}) for name, ids in mass.items()}
    return {
        name: {"tokens": len(ids), "sha256 of the ids": hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()}
        for name, ids in each.items()
    }


def _ids(vocabulary: int, name: Any, ids: Any) -> tuple[int, ...]:
    if not isinstance(name, str) or not name.strip():
        raise LensError(f"the name of a set of mass= must be a text that is not blank; got {name!r:.80}")
    if not isinstance(ids, list):
        raise LensError(f"mass[{name!r}] must be a list of token ids; got {ids!r:.80}")
    if not ids:
        raise LensError(f"mass[{name!r}] is empty: pass at least one token id")
    for each in ids:
        if not is_whole_number(each):
            hint = ": texts go to targets=" if isinstance(each, str) else ""
            raise LensError(f"mass[{name!r}] must hold token ids; got {each!r:.80}{hint}")
        if not 0 <= each < vocabulary:
            raise LensError(
                f"mass[{name!r}] has {each}, which is not a token id: the model's vocabulary has {vocabulary:,} tokens"
            )
    return tuple(sorted({int(each) for each in ids}))

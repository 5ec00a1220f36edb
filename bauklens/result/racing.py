"""Which of several concepts is ahead at each layer, and which layers change the lead. Needs no torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bauklens.arguments import as_lists
from bauklens.errors import LensError
from bauklens.result.measures import MASS
from bauklens.result.targets import SET, Which, distinct_names

if TYPE_CHECKING:
    from bauklens.result.result import LensResult


class Lead(NamedTuple):
    """A change of the lead.

    Attributes:
        row: the first row in which another is ahead.
        before, after: the places of the old leader and of the new one.
    """

    row: int
    before: int
    after: int


class Race(NamedTuple):
    """Concepts at one position.

    Attributes:
        column: of the table.
        names: (concept,), their names, each once.
        values: (concept, layer), their probabilities.
        changes: the changes of the lead, in the order of the layers.
    """

    column: int
    names: tuple[str, ...]
    values: np.ndarray
    changes: tuple[Lead, ...]


def race_of(result: "LensResult", concepts: Sequence[Which] | None, position: int | None) -> Race:
    """Two or more concepts at one position.

    Args:
        concepts: targets, or sets of ``mass=`` by their name or as ``"mass:en"``; None means all targets, or if there
            are fewer than two, all sets of ``mass=``.
        position: as of :meth:`bauklens.LensResult.column_of`.

    Raises:
        LensError: these are fewer than two, or one is not known or given twice.
    """
    column = result.column_of(position)
    chosen: list[Any] = [as_lists(each) if hasattr(each, "tolist") else each for each in _chosen(result, concepts)]
    if len(chosen) < 2:
        raise LensError(f"a race needs two concepts or more; got {len(chosen)}: pass targets={{...}} or mass={{...}}")
    found = [_values(result, each) for each in chosen]
    keys = [key for *_, key in found]
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise LensError(f"{chosen[place]!r} is given twice: pass each concept once")
    names = distinct_names([name for name, *_ in found], [key if isinstance(key, tuple) else () for key in keys])
    values = np.stack([each[:, column] for _, each, _ in found])
    return Race(column, tuple(names), values, tuple(_changes(values)))


def _chosen(result: "LensResult", concepts: Sequence[Which] | None) -> list[Any]:
    if concepts is None:
        masses = [f"{MASS}{name}" for name in result.mass]
        targets = [each.token_ids if each.part != SET else each.text for each in result.targets]
        return targets if len(targets) > 1 or len(masses) < 2 else masses
    if isinstance(concepts, (str, int)):
        return [concepts]
    return list(concepts)


def _values(result: "LensResult", which: Any) -> tuple[str, np.ndarray, Any]:
    """A concept's name, its values (layer, position), and a key that identifies it.

    A name is first looked up among the targets, then the sets of ``mass=``, then the texts of tracked tokens.
    """
    name = which.removeprefix(MASS) if isinstance(which, str) else None
    is_target = which in [each.text for each in result.targets]
    if name is not None and name in result.mass and (name != which or not is_target):
        return name, result.mass[name], f"{MASS}{name}"
    target = result.target(which)
    return target.text, target.probability, target.text if target.part == SET else target.token_ids


def _changes(values: np.ndarray) -> list[Lead]:
    """The changes of the lead, given (concept, layer); a concept level with the leader does not lead."""
    found: list[Lead] = []
    leader: int | None = None
    for row, each in enumerate(values.T):
        if not np.isfinite(each).all():
            continue
        best = int(each.argmax())
        if leader is None:
            leader = best if (each == each[best]).sum() == 1 else None
        elif each[best] > each[leader]:
            found.append(Lead(row, leader, best))
            leader = best
    return found

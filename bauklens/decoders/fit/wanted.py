"""What a fit is asked for, checked before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bauklens.arguments import checked_count, one_of, whole_number
from bauklens.errors import LensError
from bauklens.vocabulary import FIT_METHODS, ON_ERROR, OPTIMIZERS

DTYPES = ("float16", "float32")
"""The dtypes in which maps can be kept."""

_TOKENS = {"jacobian": 11_100, "jacobian-mean-field": 2_000, "ridge": 65_536, "tuned": 65_536}
"""To fit on by default. Of a Jacobian lens these are 100 windows, beyond which it hardly changes."""

_OWN_TOKENS = {"jacobian": 1_110, "jacobian-mean-field": 1_000, "ridge": 5_000, "tuned": 5_000}
"""Likewise of texts that the model writes itself, which takes about as long as to run it on them."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "jacobian": {"anchors": None, "dim_batch": None, "normalize": False, "tolerance": None},
    "jacobian-mean-field": {},
    "ridge": {},
    "tuned": {"steps": 100, "rows_per_step": 100, "optimizer": "adamw", "learning_rate": None},
}
"""Options that only some methods take, and their defaults."""


_MAY_CHANGE = ("anchors", "tolerance", "dim_batch")
"""When a fit goes on."""


@dataclass(frozen=True)
class Wanted:
    """What a fit is asked for, apart from the model and the texts.

    Attributes:
        skip: whether to leave out texts that fail.
        options: those of the method.
    """

    method: str
    tokens: int
    length: int
    skip_first: int
    seed: int
    skip: bool
    options: Mapping[str, Any]

    def described(self) -> dict[str, Any]:
        """As plain values, but for what may change when a fit goes on: how many tokens, and when it stops."""
        kept = {name: value for name, value in self.options.items() if name not in _MAY_CHANGE}
        kept |= {"anchored": self.options["anchors"] is not None} if "anchors" in self.options else {}
        names = ("method", "length", "skip_first", "seed")
        return {name: getattr(self, name) for name in names} | kept


def default_tokens(method: str, *, own: bool) -> int:
    """About how many tokens a method is fitted on by default.

    Args:
        own: whether the model writes the texts itself.
    """
    return (_OWN_TOKENS if own else _TOKENS)[method]


def wanted_of(
    *,
    method: Any,
    tokens: Any,
    length: Any,
    skip_first: Any,
    seed: Any,
    on_error: Any,
    own: bool,
    options: Mapping[str, Any],
) -> Wanted:
    """What is asked for.

    Args:
        own: whether the model writes the texts itself.
        options: those of all methods; None if they are not given.

    Raises:
        LensError: a value is not a valid number or name, or an option does not belong to the method.
    """
    one_of("method", method, FIT_METHODS)
    one_of("on_error", on_error, ON_ERROR)
    known = _DEFAULTS[method]
    for name, value in options.items():
        if value is not None and name not in known:
            takes = ", ".join(f"{each}=" for each in known) or "none of its own"
            raise LensError(f"{name}= is not an option of method={method!r}, which takes {takes}")
    given = {name: known[name] if options.get(name) is None else options[name] for name in known}
    if given.get("anchors") is not None and given["normalize"]:
        raise LensError("anchors do not work with normalize: leave one of them out")
    return Wanted(
        method,
        (_OWN_TOKENS if own else _TOKENS)[method] if tokens is None else checked_count("tokens", tokens),
        checked_count("length", length),
        _from_0("skip_first", skip_first),
        _from_0("seed", seed),
        on_error == "skip",
        {name: _checked(name, value) for name, value in given.items()},
    )


def _checked(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in ("anchors", "steps", "rows_per_step", "dim_batch"):
        return checked_count(name, value)
    if name == "optimizer":
        one_of(name, value, OPTIMIZERS)
        return value
    if name == "normalize":
        one_of(name, value, (True, False))
        return bool(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise LensError(f"{name} is {value!r:.80}: pass a positive number")
    return float(value)


def _from_0(name: str, value: Any) -> int:
    count = whole_number(name, value)
    if count < 0:
        raise LensError(f"{name} is {count}: pass 0 or more")
    return count

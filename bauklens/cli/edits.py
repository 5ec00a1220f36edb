"""The options of commands that change a model's states, and the edits that they stand for."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from bauklens.cli.importing import imported
from bauklens.errors import LensError

Command = TypeVar("Command", bound=Callable[..., Any])

_NAMES = ("swap", "steer", "ablate", "edit_layers", "edit_positions", "edit_strength")


def edit_options(command: Command) -> Command:
    """The options that change states while the model runs."""
    options = [
        click.option(
            "--swap",
            multiple=True,
            metavar="A=>B",
            help="Replace the direction of token A in states with that of token B; repeatable.",
        ),
        click.option("--steer", multiple=True, metavar="TOKEN", help="Add the direction of a token; repeatable."),
        click.option(
            "--ablate", multiple=True, metavar="TOKEN", help="Remove the direction of a token from states; repeatable."
        ),
        click.option(
            "--edit-layers", metavar="N-M,...", help="Layers at which to edit; by default all that the decoder has."
        ),
        click.option(
            "--edit-positions", metavar="N,...", help="Positions at which to edit, or prompt, or new; by default all."
        ),
        click.option("--edit-strength", type=float, default=1.0, show_default=True, help="How strongly to edit."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def edits_of(options: dict[str, Any], decoder: Any) -> Any:
    """Takes the edits out of a command's options; None without edits.

    Args:
        decoder: the decoder or decoders that the command names; the first other than the logit lens supplies the
            directions.
    """
    given = {name: options.pop(name) for name in _NAMES}
    if not any(given[name] for name in ("swap", "steer", "ablate")):
        if given["edit_layers"] or given["edit_positions"]:
            raise LensError("there is nothing to edit: pass --swap, --steer or --ablate as well")
        return None
    imported("torch")
    from bauklens import edits

    several = decoder if isinstance(decoder, list) else [decoder]
    learned = next((each for each in several if each is not None and each.name != "logit"), None)
    where = {
        "layers": _layers(given["edit_layers"]),
        "positions": _positions(given["edit_positions"]),
        "strength": given["edit_strength"],
    }
    found = [edits.swap(learned, *_pair(each), **where) for each in given["swap"]]
    found += [edits.steer(learned, each, **where) for each in given["steer"]]
    found += [edits.ablate(learned, given["ablate"], **where)] if given["ablate"] else []
    return found


def _pair(given: str) -> tuple[str, str]:
    """The two tokens of a swap.

    >>> _pair(" Paris=> Rome")
    (' Paris', ' Rome')
    """
    one, found, other = given.partition("=>")
    if not (one and found and other):
        raise LensError(f"--swap is {given!r:.80}: pass 'A=>B', such as ' Paris=> Rome'")
    return one, other


def _layers(given: str | None) -> list[str] | None:
    """The labels of layers.

    >>> _layers("embed,3-5")
    ['embed', '3', '4', '5']
    """
    if given is None:
        return None
    found: list[str] = []
    for each in given.split(","):
        first, _, last = each.strip().partition("-")
        if first.isdecimal() and last.isdecimal() and len(each) < 12:
            found += map(str, range(int(first), int(last) + 1))
        else:
            found.append(each.strip())
    return found


def _positions(given: str | None) -> Any:
    if given is None or given in ("prompt", "new"):
        return given
    try:
        return [int(each) for each in given.split(",")]
    except ValueError:
        raise LensError(f"--edit-positions is {given!r:.80}: pass numbers, such as 3,-1, or prompt, or new") from None

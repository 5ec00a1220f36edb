"""Turns the errors of transformers and the hub, when a model does not load, into one line that says what to pass."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten

from bauklens.errors import LensError
from bauklens.files import is_there
from bauklens.model.caches import near
from bauklens.model.memory import out_of_memory
from bauklens.text_ids import is_panic

log = logging.getLogger(__name__)

_MOST = 400
"""The most characters of another library's message."""


@contextmanager
def explained(name: str, cache: str | os.PathLike[str] | None) -> Iterator[None]:
    """Turns errors of transformers and the hub into a LensError of one line.

    Args:
        name: the caller's name for the model.
        cache: the folder of cached models, if it is not the hub's.
    """
    try:
        yield
    except LensError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        log.debug("loading %s failed", name, exc_info=True)
        if out_of_memory(error):
            raise LensError(
                f"out of memory loading {name}: pass dtype='float16', or device_map='auto' to spread it"
            ) from None
        if any(isinstance(each, UnpicklingError) or "weights_only" in str(each) for each in _causes(error)):
            raise LensError(
                f"the weights of {name!r} are pickled, and are damaged or hold more than numbers, so loading them "
                "could run code: pass a model with .safetensors files"
            ) from None
        if "trust_remote_code" in str(error):
            raise LensError(
                f"{name!r} comes with its own code: pass trust_remote_code=True (--trust-remote-code) if you trust it"
            ) from None
        if isinstance(error, OSError) and name != "demo" and not is_there(Path(name).expanduser()):
            alike = near(name, cache)
            instead = (
                f"did you mean {_either(alike)}?" if alike else "pass a hub id, a local folder, a .gguf file, or 'demo'"
            )
            raise LensError(
                f"cannot load {name!r}: no local folder or file has that name, and the hub does not have it or "
                f"cannot be reached; {instead}"
            ) from None
        raise LensError(f"cannot load {name!r}: {_in_short(error)}") from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, the error that caused it or was being handled, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _either(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _in_short(error: BaseException) -> str:
    """The first line of an error, and the next if that only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = lines[: 2 if lines[:1] and lines[0].endswith(":") else 1]
    return shorten(" ".join(told), _MOST, placeholder=" ...") or type(error).__name__

"""What transformers and the hub raise when a model does not load, as one line that says what to pass instead."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bauklens.errors import LensError
from bauklens.files import is_there
from bauklens.model.caches import near
from bauklens.model.memory import out_of_memory

log = logging.getLogger(__name__)


@contextmanager
def explained(name: str, cache: str | os.PathLike[str] | None) -> Iterator[None]:
    """Turns errors of transformers and the hub into a LensError of one line.

    Args:
        name: the model, as the caller named it.
        cache: the folder of cached models, if it is not the hub's.
    """
    try:
        yield
    except LensError:
        raise
    except Exception as error:
        log.debug("loading %s failed", name, exc_info=True)
        if out_of_memory(error):
            raise LensError(
                f"out of memory loading {name}: pass dtype='float16', or device_map='auto' to spread it"
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
                f"cannot load {name!r}: there is no local folder or file of that name, and the hub does not have it or "
                f"cannot be reached; {instead}"
            ) from None
        raise LensError(f"cannot load {name!r} as a causal language model: {_first_line(error)}") from None


def _either(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

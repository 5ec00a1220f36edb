"""The quick decoder: fitted while the page waits, on texts that the model writes, and kept for the next time."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from bauklens.decoders.fingerprint import weights_hash
from bauklens.decoders.fit.fitting import fit_decoder
from bauklens.decoders.loading import load_decoder
from bauklens.errors import LensError
from bauklens.live.looking import Looking
from bauklens.model.caches import cache_folder

METHODS = ("jacobian-mean-field", "ridge")
"""The quick ways, the better one first; the closed form needs blocks like Llama's."""

NAME = "quick"
"""Its name."""


class Quick:
    """The decoder that is fitted for a model if none was given.

    Args:
        folder: the folder that keeps it; None for the cache of bauklens.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = cache_folder() / "quick" if folder is None else folder

    def take(self, looking: Looking) -> None:
        """Gives the server a decoder that was fitted to this model before, if its file can be read."""
        for method in METHODS:
            path = self._path(looking, method)
            if path.is_file():
                with suppress(LensError):
                    looking.add(load_decoder(str(path)), str(path))
                    return

    def offer(self, looking: Looking) -> bool:
        """Whether the page may offer to fit a decoder."""
        return not looking.decoders

    def fit(self, looking: Looking) -> dict[str, Any]:
        """Fits a decoder, keeps its file, gives it to the server, and returns what a page shows of it.

        Raises:
            LensError: no quick way works with this model, or the file cannot be written.
        """
        if NAME in looking.decoders:  # another page was first
            return _shown(looking, NAME)
        refused = ""
        for method in METHODS:
            try:
                decoder = fit_decoder(looking.model, looking.tokenizer, method=method, name=NAME)
            except LensError as error:
                refused = str(error)
                continue
            path = self._path(looking, method)
            path.parent.mkdir(parents=True, exist_ok=True)
            decoder.save(path)
            looking.add(decoder, str(path))
            return _shown(looking, decoder.name)
        raise LensError(refused)

    def _path(self, looking: Looking, method: str) -> Path:
        model = hashlib.sha256(weights_hash(looking.model).encode()).hexdigest()[:16]
        return self._folder / f"{model}-{method}.safetensors"


def _shown(looking: Looking, name: str) -> dict[str, Any]:
    return {"decoder": name, "called": looking.called(name), "mapped": looking.mapped(name)}

"""The decoder of the demo model: a Jacobian lens in closed form, fitted once to texts that the model writes itself."""

import logging

from bauklens import __version__
from bauklens.decoders.fingerprint import fingerprint
from bauklens.decoders.fit.mean_field import mean_field_jacobians
from bauklens.decoders.fit.own_texts import own_texts
from bauklens.decoders.kinds import JacobianLens
from bauklens.decoders.learned import LearnedDecoder
from bauklens.decoders.own_files import read_own, write_own
from bauklens.decoders.score import quality_of
from bauklens.decoders.texts import SKIP_FIRST
from bauklens.errors import LensError
from bauklens.model.caches import DEMO, cache_folder, demo_folder
from bauklens.model.inputs import Inputs
from bauklens.model.loading import load
from bauklens.model.resolving import resolve
from bauklens.vocabulary import EMBED

log = logging.getLogger(__name__)

_TEXTS, _LENGTH = 15, 46
"""How many texts it is fitted on, and how many tokens each has."""

_HELD_OUT = 2
"""More texts, on which its quality is measured."""


def demo_decoder() -> LearnedDecoder:
    """The decoder from the user's cache; the first call fits it, which takes about 25 seconds on two cores.

    Raises:
        LensError: the demo model is not installed.
    """
    path = cache_folder() / f"{demo_folder().name}-jacobian-1.safetensors"
    if path.is_file():
        try:
            return read_own(path)
        except LensError as error:
            log.warning("the demo decoder in %s is damaged and is fitted again: %s", path, error)
    found = _fitted()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_own(found, path)
    except (OSError, LensError) as error:
        log.warning("the demo decoder cannot be saved in %s, and will be fitted again the next time: %s", path, error)
    return found


def _fitted() -> JacobianLens:
    model, _ = load("demo", device="cpu", dtype="float32")
    texts = own_texts(model, _TEXTS + _HELD_OUT, _LENGTH, what="Fitting the demo decoder, once").ids
    inputs, held_out = Inputs(texts[:_TEXTS]), [Inputs(ids[None]) for ids in texts[_TEXTS:]]
    anatomy = resolve(model, Inputs(texts[:1]))
    jacobians = mean_field_jacobians(model, anatomy, inputs)
    halves = {label: matrix.half() for label, matrix in jacobians.items() if label != EMBED}
    quality = quality_of(JacobianLens(halves), model, held_out)
    about = {
        "model": DEMO,
        "method": "jacobian, mean field",
        "texts": "written by the model itself",
        "prompts": _TEXTS,
        "tokens": _TEXTS * (_LENGTH - 1 - SKIP_FIRST),
        "blocks": len(anatomy.blocks),
        "target": anatomy.labels[-1],
        "quality": f"on {_HELD_OUT} more texts of {_LENGTH} tokens",
        "bauklens": __version__,
        "fingerprint": fingerprint(model, anatomy),
    }
    return JacobianLens(halves, name="demo", quality=quality, about=about)

"""LensResult -> a pandas data frame or an xarray data set."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.optional import data_frame, data_set, whole_text
from bauklens.result.measures import known_measure
from bauklens.result.result import LensResult
from bauklens.result.stored import OWN
from bauklens.result.targets import target_names
from bauklens.vocabulary import LOGIT

if TYPE_CHECKING:
    import pandas
    import xarray


OF_TARGETS = ("probability", "logit", "rank")


def frame_of(result: LensResult) -> "pandas.DataFrame":
    """What :meth:`LensResult.to_frame` returns."""
    layer, column, rank = (index.ravel() for index in np.indices(result.top_ids.shape))
    predicted_id = result.top_ids.ravel()
    cells = {name: value for name, value in result.measures.items() if name not in OWN}
    for called, target in zip(target_names(result.targets), result.targets, strict=True):
        named = {"probability": target.probability, "logit": target.logit, "rank": target.rank}
        cells |= {f"{name} of {called}": value for name, value in named.items()}
    columns = {
        "layer": layer,
        "position": result.positions[column],
        "token": np.array(result.tokens, dtype=object)[column],
        "generated": result.generated[column],
        "rank": rank + 1,
        "predicted": [result.vocabulary[each] for each in predicted_id.tolist()],
        "probability": result.top_probs.ravel(),
        "magnitude": result.magnitude[layer, column],
        "token_id": result.token_ids[column],
        "predicted_id": predicted_id,
        "decoder": _decoders(result)[layer],
    }
    if result.columns:
        columns["column"] = np.array(result.columns, dtype=object)[column]
    columns |= {_apart(name, columns): value[layer, column] for name, value in cells.items()}
    frame = data_frame(columns)
    frame["layer"] = (
        frame["layer"].astype("category").cat.rename_categories(dict(enumerate(result.layers))).cat.as_ordered()
    )
    return frame


def _decoders(result: LensResult) -> np.ndarray:
    """What each row was decoded through: the logit lens, if the decoder has no map for it."""
    named = [LOGIT if layer in result.unmapped else result.decoder for layer in result.layers]
    return np.array(named, dtype=object)


def _apart(name: str, taken: Iterable[str]) -> str:
    """What a measure is called beside columns of our own, whatever name it has in another's file."""
    return f"measure {name}" if name in taken else name


def data_set_of(result: LensResult) -> "xarray.Dataset":
    """What :meth:`LensResult.to_xarray` returns."""
    texts = _texts(result.vocabulary[each] for each in result.top_ids.ravel().tolist())
    cell = ("layer", "position")
    variables: dict[str, Any] = {
        "token_id": ("position", result.token_ids),
        "token": ("position", _texts(result.tokens)),
        **({"column": ("position", _texts(result.columns))} if result.columns else {}),
        "top_id": ((*cell, "rank"), result.top_ids),
        "top_token": ((*cell, "rank"), texts.reshape(result.top_ids.shape)),
        "top_probability": ((*cell, "rank"), result.top_probs),
    }
    taken = [*variables, "layer", "position", "rank", "target", *(f"target_{name}" for name in OF_TARGETS)]
    for name, value in result.measures.items():
        known = known_measure(name)
        variables[_apart(name, taken)] = (cell, value, {} if known is None else {"units": known.unit})
    for name in OF_TARGETS if result.targets else ():
        values = np.stack([getattr(target, name) for target in result.targets])
        variables[f"target_{name}"] = (("target", *cell), values)
    places = {
        "layer": list(result.layers),
        "position": result.positions,
        "rank": np.arange(result.topk) + 1,
    }
    places |= {"target": list(map(whole_text, target_names(result.targets)))} if result.targets else {}
    about = {name: whole_text(getattr(result, name)) for name in ("model", "prompt", "stream", "decoder")}
    return data_set(variables, places, about)


def _texts(texts: Iterable[str]) -> np.ndarray:
    return np.array([whole_text(text) for text in texts], dtype=object)

"""The columns of a shard: their contents and units, and results as rows of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.errors import LensError
from bauklens.optional import whole_text
from bauklens.result.accuracy import accuracy
from bauklens.result.averages import ACCURACY
from bauklens.result.frames import OF_TARGETS
from bauklens.result.measures import known_measure
from bauklens.result.result import LensResult
from bauklens.result.targets import target_names

if TYPE_CHECKING:
    import pyarrow

OWN = {
    "prompt": ("int64", "", "the row of the prompt in the input, from 0"),
    "stream": ("string", "", "the stream"),
    "decoder": ("string", "", "the decoder"),
    "mapped": ("bool", "", "whether the decoder has a map for the layer; if not, it is decoded as it is"),
    "row": ("int16", "", "the place of the layer among the rows, from 0: to sort by"),
    "layer": ("string", "", "the layer: embed, 0, 1, ..."),
    "position": ("int32", "", "the position in the prompt, from 0"),
    "token_id": ("int64", "", "the id of the token at that position"),
    "token": ("string", "", "its text"),
    "top_ids": ("ids", "", "the ids of the most probable tokens, the most probable first"),
    "top_tokens": ("strings", "", "their texts"),
    "top_probabilities": ("floats", "0..1", "their probabilities"),
    "magnitude": ("float", "", "the L2 norm of the state"),
    ACCURACY: ("float", "0 or 1", "whether the most probable token is the next one of the text; null at its end"),
}
"""Name -> (type, unit, what it holds), of every shard; measures, targets, columns of the input and errors follow."""

ERROR = "error"
_UNITS = {"probability": "0..1", "logit": "", "rank": ""}


class Columns:
    """The columns of all shards of a sweep.

    Args:
        measures: names of the measures.
        targets: names of the targets.
        kept: columns of the input -> their types in Arrow.
    """

    def __init__(self, measures: Sequence[str], targets: Sequence[str], kept: Mapping[str, Any]) -> None:
        import pyarrow

        kinds = {
            "int64": pyarrow.int64(),
            "int32": pyarrow.int32(),
            "int16": pyarrow.int16(),
            "string": pyarrow.string(),
            "bool": pyarrow.bool_(),
            "float": pyarrow.float32(),
            "ids": pyarrow.list_(pyarrow.int32()),
            "strings": pyarrow.list_(pyarrow.string()),
            "floats": pyarrow.list_(pyarrow.float32()),
        }
        self._measures = [name for name in measures if name not in OWN]
        self._targets = [f"{kind} of {name}" for name in targets for kind in OF_TARGETS]
        self._kept = tuple(kept)
        own = {name: (kinds[kind], unit, about) for name, (kind, unit, about) in OWN.items()}
        for name in self._measures:
            measure = known_measure(name)
            assert measure is not None
            own[name] = kinds["float"], measure.unit, measure.about
        for name in self._targets:
            kind = name.split(" of ")[0]
            own[name] = kinds["float"], _UNITS[kind], f"the {kind} of a target"
        twice = [name for name in kept if name in own]
        if twice:
            raise LensError(f"both the input and the output have a column {twice[0]!r}: rename it, or leave it out")
        own |= {name: (kind, "", "of the input") for name, kind in kept.items()}
        own[ERROR] = kinds["string"], "", "why the prompt failed; null if it did not"
        self.schema: pyarrow.Schema = pyarrow.schema(
            [
                pyarrow.field(whole_text(name), kind, metadata={"unit": unit, "about": about})
                for name, (kind, unit, about) in own.items()
            ]
        )

    def encodings(self) -> dict[str, Any]:
        """How the columns are written: real numbers byte by byte, which takes a third less, and all others with a
        list of their values.
        """
        import pyarrow

        paths: dict[bool, list[str]] = {True: [], False: []}
        for field in self.schema:
            is_list = pyarrow.types.is_list(field.type)
            kind = field.type.value_type if is_list else field.type
            paths[pyarrow.types.is_floating(kind)].append(f"{field.name}.list.element" if is_list else field.name)
        return {"use_byte_stream_split": paths[True], "use_dictionary": paths[False]}

    def failed(self, number: int, row: Mapping[str, Any], error: LensError) -> "pyarrow.Table":
        """The row of a prompt that failed."""
        import pyarrow

        known = {"prompt": number, **{name: row[name] for name in self._kept}, ERROR: whole_text(str(error))}
        return pyarrow.Table.from_arrays(
            [pyarrow.array([known.get(field.name)], field.type) for field in self.schema], schema=self.schema
        )

    def of(self, number: int, row: Mapping[str, Any], result: LensResult) -> "pyarrow.Table":
        """The cells of a result, layer by layer.

        Args:
            number: the prompt's.
            row: its row in the input.
        """
        import pyarrow

        layers, positions, topk = result.top_ids.shape
        count = layers * positions
        layer, column = (each.ravel() for each in np.indices((layers, positions)))
        values: dict[str, Any] = {
            "prompt": np.full(count, number, np.int64),
            "stream": _repeated(result.stream, count),
            "decoder": _repeated(result.decoder, count),
            "mapped": ~np.isin(np.array(result.layers), result.unmapped)[layer],
            "row": layer.astype(np.int16),
            "layer": _texts(result.layers, layer),
            "position": result.positions[column].astype(np.int32),
            "token_id": result.token_ids[column],
            "token": _texts(result.tokens, column),
            "magnitude": result.magnitude.ravel(),
            ACCURACY: accuracy(result).ravel(),
        }
        ids, places = np.unique(result.top_ids, return_inverse=True)
        named = _texts([result.vocabulary[each] for each in ids.tolist()], places.ravel())
        lists = {
            "top_ids": pyarrow.array(result.top_ids.ravel().astype(np.int32)),
            "top_tokens": named,
            "top_probabilities": pyarrow.array(result.top_probs.ravel()),
        }
        ends = pyarrow.array(np.arange(0, count * topk + 1, topk, dtype=np.int32))
        values |= {name: pyarrow.ListArray.from_arrays(ends, each) for name, each in lists.items()}
        for name in self._measures:
            if name in result.measures:
                values[name] = result.measures[name].ravel()
        for called, target in zip(target_names(result.targets), result.targets, strict=True):
            for kind in OF_TARGETS:
                values[f"{kind} of {called}"] = getattr(target, kind).ravel()
        values = {whole_text(name): value for name, value in values.items()}
        kept = {whole_text(name): row[name] for name in self._kept}
        arrays = []
        for field in self.schema:
            if field.name in kept:
                arrays.append(pyarrow.array([kept[field.name]], field.type).take(_zeros(count)))
            elif field.name in values:
                arrays.append(_array(values[field.name], field.type))
            else:
                arrays.append(pyarrow.nulls(count, field.type))
        return pyarrow.Table.from_arrays(arrays, schema=self.schema)


def _array(values: Any, kind: Any) -> Any:
    """A column; of numbers, NaN as null."""
    import pyarrow

    if isinstance(values, np.ndarray):
        return pyarrow.array(values, kind, from_pandas=True)
    return values


def _repeated(text: str, count: int) -> Any:
    import pyarrow

    return pyarrow.array([whole_text(text)], pyarrow.string()).take(_zeros(count))


def _texts(texts: Sequence[str], places: np.ndarray) -> Any:
    import pyarrow

    return pyarrow.array([whole_text(each) for each in texts], pyarrow.string()).take(pyarrow.array(places))


def _zeros(count: int) -> Any:
    import pyarrow

    return pyarrow.array(np.zeros(count, np.int32))

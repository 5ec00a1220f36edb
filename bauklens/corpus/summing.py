"""The averages of a sweep's files, a few rows at a time. Needs no torch."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bauklens.corpus.columns import ERROR, OWN
from bauklens.corpus.natural import by_number
from bauklens.errors import LensError
from bauklens.result.averages import ACCURACY
from bauklens.show.running import Running
from bauklens.show.summary import Summary

if TYPE_CHECKING:
    import pyarrow

_MOST_GROUPS = 1_000
"""The most values of a column that can each have a summary of their own."""

_NOTHING = "null"
"""The name of a group whose column has no value."""

_GROUPS = ("prompt", "position", "token_id", "token")
"""Columns that a sweep may be grouped by, besides those of the input."""

_NUMBERS = ("float", "double", "halffloat")


def summed(
    files: Sequence[Path],
    model: str,
    group: str | None,
    stream: str | None,
    decoder: str | None,
    skip_first: int,
    *,
    of_cells: bool,
) -> dict[str, Summary]:
    """The averages over files of one sweep.

    Args:
        model: what the summaries call the model.
        group: a column, for a summary of each of its values; None for one, called ``""``.
        stream: which of several; None if there is one.
        decoder: which of several; None if there is one.
        skip_first: positions at the beginning of each prompt that are left out.
        of_cells: whether the files hold all positions of a prompt; else one.
    """
    from pyarrow.parquet import read_schema

    schema = read_schema(files[0])
    if group is not None:
        _require_groups(schema, group)
    measures = [ACCURACY, "magnitude", *(name for name in _measures(schema))]
    measures = [name for name in dict.fromkeys(measures) if name in schema.names and name != group]
    measures = _with_values(files, measures)
    running: dict[str | None, Running] = {}
    counted: set[str | None] = set()
    chosen: _Rows | None = None
    columns = ["stream", "decoder", "row", "position", *measures]
    for batch in _batches(files, [*columns, *([] if group is None else [group])]):
        if chosen is None:
            chosen = _Rows.of(files, stream, decoder, of_cells=of_cells)
        some = batch.filter(chosen.mask(batch))
        if not some.num_rows:
            continue
        for name, part in _parts(some, group):
            if name not in running:
                if len(running) >= _MOST_GROUPS:
                    raise LensError(f"{group!r} has more than {_MOST_GROUPS:,} values: pass a column with fewer")
                running[name] = Running(
                    model,
                    chosen.stream,
                    chosen.layers,
                    decoder=chosen.decoder,
                    unmapped=chosen.unmapped,
                    skip_first=skip_first,
                )
            if _add(running[name], part, measures, chosen, skip_first):
                counted.add(name)
    if not running:
        raise LensError("every prompt failed: see Sweep.failed()")
    return {name: each.summary() for name, each in _named(running, counted, group, skip_first)}


def _named(
    running: Mapping[str | None, Running], counted: set[str | None], group: str | None, skip_first: int
) -> list[tuple[str, Running]]:
    """Those in which something counts, by name and in order; all, if nothing counts in any."""
    if None in running and _NOTHING in running:
        raise LensError(
            f"{group!r} is null in some rows and the text {_NOTHING!r} in others, which would have the same name: use "
            "another text in the input"
        )
    empty = [name for name in running if name not in counted]
    if empty and counted:
        names = ", ".join(repr(_NOTHING if name is None else name) for name in empty[:5])
        warnings.warn(
            f"{len(empty)} of {len(running)} values of {group!r} are left out ({names}{', ...' if empty[5:] else ''}): "
            f"their prompts have only the first {skip_first} positions, which skip_first leaves out",
            stacklevel=4,
        )
    named = {_NOTHING if name is None else name: each for name, each in running.items() if name in (counted or running)}
    return [(name, named[name]) for name in sorted(named, key=by_number)]


def _require_groups(schema: "pyarrow.Schema", group: str) -> None:
    from pyarrow import types

    known = _of_input(schema)
    if group not in (*known, *_GROUPS):
        what = f"{group!r} is not a column of the input" if group in schema.names else f"no column is named {group!r}"
        columns = ", ".join(known) or "it has none"
        raise LensError(f"{what}: pass one of the input's columns ({columns}) or one of {', '.join(_GROUPS)}")
    if types.is_nested(schema.field(group).type):
        raise LensError(f"the column {group!r} holds lists: pass one of texts, numbers, truth values or dates")


class _Rows:
    """The rows of one stream and decoder, as all prompts have them.

    Attributes:
        stream, decoder: their names.
        numbers: of the rows, ascending.
        layers: their labels.
        unmapped: those that the decoder has no map for.
        of_cells: as for :func:`summed`.
    """

    def __init__(self, stream: str, decoder: str, layers: Mapping[int, tuple[str, bool]], *, of_cells: bool) -> None:
        self.stream, self.decoder, self.of_cells = stream, decoder, of_cells
        self.numbers = np.array(sorted(layers))
        self.layers = tuple(layers[row][0] for row in sorted(layers))
        self.unmapped = tuple(label for _, (label, mapped) in sorted(layers.items()) if not mapped)

    @staticmethod
    def of(files: Sequence[Path], stream: str | None, decoder: str | None, *, of_cells: bool) -> "_Rows":
        """Those that are asked for, as the first prompt that did not fail has them.

        Raises:
            LensError: the sweep has several streams or decoders and none is named, or none with that name.
        """
        from pyarrow.parquet import read_table

        for file in files:
            found = read_table(file, columns=["stream", "decoder", "row", "layer", "mapped"])
            distinct = found.filter(found["stream"].is_valid()).group_by(found.column_names).aggregate([]).to_pylist()
            if distinct:
                break
        else:
            raise LensError("every prompt failed: see Sweep.failed()")
        stream = _one("stream", stream, {each["stream"] for each in distinct})
        decoder = _one("decoder", decoder, {each["decoder"] for each in distinct})
        mine = [each for each in distinct if (each["stream"], each["decoder"]) == (stream, decoder)]
        layers = {each["row"]: (each["layer"], each["mapped"]) for each in mine}
        return _Rows(stream, decoder, layers, of_cells=of_cells)

    def mask(self, batch: "pyarrow.RecordBatch") -> "pyarrow.BooleanArray":
        """Which rows of a batch are of these."""
        from pyarrow import compute

        return compute.and_(
            compute.equal(batch["stream"], self.stream), compute.equal(batch["decoder"], self.decoder)
        ).fill_null(False)


def _one(what: str, wanted: str | None, known: set[str]) -> str:
    if wanted is None and len(known) > 1:
        raise LensError(f"there are several {what}s: pass {what}= with one of {', '.join(map(repr, sorted(known)))}")
    if wanted is not None and wanted not in known:
        raise LensError(f"the sweep has no {what} {wanted!r}: pass {' or '.join(map(repr, sorted(known)))}")
    return next(iter(known)) if wanted is None else wanted


def _batches(files: Sequence[Path], columns: list[str]) -> "Iterator[pyarrow.RecordBatch]":
    from pyarrow.parquet import ParquetFile

    for path in files:
        with ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise LensError(
                    f"{path} has no column {missing[0]!r}, so it does not belong to this sweep: remove it and run again"
                )
            yield from file.iter_batches(columns=columns)


def _with_values(files: Sequence[Path], columns: list[str]) -> list[str]:
    """The columns in which some row has a value, according to the files' metadata."""
    from pyarrow.parquet import ParquetFile

    found: set[str] = set()
    for path in files:
        with ParquetFile(path) as file:
            for number in range(file.metadata.num_row_groups):
                group = file.metadata.row_group(number)
                for place in range(group.num_columns):
                    column = group.column(place)
                    known = column.statistics
                    if known is None or not known.has_null_count or known.null_count < column.num_values:
                        found.add(column.path_in_schema)
        if found.issuperset(columns):
            break
    return [name for name in columns if name in found]


def _parts(batch: "pyarrow.RecordBatch", group: str | None) -> "Iterator[tuple[str | None, pyarrow.RecordBatch]]":
    """The rows of each value of a column; the name of null is None."""
    from pyarrow import compute

    if group is None:
        yield "", batch
        return
    coded = batch[group].dictionary_encode()  # a comparison would lose NaN, and take -0.0 for 0.0
    for place, scalar in enumerate(coded.dictionary):
        value = scalar.as_py()
        name = str(value + 0.0 if isinstance(value, float) else value)
        yield name, batch.filter(compute.equal(coded.indices, place).fill_null(False))
    if coded.null_count:
        yield None, batch.filter(coded.is_null())


def _add(running: Running, batch: "pyarrow.RecordBatch", measures: Sequence[str], rows: _Rows, skip_first: int) -> int:
    """Adds a batch; how many positions of prompts count in it."""
    row, position = (batch[name].to_numpy(zero_copy_only=False) for name in ("row", "position"))
    counts, first = position >= skip_first, row == rows.numbers[0]
    values: dict[str, Any] = {
        name: batch[name].to_numpy(zero_copy_only=False).astype(np.float64)[counts] for name in measures
    }
    tokens = int((first & counts).sum())
    running.add_columns(
        np.searchsorted(rows.numbers, row[counts]),
        values,
        lenses=int((first & (position == 0)).sum() if rows.of_cells else first.sum()),
        tokens=tokens,
    )
    return tokens


def _of_input(schema: "pyarrow.Schema") -> list[str]:
    """The columns that came with the prompts."""
    return [
        field.name
        for field in schema
        if field.name not in (*OWN, ERROR) and (field.metadata or {}).get(b"about") == b"of the input"
    ]


def _measures(schema: "pyarrow.Schema") -> list[str]:
    """The columns of numbers that are read off the model."""
    of_input = _of_input(schema)
    return [
        field.name for field in schema if field.name not in (*OWN, ERROR, *of_input) and str(field.type) in _NUMBERS
    ]

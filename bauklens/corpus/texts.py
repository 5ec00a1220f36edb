"""The prompts of a corpus: the rows of a file, a folder or a data set, read as they are needed."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from bauklens.arguments import checked_count
from bauklens.errors import LensError
from bauklens.files import is_there
from bauklens.reading_files import STANDARD_INPUT, require_regular

TEXT_COLUMNS = ("prompt", "text", "messages")
"""What the column of prompts may be called; the first that is there counts."""

_KINDS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".txt": "text", ".csv": "csv"}
_SCALARS = ("bool", "int", "uint", "halffloat", "float", "double", "string", "large_string")
_DATES = ("date32", "date64", "timestamp")
_AS_WRITTEN: Mapping[str, Mapping[str, Any]] = {
    "text": {"encoding": "utf-8-sig"},  # a byte-order mark is not part of the first prompt
    "csv": {"keep_default_na": False, "na_values": [""]},  # "NA" and "null" may be prompts, or languages
}
_AT_ONCE = 1_000
"""Rows that are read at once for the hash."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Prompts, and what else the input has for each.

    Attributes:
        source: what they were read from, as the manifest names it.
        column: the column of the prompts.
        kept: the columns that go with them into the output.
        numbers: (prompt,), their rows in the input.
    """

    source: str
    column: str
    kept: tuple[str, ...]
    numbers: Sequence[int]
    _data: Any

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """Rows of some prompts, each with the prompt and the columns that are kept."""
        for first in range(start, stop, _AT_ONCE):
            numbers = self.numbers[first : min(stop, first + _AT_ONCE)]
            columns = self._data[list(numbers)] if len(numbers) else {}
            for place in range(len(numbers)):
                yield {name: columns[name][place] for name in (self.column, *self.kept)}

    def types(self) -> dict[str, Any]:
        """Name of a column that is kept -> its type in Arrow."""
        return {name: self._data.features.arrow_schema.field(name).type for name in self.kept}

    def digest(self) -> str:
        """SHA-256 of all prompts and their kept columns, whatever file they are in."""
        found = hashlib.sha256(json.dumps([self.column, *self.kept]).encode())
        for row in self.rows(0, len(self)):
            found.update(json.dumps(list(row.values()), default=str).encode("utf-8", "surrogatepass"))
        return found.hexdigest()


class StreamedCorpus(Corpus):
    """Prompts of a data set that is not on this machine, and is read from its beginning each time."""

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """As for a corpus.

        Raises:
            LensError: the data set has fewer rows.
        """
        found = start
        for row in self._data.skip(start).take(stop - start):
            yield {name: row[name] for name in (self.column, *self.kept)}
            found += 1
        if found < stop:
            raise LensError(f"{self.source} has only {found:,} prompts: pass limit={found}")

    def digest(self) -> str:
        """SHA-256 of the data set's name, because its rows are not read for this."""
        about = [self.source, self.column, *self.kept, len(self)]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def open_corpus(
    prompts: Any,
    *,
    column: str | None = None,
    keep: Iterable[str] | None = None,
    split: str = "train",
    config: str | None = None,
    limit: int | None = None,
    streaming: bool = False,
    taken: Iterable[str] = (),
) -> Corpus:
    """Opens prompts.

    Args:
        prompts: a file (``.jsonl``, ``.parquet``, ``.txt`` with one prompt per line, ``.csv``), a folder that
            ``datasets`` saved, the name of a data set on the hub, a ``datasets.Dataset``, or a list of texts, of lists
            of ids, or of mappings.
        column: the column of the prompts; by default ``prompt``, ``text`` or ``messages``.
        keep: other columns that go into the output; by default all that contain numbers, texts, truth values or dates.
        split: the split of a data set on the hub.
        config: the name of a data set's configuration.
        limit: the maximum number of prompts to take, from the first.
        streaming: read a data set on the hub as it is needed, instead of its whole files; needs ``limit``.
        taken: names that columns of the output already have.

    Raises:
        LensError: the file, the data set or the column does not exist, or a column has a name that is taken; the
            package ``datasets`` is not installed.
    """
    if limit is not None:
        checked_count("limit", limit)
    with _without_bars() as datasets:
        data, source = _data(datasets, prompts, split, config, streaming)
    streamed = isinstance(data, datasets.IterableDataset)
    if streamed and limit is None:
        raise LensError("a streamed data set does not report its number of rows: pass limit=")
    if streamed and data.features is None:
        data = data._resolve_features()
    names = list(data.column_names)
    if column is None:
        column = next((name for name in TEXT_COLUMNS if name in names), None)
    if column is None or column not in names:
        wanted = f"column {column!r}" if column else f"column {', '.join(TEXT_COLUMNS[:-1])} or {TEXT_COLUMNS[-1]}"
        raise LensError(f"{source} has no {wanted}: it has {', '.join(names) or 'none'}; pass column= with one of them")
    kept = _kept(data, source, column, keep, set(taken))
    data = data.select_columns([column, *kept])  # other columns, such as images, are not even read
    if streamed:
        return StreamedCorpus(source, column, kept, range(limit or 0), data)
    count = len(data) if limit is None else min(limit, len(data))
    numbers: Sequence[int] = range(count)
    if source.endswith(".txt"):
        numbers = [number for number, text in enumerate(data[column][:count]) if text.strip()]
    if not numbers:
        raise LensError(f"{source} has no prompts")
    return Corpus(source, column, kept, numbers, data)


def _kept(data: Any, source: str, column: str, keep: Iterable[str] | None, taken: set[str]) -> tuple[str, ...]:
    if keep is None:
        schema = data.features.arrow_schema
        found = [name for name in data.column_names if name != column and _is_scalar(schema.field(name).type)]
    else:
        found = list(dict.fromkeys([keep] if isinstance(keep, str) else keep))
    for name in found:
        if name not in data.column_names:
            raise LensError(f"{source} has no column {name!r} to keep: it has {', '.join(data.column_names)}")
        if name in taken:
            raise LensError(
                f"both {source} and the output have a column {name!r}: rename it, or pass keep= with the others"
            )
    return tuple(found)


def _is_scalar(kind: Any) -> bool:
    text = str(kind)
    return text.rstrip("0123456789") in _SCALARS or text.startswith(_DATES)


def _data(datasets: Any, prompts: Any, split: str, config: str | None, streaming: bool) -> tuple[Any, str]:
    """A data set, and what it is called."""
    if isinstance(prompts, (datasets.Dataset, datasets.IterableDataset)):
        return prompts, "the data set"
    if isinstance(prompts, (datasets.DatasetDict, datasets.IterableDatasetDict)):
        raise LensError(f"this data set has the splits {', '.join(prompts)}: pass one of them")
    if isinstance(prompts, (str, os.PathLike)):
        name = str(prompts)
        return _named(datasets, name, split, config, streaming), Path(name).name if is_there(name) else name
    if not isinstance(prompts, Iterable):
        raise LensError(f"prompts must be a file, a data set or a list; got {type(prompts).__name__}")
    rows = [each if isinstance(each, Mapping) else {"prompt": each} for each in prompts]
    if not rows:
        raise LensError("the list has no prompts")
    names = list(dict.fromkeys(name for each in rows for name in each))  # not every row has all of them
    try:
        return datasets.Dataset.from_dict({name: [each.get(name) for each in rows] for name in names}), "the list"
    except UnicodeEncodeError as error:
        raise LensError(
            f"the text {error.object!r:.40} of the prompts is not valid Unicode: it contains half a surrogate pair"
        ) from None
    except Exception as error:  # Arrow raises many kinds
        raise LensError(f"the prompts are not all of one type: {_first_line(error)}") from None


def _named(datasets: Any, name: str, split: str, config: str | None, streaming: bool) -> Any:
    if name == STANDARD_INPUT:
        raise LensError("a sweep reads its prompts more than once, which standard input does not allow: pass a file")
    path = Path(name)
    try:
        if is_there(path) and path.is_dir():
            if (path / "config.json").exists():
                raise LensError("it is a model: name the prompts first, and then the models")
            if (path / "state.json").exists():
                return datasets.load_from_disk(name)
            return datasets.load_dataset(name, config, split=split, streaming=streaming)
        if is_there(path):
            require_regular(path)
            kind = _KINDS.get(path.suffix.lower())
            if kind is None:
                raise LensError(f"it is not a file of prompts: pass {', '.join(_KINDS)}, or a data set")
            if not path.stat().st_size:
                raise LensError("the file is empty")
            plain = escape(str(path.resolve()))  # datasets would read * and [ as patterns
            return datasets.load_dataset(kind, data_files=plain, split="train", **_AS_WRITTEN.get(kind, {}))
        if path.suffix.lower() in _KINDS:
            raise LensError("the file does not exist")
        return datasets.load_dataset(name, config, split=split, streaming=streaming)
    except LensError as error:
        raise LensError(f"cannot read {name}: {error}") from None
    except Exception as error:  # Arrow, the file system and the hub raise many kinds
        raise LensError(f"cannot read {name}: {_first_line(_innermost(error))}") from None


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


@contextmanager
def _without_bars() -> Iterator[Any]:
    """The package ``datasets``, without its bars."""
    try:
        import datasets
    except ImportError:
        raise LensError("a sweep needs the package datasets: pip install 'bauklens[sweep]'") from None
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield datasets
    finally:
        if shown:
            datasets.enable_progress_bars()

"""Files of texts, read as needed: a file may be larger than the memory."""

import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from bauklens.errors import LensError
from bauklens.reading_files import STANDARD_INPUT, parse_json, require_regular

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_BLOCK = 8_000
"""About how many characters of running text make one text."""

_LONGEST = 64 << 20
"""The most bytes in a line of a ``.jsonl`` file."""

_PART = 1_000
"""How many bytes of a line are read at once, if it is longer."""

_NAMES = ("text", "prompt")
"""The possible names of the text in a row or an object; the first one present counts."""

_BATCH = 64
"""How many rows of a ``.parquet`` file are read at once."""

_BUFFER = 1 << 20
"""How many bytes of a ``.parquet`` file are read at once."""


def read_texts(path: str | Path) -> Iterable[str]:
    """The texts of a file, or of standard input if the path is ``-``; each iteration reads it again.

    Args:
        path: ``.jsonl`` has one JSON object per line, with ``"text"`` or ``"prompt"``; ``.parquet`` a column ``text``
            or ``prompt``, in which a null is an empty text. Anything else is running text in UTF-8: whole lines of
            about 8,000 characters together are one text.

    Raises:
        LensError: the file is missing or not a regular file, or a ``.parquet`` file has no column of texts or needs
            pyarrow; while iterating, a line or row is not a text, the file has no texts, or standard input is read a
            second time.
    """
    return _Texts(Path(path))


class _Texts:
    """The texts of a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._is_read, self._column = path, False, ""
        if str(path) == STANDARD_INPUT:
            return
        try:
            require_regular(path)
            if path.suffix == ".parquet":
                with _parquet_file(path) as file:
                    self._column = _text_column(file)
            elif not os.access(path, os.R_OK):
                raise LensError("permission denied")
        except LensError as error:
            raise LensError(f"cannot read {path}: {error}") from None

    @property
    def is_read_once(self) -> bool:
        """Whether reading a second time is an error."""
        return str(self._path) == STANDARD_INPUT

    def __iter__(self) -> Iterator[str]:
        read = {".jsonl": self._of_objects, ".parquet": self._of_rows}.get(self._path.suffix, self._of_blocks)
        found = False
        for text in read():
            found = True
            yield text
        if not found:
            raise LensError(f"{self._called} contains no texts")

    @property
    def _called(self) -> str:
        return "standard input" if str(self._path) == STANDARD_INPUT else str(self._path)

    def _of_blocks(self) -> Iterator[str]:
        block = ""
        for _, part in self._lines(_PART):
            block += part
            if len(block) >= _BLOCK:
                ends = (end for end in (block.rfind(each) + 1 for each in ("\n", " ")) if end > _BLOCK // 2)
                end = next(ends, len(block))
                if block[:end].strip():
                    yield block[:end]
                block = block[end:]
        if block.strip():
            yield block

    def _of_objects(self) -> Iterator[str]:
        for number, line in self._lines(_LONGEST):
            if not line.strip():
                continue
            if not line.endswith("\n") and len(line.encode("utf-8")) > _LONGEST - 4:  # the last character may be cut
                raise LensError(f"{self._called}, line {number}: it is longer than {_LONGEST >> 20} MiB")
            try:
                entry = parse_json(line)
            except LensError as error:
                raise LensError(f"{self._called}, line {number}: {error}") from None
            text = next((entry[name] for name in _NAMES if name in entry), None) if isinstance(entry, dict) else None
            if not isinstance(text, str):
                raise LensError(f'{self._called}, line {number}: looked for an object with a "text" that is a string')
            yield text

    def _of_rows(self) -> Iterator[str]:
        number = 0
        with _parquet_file(self._path) as file:
            try:
                for batch in file.iter_batches(batch_size=_BATCH, columns=[self._column]):
                    for text in batch.column(0):
                        found = text.as_py() or ""
                        number += 1
                        yield found
            except (OSError, ValueError, KeyError, MemoryError) as error:  # Arrow's errors are of these kinds
                first = (str(error).splitlines() or [type(error).__name__])[0]
                raise LensError(f"cannot read {self._called} after row {number}: {first:.200}") from None

    def _lines(self, longest: int) -> Iterator[tuple[int, str]]:
        """(number, line) with its end, in parts of at most this many bytes if it is longer."""
        number, begun, decoder = 1, False, codecs.getincrementaldecoder("utf-8")()
        with self._opened() as file:
            while True:
                try:
                    raw = file.readline(longest)
                except (OSError, MemoryError) as error:
                    raise LensError(f"cannot read {self._called}: {error}") from None
                try:
                    line = decoder.decode(raw, final=not raw)
                except UnicodeDecodeError:
                    raise LensError(f"{self._called}, line {number}: it is not UTF-8 text") from None
                if not raw:
                    return
                yield number, (line if begun else line.removeprefix("\ufeff")).replace("\r\n", "\n")
                begun = True
                number += raw.endswith(b"\n")

    def _opened(self) -> AbstractContextManager[BinaryIO]:
        if str(self._path) != STANDARD_INPUT:
            try:
                return self._path.open("rb")
            except OSError as error:
                raise LensError(f"cannot read {self._called}: {error.strerror}") from None
        if self._is_read:
            raise LensError("standard input can be read only once: pass a file")
        if sys.stdin is None:
            raise LensError("standard input is closed")
        self._is_read = True
        return nullcontext(cast("BinaryIO", sys.stdin.buffer))


def _parquet_file(path: Path) -> "ParquetFile":
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise LensError("a .parquet file needs pyarrow: pip install 'bauklens[frame]'") from None
    try:
        return ParquetFile(path, buffer_size=_BUFFER)
    except (OSError, ValueError, MemoryError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise LensError(f"it is damaged, or not a .parquet file: {first:.200}") from None


def _text_column(file: "ParquetFile") -> str:
    """The name of the column of texts."""
    schema: Any = file.schema_arrow
    name = next((name for name in _NAMES if name in schema.names), None)
    if name is None:
        found = ", ".join(schema.names[:20])
        raise LensError(f"looked for a column 'text', but found {found:.200}: rename one of them")
    kind = schema.field(name).type
    if str(getattr(kind, "value_type", kind)) not in ("string", "large_string", "string_view"):
        raise LensError(f"its column {name!r} has {kind!s:.80} instead of texts")
    return str(name)

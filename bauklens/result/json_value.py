"""Frozen values that are written as JSON and read back. Needs no torch."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import Self

from bauklens.errors import LensError
from bauklens.files import path_of, write_atomically
from bauklens.reading_files import LARGEST_FILE, parse_json, read_bytes
from bauklens.result.frozen import plain
from bauklens.result.storage import as_json


class JsonValue:
    """A dataclass whose fields are plain values, arrays of numbers, or texts by token id.

    Attributes:
        FORMAT: the name of the format in the file.
        VERSION: the version of this format.
        CALLED: the name of such a value in messages.
    """

    FORMAT: ClassVar[str]
    VERSION: ClassVar[int] = 1
    CALLED: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON, with the name and the version of their format."""
        values = {each.name: plain(getattr(self, each.name)) for each in _fields(type(self))}
        return {"format": self.FORMAT, "version": self.VERSION} | values

    def to_json(self) -> str:
        """:meth:`to_dict` as one line of JSON."""
        return as_json(self.to_dict())

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Reads what :meth:`to_dict` wrote.

        Raises:
            LensError: the format or version is another one, or a part is missing or damaged.
        """
        if not isinstance(data, Mapping) or data.get("format") != cls.FORMAT:
            raise LensError(f"not {cls.CALLED}: looked for format {cls.FORMAT!r}")
        if data.get("version") != cls.VERSION:
            said = f"{data.get('version')!r:.80}"
            raise LensError(f"{cls.CALLED} of version {said}; this bauklens reads version {cls.VERSION}")
        every = _fields(cls)
        needed = [each.name for each in every if each.default is each.default_factory is MISSING]
        missing = [name for name in needed if name not in data]
        if missing:
            raise LensError(f"{cls.CALLED} without {', '.join(missing)}")
        values = {each.name: data[each.name] for each in every if each.name in data}
        try:
            values |= {each.name: float(values[each.name]) for each in every if each.type in (float, "float")}
            if "vocabulary" in values:
                values["vocabulary"] = {int(token_id): text for token_id, text in values["vocabulary"].items()}
            return cls(**values)
        except (TypeError, AttributeError, ValueError, OverflowError) as error:
            raise LensError(f"{cls.CALLED}, but damaged: {error}") from None

    def save(self, path: str | Path) -> None:
        """Writes a ``.json`` file; an old file is replaced only when the new one is complete.

        Raises:
            LensError: the path has another suffix, or cannot be written.
        """
        path = path_of(path)
        if path.suffix != ".json":
            raise LensError(f"{self.CALLED} must be saved as a .json file; got {path.name!r}")
        write_atomically(path, f"{self.to_json()}\n".encode("utf-8", "backslashreplace"))

    @classmethod
    def load(cls, path: str | Path, *, largest: int = LARGEST_FILE) -> Self:
        """Reads a file that :meth:`save` wrote.

        Args:
            path: a regular file.
            largest: the most bytes that it may have, by default 1 GB.

        Raises:
            LensError: the file cannot be read, is larger, or is damaged.
        """
        path = path_of(path)
        try:
            return cls.from_dict(parse_json(read_bytes(path, largest)))
        except LensError as error:
            raise LensError(f"cannot read {path}: {error}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_dict, (self.to_dict(),)


def _fields(kind: type) -> "tuple[Field[Any], ...]":
    return fields(kind)

"""What a result can be written to, and read from: plain values, JSON, files; a part of :class:`bauklens.LensResult`."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bauklens.errors import LensError
from bauklens.files import path_of
from bauklens.reading_files import LARGEST_FILE
from bauklens.result import storage
from bauklens.result.frozen import plain

if TYPE_CHECKING:
    from bauklens.result.result import LensResult

FORMAT = storage.FORMAT
VERSION = 1

OWN = ("magnitude", "max_probability")
"""Measures that a result holds anyway, and that are not written twice."""

LARGE = ("top_ids", "top_probs", "magnitude", "vocabulary", "measures", "targets", "pictures", "tracked", "attended")
"""The parts of a result that hold something for every cell, or a picture."""

NOT_SAVED = ("read_from",)
"""What a result knows of itself here, and no file says."""

ARRAYS = ("token_ids", "positions", "top_ids", "top_probs", "magnitude")
"""What a result holds as arrays."""


class Stored:
    """The methods that write a result and read it again."""

    def to_dict(self: Any) -> dict[str, Any]:
        """The result as plain lists and numbers, ready for JSON: format ``bauklens.lens``, version 1.

        Every float32 is written as the shortest number that reads back as the same float32.
        """
        own = {name: value for name, value in self.measures.items() if name not in OWN}
        apart = ("measures", "targets", "pictures", "tracked", "attended")
        large = {name: plain(getattr(self, name)) for name in LARGE if name not in apart}
        parts: dict[str, Any] = {
            name: [each.to_dict() for each in getattr(self, name)] for name in ("targets", "pictures")
        }
        for name in ("tracked", "attended"):
            held = getattr(self, name)
            parts[name] = None if held is None else held.to_dict()
        head: dict[str, Any] = self.head()
        return head | large | {"measures": plain(own)} | parts

    def head(self: Any) -> dict[str, Any]:
        """What :meth:`to_dict` returns, without the numbers and texts of the cells."""
        from bauklens.result.result import LensResult

        small = (each.name for each in fields(LensResult) if each.name not in (*LARGE, *NOT_SAVED))
        return {"format": FORMAT, "version": VERSION} | {name: plain(getattr(self, name)) for name in small}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LensResult":
        """Reads the result that :meth:`to_dict` wrote; its check is shown as a claim of the data.

        Raises:
            LensError: the format or version is another one, or a part is missing or has the wrong shape.
        """
        from bauklens.result.result import LensResult

        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise LensError(f"this is not a lens result: looked for format {FORMAT!r}")
        if data.get("version") != VERSION:
            raise LensError(
                f"this lens result has version {data.get('version')!r}; this bauklens reads version {VERSION}"
            )
        needed = [each.name for each in fields(LensResult) if each.default is each.default_factory is MISSING]
        missing = [name for name in needed if name not in data]
        if missing:
            raise LensError(f"this lens result has no {', '.join(missing)}")
        saved = (each.name for each in fields(LensResult) if each.name not in NOT_SAVED)
        values = {name: data[name] for name in saved if name in data} | {"read_from": "the data it was read from"}
        try:
            values["vocabulary"] = {int(token_id): text for token_id, text in values["vocabulary"].items()}
            return LensResult(**values)
        except (TypeError, AttributeError, ValueError, OverflowError, IndexError) as error:
            raise LensError(f"this lens result is damaged: {error}") from None

    def save(self: Any, path: str | Path) -> None:
        """Writes a ``.safetensors`` or ``.json`` file, both lossless; an old file is replaced only when it is complete.

        Raises:
            LensError: the path has another suffix, or cannot be written.
        """
        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays |= {f"measures/{name}": value for name, value in self.measures.items() if name not in OWN}
        if self.tracked is not None:
            arrays |= {f"tracked/{name}": value for name, value in self.tracked.arrays().items()}
        data = self.to_dict()
        if self.attended is not None:
            arrays["attended/weights"] = self.attended.weights
        storage.write(path_of(path), data, arrays)

    def to_logitlenskit(self: Any) -> dict[str, Any]:
        """LogitLensKit's JSON, version 2, with all of this result added under ``"bauklens"``.

        See :func:`bauklens.result.logitlenskit.to_logitlenskit`.

        Raises:
            LensError: none of the rows is a block.
        """
        from bauklens.result.logitlenskit import to_logitlenskit

        return to_logitlenskit(self)

    @staticmethod
    def from_logitlenskit(data: Mapping[str, Any]) -> "LensResult":
        """A result from LogitLensKit's JSON; see :func:`bauklens.result.logitlenskit.from_logitlenskit`.

        Raises:
            LensError: the data does not have that format.
        """
        from bauklens.result.logitlenskit import from_logitlenskit

        return from_logitlenskit(data)

    def to_json(self: Any) -> str:
        """:meth:`to_dict` as one line of JSON."""
        return storage.as_json(self.to_dict())

    @staticmethod
    def load(path: str | Path, *, largest: int = LARGEST_FILE) -> "LensResult":
        """Reads a file that :meth:`save` wrote; its format is recognized by its content.

        Args:
            path: a regular file.
            largest: the most bytes that it may have, by default 1 GB, so that no file fills the memory unasked.

        Raises:
            LensError: the file cannot be read, is larger, or is damaged.
        """
        from bauklens.result.result import LensResult

        path = path_of(path)
        try:
            result = LensResult.from_dict(storage.read(path, largest))
        except LensError as error:
            raise LensError(f"cannot read {path}: {error}") from None
        return replace(result, read_from=f"the file {path.name}")

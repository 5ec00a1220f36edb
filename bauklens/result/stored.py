"""Writing a result and reading it again: plain values, JSON, files; a part of :class:`bauklens.LensResult`."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
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
"""Measures that a result has anyway, and that are not written twice."""

CELLS = ("top_ids", "top_probs", "magnitude")
"""The arrays of a result that have a value for every cell."""

LARGE = (*CELLS, "vocabulary", "measures", "targets", "pictures", "tracked", "attended")
"""The parts of a result that have a value for every cell, or a picture."""

NOT_SAVED = ("read_from",)
"""Fields that are known only here, and not written to a file."""

ARRAYS = ("token_ids", "positions", *CELLS)
"""What a result holds as arrays."""


class Stored:
    """The methods that write a result and read it again."""

    def to_dict(self: Any) -> dict[str, Any]:
        """The result as plain lists and numbers, ready for JSON: format ``bauklens.lens``, version 1.

        Every float32 is written as the shortest number that reads back as the same float32.
        """
        data: dict[str, Any] = self._without(())
        return data

    def _without(self: Any, apart: Collection[str]) -> dict[str, Any]:
        """The same without the entries of these names, which a file stores as arrays; ``"a/b"`` is entry b of a."""
        own = {name: value for name, value in self.measures.items() if name not in OWN}
        held = {name: value for name, value in own.items() if f"measures/{name}" not in apart}
        data: dict[str, Any] = self.head(apart)
        data |= {name: plain(getattr(self, name)) for name in (*CELLS, "vocabulary") if name not in apart}
        if held or not own:
            data["measures"] = plain(held)
        data |= {name: [each.to_dict() for each in getattr(self, name)] for name in ("targets", "pictures")}
        for name in ("tracked", "attended"):
            part = getattr(self, name)
            leave = {each.removeprefix(f"{name}/") for each in apart if each.startswith(f"{name}/")}
            data[name] = None if part is None else part.to_dict(leave)
        return data

    def head(self: Any, apart: Collection[str] = ()) -> dict[str, Any]:
        """What :meth:`to_dict` returns, without the numbers and texts of the cells.

        Args:
            apart: names of further entries to leave out.
        """
        from bauklens.result.result import LensResult

        left_out = {*LARGE, *NOT_SAVED, *apart}
        small = (each.name for each in fields(LensResult) if each.name not in left_out)
        return {"format": FORMAT, "version": VERSION} | {name: plain(getattr(self, name)) for name in small}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LensResult":
        """Reads the result that :meth:`to_dict` wrote; its check is shown as a claim of the data.

        Raises:
            LensError: the format or version is another one, or a part is missing or has the wrong shape.
        """
        return cls._from(data, "the data it was read from")

    @staticmethod
    def _from(data: Any, read_from: str) -> "LensResult":
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
        values = {name: data[name] for name in saved if name in data} | {"read_from": read_from}
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
        if self.attended is not None:
            arrays["attended/weights"] = self.attended.weights
        storage.write(path_of(path), self._without, arrays)

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
            largest: the most bytes that it may have, by default 1 GB, so that no file fills the memory unexpectedly.

        Raises:
            LensError: the file cannot be read, is larger, or is damaged.
        """
        path = path_of(path)
        try:
            return Stored._from(storage.read(path, largest), f"the file {path.name}")
        except LensError as error:
            raise LensError(f"cannot read {path}: {error}") from None

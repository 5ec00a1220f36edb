"""The manifest of a sweep: what its shards depend on, written once and compared from then on."""

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bauklens.errors import LensError
from bauklens.reading_files import parse_json, read_text

NAME = "_manifest.json"
"""Readers of Parquet folders skip names that begin with an underscore."""

FORMAT, VERSION = "bauklens.sweep", 1
MOST_PER, MOST_THREADS = 2**31, 2**15
"""Limit of the prompts of a sweep or a shard, and of the threads of a worker."""

RUNS = "_runs"
"""The folder in which each worker records what it has done."""

_SHARD = "part-{:07d}.parquet"
_SHARD_NAME = re.compile(r"part-([0-9]{7}|[1-9][0-9]{7,})\.parquet")
_NOT_COMPARED = ("source",)
"""What may have another name: the same prompts in another place."""


@dataclass(frozen=True)
class Manifest:
    """What the shards of a sweep depend on.

    Attributes:
        about: ``model``, ``input``, ``options``, ``layout`` (prompts per shard, kinds of rows, threads) and
            ``versions``, each a mapping of plain values.
    """

    about: Mapping[str, Mapping[str, Any]]

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        return int(self.about["input"]["prompts"])

    @property
    def per(self) -> int:
        """Prompts of a shard."""
        return int(self.about["layout"]["per"])

    @property
    def threads(self) -> int:
        """Threads that a worker computes with, as the last digits of a product depend on them."""
        return int(self.about["layout"]["threads"])

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.prompts // self.per)

    def path_of(self, folder: Path, shard: int) -> Path:
        """The file of a shard."""
        return folder / _SHARD.format(shard)

    def prompts_of(self, shard: int) -> range:
        """The prompts of a shard."""
        return range(shard * self.per, min(self.prompts, (shard + 1) * self.per))

    def done(self, folder: Path) -> list[int]:
        """The shards whose files are there."""
        with os.scandir(folder) as entries:
            there = [_SHARD_NAME.fullmatch(each.name) for each in entries if each.is_file()]
        numbers = sorted(int(each[1]) for each in there if each)
        return [number for number in numbers if number < self.shards]

    def text(self) -> str:
        """As JSON."""
        return json.dumps({"format": FORMAT, "version": VERSION, **self.about}, indent=1, ensure_ascii=False) + "\n"


def folder_of(model: str) -> str:
    """The folder of one of several models, as Hive calls it, so that readers of Parquet folders know the model.

    >>> folder_of("checkpoint-100")
    'model=checkpoint-100'
    """
    return f"model={model}"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        LensError: there is none, or it is not one of a sweep.
    """
    path = folder / NAME
    try:
        found = parse_json(read_text(path))
    except LensError as error:
        raise LensError(f"cannot read {path}: {error}") from None
    parts = ("model", "input", "options", "layout", "versions")
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise LensError(f"{path} is not the manifest of a sweep")
    if found.get("version") != VERSION or not all(isinstance(found.get(part), dict) for part in parts):
        raise LensError(f"{path} is the manifest of another version of bauklens: {found.get('version')!r:.40}")
    for part, name in (("input", "prompts"), ("layout", "per"), ("layout", "threads")):
        count = found[part].get(name)
        if not isinstance(count, int) or not 0 < count < (MOST_THREADS if name == "threads" else MOST_PER):
            raise LensError(f"{path} is damaged: {name} is {count!r:.40}")
    return Manifest({part: found[part] for part in parts})


def begun(folder: Path, manifest: Manifest) -> Manifest:
    """Writes a manifest, if none is there; else returns the one that is there, if it is of the same sweep.

    Workers that begin at the same time all get the same manifest.

    Raises:
        LensError: the folder holds another sweep, or shards without a manifest, or cannot be written.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if any(folder.glob("part-*.parquet")):
                raise LensError(f"{folder} holds shards but no {NAME}: pass another folder")
            _write_once(path, manifest.text())
    except OSError as error:
        raise LensError(f"cannot write {path}: {error.strerror or error}") from None
    known = read_manifest(folder)
    _require_same(folder, known, manifest)
    return known


def _require_same(folder: Path, known: Manifest, own: Manifest) -> None:
    for part, values in json.loads(own.text()).items():
        if part in ("format", "version"):
            continue
        before = known.about[part]
        for name in {**values, **before}:
            if name in _NOT_COMPARED or (part == "layout" and name == "threads"):
                continue
            if values.get(name) != before.get(name):
                called = name if part in ("options", "layout", "versions") else f"the {name} of the {part}"
                raise LensError(
                    f"{folder} was begun with {called} = {_short(before.get(name))}, but now it is "
                    f"{_short(values.get(name))}: use the same, or pass another folder"
                )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _write_once(path: Path, text: str) -> None:
    """Writes a file completely or not at all, and keeps the one that another process has written in the meantime."""
    beside = path.with_name(f"._{path.name}-{secrets.token_hex(8)}")
    try:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")  # lone surrogates, escaped as in JSON
        try:
            os.link(beside, path)
        except FileExistsError:
            return
        except OSError:  # this file system has no links
            if not path.exists():
                beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)

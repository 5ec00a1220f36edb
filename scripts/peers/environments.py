"""Which Python runs a way: this one if it has the tool, otherwise a separate one, which is kept."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from peers.ways import REPOSITORIES, Way

_SAME = ("torch", "transformers")  # of the same versions everywhere, so that all run the same model
_DONE = "installed.json"


class NotMeasuredError(Exception):
    """Why a way has no figures, in one line."""


@dataclass(frozen=True)
class Environments:
    """The environments: their folder, and how they are made.

    Attributes:
        folder: the virtual environments.
        repositories: name of a tool -> address of another copy of its repository.
        build: whether to make missing ones.
    """

    folder: Path
    repositories: Mapping[str, str]
    build: bool = True

    def python_for(self, way: Way) -> Path:
        """The interpreter.

        Raises:
            NotMeasuredError: the tool is not installed, and cannot or must not be installed.
        """
        if self._is_here(way):
            return Path(sys.executable)
        place = self._place(way)
        python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        if not (place / _DONE).is_file():
            if not self.build:
                raise NotMeasuredError(f"not installed: {', '.join(self._names(way))}")
            self._make(way, place, python)
        return python

    def missing(self, way: Way) -> bool:
        """Whether an environment would have to be made for it."""
        return not self._is_here(way) and not (self._place(way) / _DONE).is_file()

    def _is_here(self, way: Way) -> bool:
        """A tool that no index has is never searched for: the index may have another one of that name."""
        if way.repository:
            return False
        for wanted in way.packages:
            name, _, release = wanted.partition("==")
            try:
                if distribution(name).version != release:
                    return False
            except PackageNotFoundError:
                return False
        return True

    def _requirements(self, way: Way) -> list[str]:
        same = [f"{name}=={version(name).partition('+')[0]}" for name in _SAME]
        if not way.repository:
            return [*same, *way.packages]
        address = self.repositories.get(way.repository)
        return [*same, *way.packages, REPOSITORIES[way.repository].requirement(address)]

    def _place(self, way: Way) -> Path:
        told = json.dumps([sys.version, self._requirements(way)])
        first = self._names(way)[0]
        return self.folder / f"{first}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"

    @staticmethod
    def _names(way: Way) -> list[str]:
        return [*([way.repository] if way.repository else []), *(each.partition("==")[0] for each in way.packages)]

    def _make(self, way: Way, place: Path, python: Path) -> None:
        requirements = self._requirements(way)
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        for command in ([sys.executable, "-m", "venv", place], install):
            ran = subprocess.run([*map(str, command)], capture_output=True, text=True)  # noqa: S603
            if ran.returncode:
                raise NotMeasuredError(f"could not be installed: {_reason(ran.stderr)}")
        (place / _DONE).write_text(json.dumps(requirements, indent=1) + "\n", encoding="utf-8")


def _reason(complaint: str) -> str:
    """The most informative line of pip's error: git's, or its last one with that beginning."""
    lines = [line.strip() for line in complaint.splitlines()]
    fatal = [line for line in lines if line.startswith("fatal: ")]
    told = [line.removeprefix("ERROR: ") for line in lines if line.lower().startswith("error: ")]
    return (fatal[:1] or told[-1:] or ["pip gave no reason"])[0][:200]

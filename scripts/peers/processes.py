"""The processes that run the ways, seen from the one that asks them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from peers.environments import Environments, NotMeasuredError
from peers.memory import free_bytes
from peers.prompts import Prompt, Told
from peers.ways import Way

_SCRIPTS = Path(__file__).resolve().parent.parent
_FREE = 0.6


class Process:
    """One way, and the process that runs it.

    Args:
        way: the way to run.
        environments: the Pythons that it may run in.
        folder: the model.
        lens: the file of the Jacobian lens.
        prompts: length -> prompt.
        numbers: length -> how many numbers the logits of all rows are.

    Raises:
        NotMeasuredError: the tool cannot be installed, or does not take the model.
    """

    def __init__(
        self,
        way: Way,
        environments: Environments,
        folder: Path,
        lens: Path,
        prompts: Mapping[int, Prompt],
        numbers: Mapping[int, int],
    ) -> None:
        self.way, self.numbers = way, numbers
        python = environments.python_for(way)
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(  # noqa: S603
            [str(python), "-m", "peers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            encoding="utf-8",
            cwd=_SCRIPTS,
            env=_environment(own=Path(sys.executable) != python),
        )
        told = {str(length): {"ids": list(prompt.ids), "text": prompt.text} for length, prompt in prompts.items()}
        job = {"reader": way.reader, "model": str(folder), "lens": str(lens), "prompts": told}
        try:
            self.versions: dict[str, str] = self.ask(**job, packages=_packages(way))["versions"]
        except NotMeasuredError:
            self.close()
            raise

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Asks one question and returns the answer.

        Raises:
            NotMeasuredError: the way failed; with its reason.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = ""
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            raise NotMeasuredError(f"its process ended with status {status}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise NotMeasuredError(answer["error"])
        return answer

    def answer(self, length: int, path: Path) -> Told | None:
        """Its top k, which passes through a file; None if it has none.

        Raises:
            NotMeasuredError: it failed, or would need more memory than there is.
        """
        needed, free = 4 * self.way.held * self.numbers[length], free_bytes()
        if free is not None and needed > _FREE * free:
            raise NotMeasuredError(f"needs {needed / 1e9:,.0f} GB for its logits, and {free / 1e9:,.0f} GB are free")
        layers: Sequence[str] = self.ask(do="answer", length=str(length), path=str(path))["layers"]
        if not layers:
            return None
        with np.load(path) as held:
            return Told(layers, held["ids"], held["probabilities"])

    def seconds(self, length: int) -> float:
        """The seconds of one reading."""
        return float(self.ask(do="seconds", length=str(length))["seconds"])

    def memory(self, length: int) -> dict[str, int | None]:
        """Bytes: ``peak`` above that of a forward pass, and ``kept`` between readings."""
        return self.ask(do="memory", length=str(length))

    def close(self) -> None:
        """Ends the process."""
        with suppress(BrokenPipeError):
            self.process.communicate()
        self.log.close()

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = [line.strip() for line in self.log if line.strip()]
        return lines[-1][:200] if lines else "it printed nothing"


def _packages(way: Way) -> list[str]:
    """The packages whose versions a run reports."""
    names = [each.partition("==")[0] for each in way.packages]
    own = [way.repository] if way.repository else []
    ours = ["bauklens", "numba"] if way.reader.startswith("of_bauklens:") else []
    return [*own, *names, *ours, "torch", "transformers"]


def _environment(own: bool) -> dict[str, str]:
    """The environment variables of a process; another Python does not get our path."""
    hidden = {"PYTHONPATH"} if own else set()
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

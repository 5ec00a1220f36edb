"""One way in its own process, python -m peers.worker; questions and answers are lines of JSON."""

import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from peers.least import Forward
from peers.memory import give_back, held_bytes, peak_bytes
from peers.prompts import Prompt, Reader


class Worker:
    """Keeps the model, and answers questions about one prompt at a time.

    Args:
        job: ``reader`` ("module:class" in this package), ``model`` (a folder), ``lens`` (a file), ``packages`` (whose
            versions are told), ``prompts`` (length -> ids and text).
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        module, _, name = job["reader"].partition(":")
        kind = getattr(import_module(f"peers.{module}"), name)  # before memory is looked at: it is large
        self.prompts = {length: Prompt(tuple(each["ids"]), each["text"]) for length, each in job["prompts"].items()}
        model = AutoModelForCausalLM.from_pretrained(job["model"]).eval().requires_grad_(False)
        forward = Forward(model)
        self.least = {length: self.peak(forward, length) for length in self.prompts}
        self.bare = held_bytes()
        self.reader: Reader = kind(model, AutoTokenizer.from_pretrained(job["model"]), job["lens"])
        self.versions = versions(job["packages"])

    def peak(self, reader: Reader, length: str) -> int | None:
        """The seconds of the second reading."""
        reader.read(self.prompts[length])
        return peak_bytes(lambda: reader.read(self.prompts[length]))

    def answer(self, length: str, path: str) -> dict[str, Any]:
        """Writes top ids and probabilities to a file, and returns the names of the rows; none without an answer."""
        told = self.reader.told(self.reader.read(self.prompts[length]))
        if told is None:
            return {"layers": []}
        np.savez(path, ids=told.top_ids, probabilities=told.top_probs)
        return {"layers": list(told.layers)}

    def seconds(self, length: str) -> dict[str, Any]:
        """Of the second of two times: the first pays for what other processes have pushed out of the caches."""
        taken = 0.0
        for _ in range(2):
            started = time.perf_counter()
            self.reader.read(self.prompts[length])
            taken = time.perf_counter() - started
        return {"seconds": taken}

    def memory(self, length: str) -> dict[str, Any]:
        """Bytes: the peak of a call above that of a forward pass, and the memory kept between calls; asked last."""
        give_back()
        peak, held = self.peak(self.reader, length), held_bytes()
        least = self.least[length]
        return {
            "peak": None if peak is None or least is None else peak - least,
            "kept": None if held is None or self.bare is None else held - self.bare,
        }


def versions(packages: Any) -> dict[str, str]:
    """The versions of installed packages; with the commit if installed with git."""
    found = {}
    for name in packages:
        try:
            each = distribution(name)
        except PackageNotFoundError:
            continue
        source = json.loads(each.read_text("direct_url.json") or "{}").get("vcs_info", {})
        found[name] = f"{each.version} (git {source['commit_id'][:7]})" if source else each.version
    return found


def main() -> None:
    """Answers until there are no more questions."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what tools print is not an answer

    def tell(said: Mapping[str, Any]) -> None:
        print(json.dumps(said), file=answers, flush=True)

    worker: Worker | None = None
    with torch.no_grad():
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                if worker is None:
                    worker = Worker(asked)
                    tell({"versions": worker.versions})
                else:
                    tell(getattr(worker, asked.pop("do"))(**asked))
            except Exception as error:  # whatever a tool raises goes into its line of the table
                traceback.print_exc()
                tell({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]})


if __name__ == "__main__":
    main()

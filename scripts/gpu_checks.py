"""The checks of scripts/gpu_session.py on a real GPU: running out of memory, the tests that need CUDA, two GPUs."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from gpu_timing import free, reason

import bauklens
from bauklens.decode import tiles
from bauklens.model.memory import free_memory

ROOT = Path(__file__).resolve().parent.parent

TOLERANCE = 1e-3
"""The largest relative difference between two probabilities."""

_SAME_IDS = 0.999
"""The share of the table's tokens that must be equal; tokens with almost equal probabilities may change places."""

_LEFT = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""The free memory to try, as shares of what the lens needs; the first that is too little."""

_MB = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """The result of a check: "ok", "FAILED" or "left out", and one line about it."""

    what: str
    outcome: str
    line: str


def small_gpt2(tokens: int) -> Any:
    """A GPT-2 of 4 narrow layers with its full vocabulary, so that the logits take most of a lens's memory."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model("gpt2", n_embd=128, n_layer=4, n_head=4, n_positions=tokens)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval().requires_grad_(False)


def memory_runs_out(device: torch.device, tokens: int = 512) -> Outcome:
    """A tensor fills the GPU and leaves too little memory: tiles must be halved, and the result must be equal."""
    what = "out of CUDA memory halves tiles"
    if device.type != "cuda":
        return Outcome(what, "left out", "it needs CUDA")
    model, prompt = small_gpt2(tokens).to(device), list(range(tokens))
    roomy = _lens(model, prompt)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    _lens(model, prompt)
    needed = torch.cuda.max_memory_allocated(device) - before
    for share in _LEFT:
        free()
        left = int(share * needed)
        ballast = torch.empty(max(0, torch.cuda.mem_get_info(device)[0] - left), dtype=torch.uint8, device=device)
        try:
            with mock.patch.object(tiles, "free_memory", wraps=free_memory) as halved:
                found = _lens(model, prompt)
        except (bauklens.LensError, torch.OutOfMemoryError) as error:
            return Outcome(what, "FAILED", f"with {left / _MB:.0f} of {needed / _MB:.0f} MiB left: {reason(error)}")
        finally:
            del ballast
            free()
        if halved.call_count:
            same, line = alike(found, roomy)
            line = f"{left / _MB:.0f} of {needed / _MB:.0f} MiB left, halved {halved.call_count} times: {line}"
            return Outcome(what, "ok" if same else "FAILED", line)
    return Outcome(what, "FAILED", f"no tile was halved, with as little as {left / _MB:.0f} MiB left")


def alike(one: Any, other: Any) -> tuple[bool, str]:
    """Whether two lenses are equal up to rounding, and how far apart they are."""
    apart = float(np.max(np.abs(one.top_probs - other.top_probs) / np.maximum(other.top_probs, 1e-9)))
    same = float(np.mean(one.top_ids == other.top_ids))
    line = f"{100 * same:.2f} % of the tokens the same, probabilities within {100 * apart:.2g} %"
    return apart <= TOLERANCE and same >= _SAME_IDS, line


def cuda_tests(seconds: float) -> Outcome:
    """Runs the tests that are marked cuda."""
    what = "pytest -m cuda"
    files = [str(path) for path in sorted((ROOT / "tests").glob("test_*.py")) if "mark.cuda" in path.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", *files]
    try:
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)  # noqa: S603
    except subprocess.TimeoutExpired:
        return Outcome(what, "FAILED", f"it took more than {seconds:.0f} seconds")
    lines = [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()] or [""]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    line = " ".join([lines[-1], *failed])
    if ran.returncode == 0 and "passed" in line:
        return Outcome(what, "ok", line)
    return Outcome(what, "FAILED" if ran.returncode else "left out", line)


def two_gpus(tokens: int = 64) -> Outcome:
    """A model that accelerate spreads over all GPUs gives the same table as on one."""
    what = "a model over two GPUs by device_map"
    if torch.cuda.device_count() < 2:
        return Outcome(what, "left out", f"{torch.cuda.device_count()} GPUs are here")
    prompt = list(range(tokens))
    model = small_gpt2(tokens)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        spread, _ = bauklens.load(folder, device_map="balanced")
    devices = sorted({str(parameter.device) for parameter in spread.parameters()})
    same, line = alike(_lens(spread, prompt), _lens(model.to("cuda:0"), prompt))
    return Outcome(what, "ok" if same and len(devices) > 1 else "FAILED", f"on {', '.join(devices)}: {line}")


def _lens(model: Any, prompt: list[int]) -> Any:
    return bauklens.logit_lens(model, None, prompt, track=0)

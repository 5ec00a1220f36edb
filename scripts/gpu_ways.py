"""The timings of scripts/gpu_session.py on one model: the lens, its lower bound, and other ways."""

from typing import Any

import torch
from benchmark import SHAPES, Cases, peak_bytes
from gpu_timing import Way, milliseconds, profiled, reason

import bauklens
from bauklens.decode.decoder import LOGIT_LENS

FORWARD = "forward pass"
FLOOR = "floor: plus one product per layer"
LOW_FLOOR = "floor in bfloat16"
LENS = "bauklens, with its measures"

_SHARE = 0.8
"""The share of the free memory that the notebook's way may need."""


def build(shape: str, dtype: str, tokens: int, device: torch.device) -> Any:
    """A model with random weights, made on the device, with at least this many positions."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if shape == "tiny":
        sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 16, "vocab_size": 700}
        config = AutoConfig.for_model("gpt2", **sizes, bos_token_id=1, eos_token_id=2)
    else:
        config = SHAPES[shape]()
    config.n_positions = max(config.n_positions, tokens)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    return model.eval().requires_grad_(False).to(device)


def measure(model: Any, tokens: int, rounds: int, until: float) -> dict[str, Any]:
    """Times, memory and a profile at one length of the prompt; failures are kept with their reasons."""
    prompt = torch.randint(0, model.config.vocab_size, (tokens,), generator=torch.Generator().manual_seed(0))
    cases = Cases(model, None, prompt, LOGIT_LENS)
    device = cases.token_ids.device
    ways, left_out = _ways(cases)
    taken, failed = milliseconds(ways, rounds, device, until)
    peaks: dict[str, int | None] = {}
    for name in taken:
        try:
            peaks[name] = peak_bytes(ways[name])
        except Exception as error:
            peaks[name], failed[f"{name}, memory"] = None, reason(error)
    run: dict[str, Any] = {
        "dtype": str(cases.head.weight.dtype).removeprefix("torch."),
        "tokens": tokens,
        "layers": len(cases.found.blocks),
        "vocabulary": cases.found.vocabulary,
        "milliseconds": taken,
        "peak_bytes": peaks,
        "state_bytes": cases.state_bytes,
        "failed": left_out | failed,
        "decoding": dict(cases.lens.provenance["decoding"]),
    }
    if LENS in taken:
        try:
            run |= _profile(ways, taken[LENS], device)
        except Exception as error:
            run["failed"]["profile"] = reason(error)
    return run


def _ways(cases: Cases) -> tuple[dict[str, Way], dict[str, str]]:
    """What to time, the forward pass first; and what is left out, with the reason."""
    own = cases.head.weight.dtype
    ways: dict[str, Way] = {FORWARD: cases.forward, FLOOR: lambda: _floor(cases, cases.head.weight)}
    if own != torch.bfloat16:
        ways[LOW_FLOOR] = lambda: _floor(cases, cases.low)
    ways[LENS] = lambda: bauklens.logit_lens(cases.model, None, cases.prompt, track=0)
    ways["bauklens, top-k only"] = lambda: bauklens.logit_lens(cases.model, None, cases.prompt, track=0, measures=[])
    left_out: dict[str, str] = {}
    needed = cases.notebook_bytes * own.itemsize // 4
    free = _free_bytes(cases.token_ids.device)
    if needed < _SHARE * free:
        ways["notebook: softmax of everything"] = cases.notebook
    else:
        left_out["notebook: softmax of everything"] = f"needs {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free"
    return ways, left_out


def _floor(cases: Cases, weight: torch.Tensor) -> None:
    """The forward pass plus one product with the head per layer, results discarded."""
    cases.forward()
    # Not zeros: a GPU multiplies those with less power, so faster.
    states = torch.randn(len(cases.prompt), weight.shape[1], dtype=weight.dtype, device=weight.device)
    logits = torch.empty(len(cases.prompt), len(weight), dtype=weight.dtype, device=weight.device)
    for _ in range(1 + len(cases.found.blocks)):
        torch.mm(states, weight.T, out=logits)


def _profile(ways: dict[str, Way], taken: float, device: torch.device) -> dict[str, Any]:
    """What the lens's time is spent on: the kinds of work on the device, minus those of the forward pass."""
    lens, names = profiled(ways[LENS], device)
    forward, _ = profiled(ways[FORWARD], device)
    kinds = {kind: max(0.0, spent - forward[kind]) for kind, spent in lens.items()}
    if device.type == "cuda":
        kinds["nothing runs on the GPU"] = max(0.0, taken - sum(lens.values()))
    return {"profile": {FORWARD: sum(forward.values()), **kinds}, "names": names}


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    from bauklens.model.memory import free_bytes

    return free_bytes()

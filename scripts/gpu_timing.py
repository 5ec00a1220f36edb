"""How long things take on a GPU, how much memory they need there, and what the time is spent on."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

Way = Callable[[], object]

KINDS = {
    "product": ("gemm", "cutlass", "nvjet", "xmma", "cublas", "splitk", "aten::mm", "aten::addmm", "aten::bmm"),
    "top-k": ("topk", "sort", "radix"),
    "copies to the host": ("dtoh",),
    "softmax, reductions": ("softmax", "reduce", "exp", "sum", "max", "log", "norm", "mean"),
    "other copies": ("memcpy", "memset", "copy", "catarray", "aten::cat", "index", "gather"),
    "arithmetic": ("",),
}
"""The kind of a kernel, or of an operator on the CPU, by a part of its name; the first match counts."""

_NAMES = 12


def milliseconds(
    ways: Mapping[str, Way], rounds: int, device: torch.device, until: float | None = None
) -> tuple[dict[str, float], dict[str, str]]:
    """Each way's median, by CUDA events; the ways alternate after one run of each that does not count.

    Args:
        until: a time of time.monotonic(); no round begins after it, once each way has run twice.

    Returns:
        The time of each, and the reasons of those that failed.
    """
    taken: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    for number in range(1 + max(1, rounds)):
        if number > 1 and until is not None and time.monotonic() > until:
            break
        for name, way in ways.items():
            if name in failed:
                continue
            try:
                once = _once(way, device)
            except Exception as error:
                failed[name] = reason(error)
                error.__traceback__ = None
                free()
                continue
            if number:
                taken.setdefault(name, []).append(once)
    return {name: statistics.median(each) for name, each in taken.items() if name not in failed}, failed


def reason(error: BaseException) -> str:
    """One line of it."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def free() -> None:
    """Frees unused memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def profiled(way: Way, device: torch.device) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of each kind on the device, and of the names that took the most."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as seen:
        way()
        if on_gpu:
            torch.cuda.synchronize(device)
    names: dict[str, float] = {}
    for each in seen.key_averages():
        if on_gpu == (each.device_type == DeviceType.CUDA):
            spent = each.self_device_time_total if on_gpu else each.self_cpu_time_total
            names[each.key] = names.get(each.key, 0.0) + spent / 1000
    kinds = dict.fromkeys(KINDS, 0.0)
    for name, spent in names.items():
        kinds[kind_of(name)] += spent
    most = sorted(names, key=lambda name: -names[name])[:_NAMES]
    return kinds, {name[:120]: names[name] for name in most}


def kind_of(name: str) -> str:
    """The kind, one of KINDS, of a kernel or operator."""
    return next(kind for kind, parts in KINDS.items() if any(part in name.lower() for part in parts))


def _once(way: Way, device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        way()
        return 1000 * (time.perf_counter() - started)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    begin.record()
    way()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))

"""What ``bauklens doctor`` prints: versions, devices, the tracer, caches, and the demo model."""

import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import bauklens
from bauklens import __version__
from bauklens.cli.importing import imported
from bauklens.errors import LensError
from bauklens.model.caches import (
    DEMO,
    cache_folder,
    cached_models,
    demo_file,
    demo_folder,
    hub_folder,
    is_demo_converted,
)

_NEEDED = ("torch", "transformers", "accelerate", "huggingface_hub", "safetensors", "numpy")
_EXTRAS = {
    "fast": ("numba",),
    "gguf": ("gguf",),
    "frame": ("pandas", "pyarrow", "xarray"),
    "plot": ("matplotlib", "plotly"),
}
"""Extra -> its packages."""

_GB = 1 << 30
_MOST_NAMES = 6


def examined() -> Iterator[tuple[str, str]]:
    """(name, value) for everything that a bug report should contain, as text to be printed.

    If something fails, its line shows the error, and the rest continues.
    """
    yield "bauklens", f"{__version__} in {Path(bauklens.__file__).parent}"
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    for name in _NEEDED:
        yield name, _package(name, "pip install bauklens")
    for extra, names in _EXTRAS.items():
        for name in names:
            yield name, _package(name, f"pip install 'bauklens[{extra}]'")
    for name, probe in _PROBES.items():
        yield name, _said(probe)


def _said(probe: Callable[[], str]) -> str:
    try:
        return probe()
    except Exception as error:
        return f"unknown: {type(error).__name__}: {error}"


def _package(name: str, remedy: str) -> str:
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"not installed: {remedy}"
    try:
        imported(name)
    except Exception as error:
        return f"{found}, but importing it fails: {type(error).__name__}: {error}"
    return found


def _cpu() -> str:
    import torch

    from bauklens.decode.compiled import READ_BEFORE
    from bauklens.decode.cpu import bfloat16_features, has_int8
    from bauklens.decode.low_precision import FEWEST_ROWS, FEWEST_TOKENS

    features = bfloat16_features()
    numbers = ["bfloat16"] if features else []
    if has_int8() and find_spec("numba") is not None:
        features, numbers = (*features, "VNNI"), [*numbers, f"int8 once {READ_BEFORE:,} rows were read"]
    table = f"from {FEWEST_ROWS} rows and {FEWEST_TOKENS:,} tokens of vocabulary on"
    found = f"{' and '.join(features)}: float32 models are decoded in {', and in '.join(numbers)}, {table}"
    how = found if numbers else "decodes in float32"
    return f"{torch.get_num_threads()} threads; {how}"


def _accelerators() -> str:
    import torch

    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        found.append(f"cuda:{number} {name}, {free / _GB:.1f} of {total / _GB:.1f} GB free")
    if torch.backends.mps.is_available():
        found.append("mps")
    return "; ".join(found) or "none"


def _tracer() -> str:
    from bauklens.model import tracedict, tracing

    if tracing.TraceDict is not tracedict.TraceDict:
        return "baukit's TraceDict"
    try:
        from baukit import TraceDict  # noqa: F401
    except ModuleNotFoundError:
        return "bauklens' own TraceDict (baukit's is used if baukit is installed)"
    except Exception as error:
        return f"bauklens' own TraceDict, because importing baukit fails ({type(error).__name__}: {error})"
    return "bauklens' own TraceDict"


def _cache() -> str:
    folder = cache_folder()
    if not folder.exists():
        return f"{folder} (not created yet)"
    size = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    return f"{folder} ({size / _GB:.1f} GB)"


def _hub_cache() -> str:
    names = cached_models()
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{hub_folder()} ({', '.join(names[:_MOST_NAMES]) or 'no models'}{more})"


def _demo() -> str:
    if is_demo_converted():
        return f"{DEMO}, dequantized from a 4-bit GGUF file, ready in {demo_folder()}"
    try:
        demo_file()
    except LensError as error:
        return str(error)
    return "installed; the first load converts it, which takes about 20 seconds"


_PROBES = {
    "cpu": _cpu,
    "accelerators": _accelerators,
    "tracer": _tracer,
    "cache": _cache,
    "hub cache": _hub_cache,
    "demo model": _demo,
}

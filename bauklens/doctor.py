"""What ``bauklens doctor`` says of a machine: versions, devices, the tracer, caches, and the demo model."""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from bauklens import __version__, tracedict
from bauklens.caches import cache_folder, cached_models, demo_file, demo_folder, hub_folder, is_demo_converted
from bauklens.errors import LensError
from bauklens.mixed import pays
from bauklens.trace import TraceDict

_NEEDED = ("torch", "transformers", "accelerate", "huggingface_hub", "safetensors", "numpy")
_EXTRAS = {
    "gguf": ("gguf", ".gguf files and the demo model"),
    "frame": ("pandas", "to_frame(), to_csv(), to_parquet()"),
    "plot": ("matplotlib", "plot()"),
}
"""Extra -> a package of it that tells whether it is installed, and what it is for."""

_GB = 1 << 30
_MOST_NAMES = 6


def examined() -> Iterator[tuple[str, str]]:
    """(name, value) of everything that a report of a problem should say, as text to be printed."""
    yield "bauklens", f"{__version__} in {Path(__file__).parent}"
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    for name in _NEEDED:
        yield name, _version(name) or "not installed"
    for extra, (name, purpose) in _EXTRAS.items():
        found = _version(name)
        yield name, found or f"not installed: pip install 'bauklens[{extra}]' for {purpose}"
    yield from _devices()
    yield "tracer", _tracer()
    yield "cache", f"{cache_folder()} ({_gigabytes(cache_folder())})"
    yield "hub cache", f"{hub_folder()} ({_names(cached_models())})"
    yield "demo model", _demo()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[tuple[str, str]]:
    faster = pays(torch.device("cpu"), torch.float32)
    how = "multiplies bfloat16 faster, so that float32 models are decoded in it" if faster else "decodes in float32"
    yield "cpu", f"{torch.get_num_threads()} threads; {how}"
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        yield f"cuda:{number}", f"{torch.cuda.get_device_name(number)}, {free / _GB:.1f} of {total / _GB:.1f} GB free"
    if not torch.cuda.is_available():
        yield "cuda", "none"
    if torch.backends.mps.is_available():
        yield "mps", "there"


def _tracer() -> str:
    if TraceDict is not tracedict.TraceDict:
        return f"baukit's TraceDict ({_version('baukit') or 'no version'})"
    try:
        import baukit  # noqa: F401
    except Exception as error:
        return f"bauklens' own TraceDict, as baukit does not import ({type(error).__name__}: {error})"
    return "bauklens' own TraceDict, though baukit imports: start Python anew"


def _gigabytes(folder: Path) -> str:
    if not folder.is_dir():
        return "not made yet"
    return f"{sum(each.stat().st_size for each in folder.rglob('*') if each.is_file()) / _GB:.1f} GB"


def _names(names: list[str]) -> str:
    if not names:
        return "no models"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _demo() -> str:
    if is_demo_converted():
        return f"ready in {demo_folder()}"
    try:
        demo_file()
    except LensError as error:
        return str(error)
    return "installed; the first load converts it, which takes about half a minute"

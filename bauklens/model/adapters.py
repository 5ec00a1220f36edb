"""Adapters of PEFT: a folder with an adapter and no model -> its base model, with the adapter in place."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.located import ADAPTER, CONFIGURATION
from bauklens.model.unwrap import unwrapped
from bauklens.reading_files import parse_json, read_text

_NAME = "default"
_PREFIX = "base_model.model."
_SHARED = ("vblora_vector_bank", "tinylora_v", "unilora_theta_d")
"""Weights that PEFT keeps once and lists once per layer."""

_LABELS = ("score.weight", "classifier.weight", "classifier.out_proj.weight")
"""Names of the last weight of a classifier's head."""

_WHERE = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter's folder.

    Attributes:
        source: the folder or hub id.
        base: its base model: a folder or hub id.
        revision: the revision of the base model, if the adapter names one.
        task: PEFT's name of the task it was trained for, such as ``"CAUSAL_LM"``.
        weights: name in the base model -> weight.
        where: options of the hub that say where the adapter's files are.
    """

    source: str
    base: str
    revision: str | None
    task: str | None
    weights: Mapping[str, torch.Tensor]
    where: Mapping[str, Any]

    @property
    def labels(self) -> int | None:
        """The number of labels of a classifier's head that comes with the adapter."""
        return next((len(each) for name, each in self.weights.items() if name.endswith(_LABELS)), None)

    def put_on(self, model: Any) -> nn.Module:
        """The model, with the adapter in it.

        Raises:
            LensError: the adapter has weights that do not fit the model, or lacks some that it needs; or it acts
                outside the model's modules.
        """
        import peft

        if any(parameter.is_meta for parameter in model.parameters()):
            raise LensError(
                f"{self.source} is an adapter, which PEFT cannot apply to an offloaded model: leave out device_map, "
                "or merge the adapter into its model"
            )
        self._make_room(model)
        where = dict(self.where) | {"torch_device": "cpu"}
        adapted = peft.PeftModel.from_pretrained(model, self.source, _NAME, **where)
        inner: nn.Module = unwrapped(adapted)
        found = adapted.load_adapter(self.source, _NAME, **where)  # only this call says what does not fit
        lacking = [name for name in found.missing_keys if _NAME in name.split(".") and not _is_shared(name)]
        strange = [name for name in found.unexpected_keys if not self._is_repeated(name)]
        for names, what in ((strange, "has weights for {}, which {} does not have"), (lacking, "lacks {}")):
            if names:
                first = names[0].removeprefix(_PREFIX).replace(f".{_NAME}", "")
                more = f" and {len(names) - 1} others" if names[1:] else ""
                said = what.format(first + more, type(inner).__name__)
                raise LensError(f"the adapter {self.source} {said}: pass base=, the model that it was trained on")
        return inner

    def _is_repeated(self, name: str) -> bool:
        """Whether a weight also exists under its plain name, as PEFT saves a whole embedding twice."""
        plain = name.removeprefix(_PREFIX).replace(".modules_to_save.", ".").replace(".original_module.", ".")
        return plain != name.removeprefix(_PREFIX) and plain in self.weights

    def _make_room(self, model: Any) -> None:
        """Widens the vocabulary of a model whose adapter was trained with more tokens, and saved its embedding."""
        embedding = model.get_input_embeddings()
        names = [name for name, module in model.named_modules() if module is embedding]
        rows = next((len(self.weights[f"{name}.weight"]) for name in names if f"{name}.weight" in self.weights), None)
        if rows is not None and rows > embedding.weight.shape[0]:
            model.resize_token_embeddings(rows, mean_resizing=False)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds only an adapter, and not a whole model."""
    whole = (folder / CONFIGURATION).is_file() and any(
        each.suffix in (".safetensors", ".bin") and each.name.startswith(("model", "pytorch_model"))
        for each in folder.iterdir()
    )
    return (folder / ADAPTER).is_file() and not whole


def require_peft(source: str) -> None:
    """Refuses an adapter if PEFT is missing; transformers would silently load the model without the adapter.

    Raises:
        LensError: PEFT is not installed.
    """
    if find_spec("peft") is None:
        raise LensError(f"{source} is an adapter, and loading it needs the package peft: pip install peft")


def read_adapter(source: str, file: Path, options: Mapping[str, Any], base: str | None = None) -> Adapter:
    """Reads an adapter's configuration and weights.

    Args:
        source: the folder or hub id.
        file: its ``adapter_config.json``.
        options: those of ``from_pretrained``.
        base: its base model, if that has moved.

    Raises:
        LensError: the file cannot be read or names no model.
    """
    config = parse_json(read_text(file))
    named = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    named = base or _text(named)
    if named is None:
        raise LensError(f"the adapter {source} does not name the model that it is for: pass base=")
    where = {name: options[name] for name in _WHERE if options.get(name) is not None}
    return Adapter(
        source,
        base or _beside(file.parent, named),
        None if base else _text(config.get("revision")),
        _text(config.get("task_type")),
        _weights(source, where),
        where,
    )


def _weights(source: str, where: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    import peft

    return {
        name.removeprefix(_PREFIX): each for name, each in peft.load_peft_weights(source, device="cpu", **where).items()
    }


def _beside(folder: Path, named: str) -> str:
    """A path relative to the folder of training, or else to the adapter's own folder."""
    leads_on = named.startswith(("./", "../")) and not Path(named).is_dir()
    return str(folder / named) if leads_on and (folder / named).is_dir() else named


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _is_shared(name: str) -> bool:
    return any(each in name for each in _SHARED)

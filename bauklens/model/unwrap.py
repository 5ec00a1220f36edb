"""Finds the model inside a wrapper of another library."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from bauklens.errors import LensError
from bauklens.model.hooked import as_language_model

_PASS_ON = {
    ("repeng", "ControlModel"): "model",
    ("trl", "PreTrainedModelWrapper"): "pretrained_model",
    ("transformer_lens", "TransformerBridge"): "original_model",
    ("transformers", "Pipeline"): "model",
    ("transformers", "Trainer"): "model",
}
"""Library and class -> the attribute that holds the model, for wrappers that do not change how it runs.

The additions of repeng and TransformerLens are in the model's own modules, so they work without the wrapper too.
"""

_REFUSED = {
    (
        "pyvene",
        "BaseModel",
    ): "{} changes its model only in its own forward pass, which a lens does not run: pass .model",
    ("sentence_transformers", "SentenceTransformer"): "{} computes embeddings of texts: pass a language model",
    ("sentence_transformers", "SparseEncoder"): "{} computes embeddings of texts: pass a language model",
    ("sentence_transformers", "CrossEncoder"): "{} scores texts in its own forward pass: pass .model",
}
"""Library and class -> why it is not supported."""


def unwrapped(model: Any) -> Any:
    """The language model inside a wrapper that adds nothing to how it runs.

    These are wrappers of torch.compile, DataParallel, PEFT, NNsight, TransformerLens, repeng, TRL (value heads), a
    pipeline or a Trainer of transformers, and modules of Lightning that have no forward pass of their own. The adapters
    of a PEFT model are inside the model's own modules, so they work without the wrapper too. A HookedTransformer is not
    a wrapper; it is returned as a model that is called like those of transformers.

    Args:
        model: a model, wrapped or not; anything else is returned as it is.

    Raises:
        LensError: a PEFT model acts outside the model's modules (with tokens before the prompt, or only after the
            prompt invokes it); the wrapper has hooks, which would have no effect, or acts in its own forward pass;
            or it computes embeddings of texts.
    """
    inner = _inside(model)
    inner = _kept(model) if inner is None else inner
    if inner is None:
        return model
    if isinstance(model, nn.Module) and (model._forward_hooks or model._forward_pre_hooks):
        raise LensError(
            f"{type(model).__name__} has hooks, which have no effect on the {type(inner).__name__} inside: "
            "put them on that, or remove them"
        )
    return unwrapped(inner)


def is_of(model: Any, library: str, name: str) -> bool:
    """Whether an object's class, or a base class of it, has this name in a library; the library is not imported."""
    bases = type(model).__mro__
    return any(base.__name__ == name and base.__module__.partition(".")[0] == library for base in bases)


def held_models(model: Any) -> list[tuple[str, nn.Module]]:
    """(attribute, model) for each language model that an object holds, listed once, without its wrappers."""
    found: dict[int, tuple[str, nn.Module]] = {}
    for name, held in _attributes(model):
        inner = _bare(held)
        if hasattr(inner, "get_input_embeddings"):
            found.setdefault(id(inner), (name, inner))
    return list(found.values())


def not_a_model(model: Any) -> LensError:
    """The error for an object that is not a language model, but may hold one."""
    kind, held = type(model).__name__, held_models(model)
    if not held:
        return LensError(
            f"the model is a {kind}: pass the model that load() returns, or a causal language model of transformers"
        )
    names = [f".{name}" for name, _ in held]
    what = f"a {type(held[0][1]).__name__}" if len(held) == 1 else f"{len(held)} models"
    return LensError(
        f"{kind} holds {what} as {' and '.join(names)}, and may add something that a lens would not show: pass "
        + " or ".join(names)
    )


def _inside(model: Any) -> Any:
    """The model inside a wrapper; None if the model is not a wrapper."""
    if isinstance(model, nn.parallel.DataParallel | nn.parallel.DistributedDataParallel):
        return model.module
    if isinstance(model, nn.Module) and "_orig_mod" in model._modules:  # torch.compile
        return model._modules["_orig_mod"]
    if isinstance(model, nn.Module) and hasattr(model, "active_peft_config"):
        return _adapted(model)
    for (library, name), reason in _REFUSED.items():
        if is_of(model, library, name):
            raise LensError(reason.format(type(model).__name__))
    for (library, name), attribute in _PASS_ON.items():
        if is_of(model, library, name):
            return getattr(model, attribute)
    if is_of(model, "transformer_lens", "HookedTransformer"):
        return as_language_model(model)
    held = getattr(model, "_module", None)  # NNsight's LanguageModel, which is not a torch module itself
    return held if not isinstance(model, nn.Module) and isinstance(held, nn.Module) else None


def _bare(model: Any) -> Any:
    """A model without its wrappers; some wrappers are refused."""
    try:
        inner = _inside(model)
    except LensError:
        return model
    return model if inner is None else _bare(inner)


def _adapted(model: Any) -> Any:
    """The model inside one of PEFT."""
    if model.active_peft_config.is_prompt_learning:
        raise LensError(
            f"{type(model).__name__} puts its own tokens before the prompt, and these have no column in a lens: "
            "pass the base model, or another kind of adapter"
        )
    if getattr(model.active_peft_config, "alora_invocation_tokens", None):
        raise LensError(
            f"the adapter of {type(model).__name__} acts only after the prompt invokes it, which a lens does not "
            "support: pass the base model, or another kind of adapter"
        )
    return model.get_base_model()


def _kept(model: Any) -> nn.Module | None:
    """The model inside a module without its own forward pass, such as one of Lightning; else None."""
    if not isinstance(model, nn.Module) or hasattr(model, "get_input_embeddings"):
        return None
    lightning = [vars(base).get("forward") for base in type(model).__mro__ if base.__name__ == "LightningModule"]
    if type(model).forward not in (nn.Module.forward, *lightning):
        return None
    held = held_models(model)
    return held[0][1] if len(held) == 1 else None


def _attributes(model: Any) -> Iterator[tuple[str, nn.Module]]:
    """The modules that an object holds, by attribute name."""
    held = dict(getattr(model, "__dict__", {})) | dict(getattr(model, "_modules", None) or {})
    for name, value in held.items():
        if isinstance(value, nn.Module) and value is not model:
            yield name, value

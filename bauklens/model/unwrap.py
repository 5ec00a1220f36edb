"""A model wrapped by another library -> the model itself."""

from typing import Any

from torch import nn

from bauklens.errors import LensError


def unwrapped(model: Any) -> Any:
    """The causal language model inside a wrapper of torch.compile, DataParallel, PEFT or NNsight.

    The adapters of a PEFT model are inside the model's own modules, so they work without the wrapper too.

    Args:
        model: a model, wrapped or not; anything else is returned as it is.

    Raises:
        LensError: a PEFT model acts outside the model's modules (with tokens before the prompt, or only where the
            prompt invokes it); or the wrapper has hooks, which would have no effect.
    """
    inner = _inside(model)
    if inner is None:
        return model
    if isinstance(model, nn.Module) and (model._forward_hooks or model._forward_pre_hooks):
        raise LensError(
            f"{type(model).__name__} has hooks, which have no effect on the {type(inner).__name__} inside: "
            "put them on that, or remove them"
        )
    return unwrapped(inner)


def _inside(model: Any) -> Any:
    """The model inside a wrapper; None if the model is not a wrapper."""
    if isinstance(model, nn.parallel.DataParallel | nn.parallel.DistributedDataParallel):
        return model.module
    if isinstance(model, nn.Module) and "_orig_mod" in model._modules:  # torch.compile
        return model._modules["_orig_mod"]
    if isinstance(model, nn.Module) and hasattr(model, "active_peft_config"):
        if model.active_peft_config.is_prompt_learning:  # type: ignore[union-attr]
            raise LensError(
                f"{type(model).__name__} puts its own tokens before the prompt, which have no column in a lens: "
                "pass the base model, or another kind of adapter"
            )
        if getattr(model.active_peft_config, "alora_invocation_tokens", None):
            raise LensError(
                f"the adapter of {type(model).__name__} acts only from where the prompt invokes it, which a lens does "
                "not support: pass the base model, or another kind of adapter"
            )
        return model.get_base_model()  # type: ignore[operator]
    held = getattr(model, "_module", None)  # NNsight's LanguageModel, which is not a torch module itself
    return held if not isinstance(model, nn.Module) and isinstance(held, nn.Module) else None

"""A model that another library has wrapped -> the model itself."""

from typing import Any

from torch import nn

from bauklens.errors import LensError


def unwrapped(model: Any) -> Any:
    """The causal language model inside what torch.compile, DataParallel, PEFT or NNsight make of one.

    A PEFT model's adapters stand inside the model's own modules, so that they act without the wrapper as well.

    Args:
        model: a model or a wrapped one; what is neither is handed back as it is.

    Raises:
        LensError: a PEFT model that acts outside of the model's modules (by tokens put before the prompt, or where the
            prompt invokes it); or a wrapper that carries hooks, which would not act.
    """
    inner = _inside(model)
    if inner is None:
        return model
    if isinstance(model, nn.Module) and (model._forward_hooks or model._forward_pre_hooks):
        raise LensError(
            f"{type(model).__name__} carries hooks, which do not act on the {type(inner).__name__} inside: "
            "put them on that, or remove them"
        )
    return unwrapped(inner)


def _inside(model: Any) -> Any:
    """What a wrapper holds; None where the model is no wrapper."""
    if isinstance(model, nn.parallel.DataParallel | nn.parallel.DistributedDataParallel):
        return model.module
    if isinstance(model, nn.Module) and "_orig_mod" in model._modules:  # torch.compile
        return model._modules["_orig_mod"]
    if isinstance(model, nn.Module) and hasattr(model, "active_peft_config"):
        if model.active_peft_config.is_prompt_learning:  # type: ignore[union-attr]
            raise LensError(
                f"{type(model).__name__} puts tokens of its own before the prompt, which have no column in a lens: "
                "pass the base model, or an adapter of another kind"
            )
        if getattr(model.active_peft_config, "alora_invocation_tokens", None):
            raise LensError(
                f"the adapter of {type(model).__name__} acts from where the prompt invokes it, which a lens does not "
                "know: pass the base model, or an adapter of another kind"
            )
        return model.get_base_model()  # type: ignore[operator]
    held = getattr(model, "_module", None)  # NNsight's LanguageModel, which is no torch module itself
    return held if not isinstance(model, nn.Module) and isinstance(held, nn.Module) else None

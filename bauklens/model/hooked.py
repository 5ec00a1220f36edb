"""A HookedTransformer from TransformerLens that is called like a causal language model from transformers."""

from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

from torch import nn

_made: "WeakValueDictionary[int, HookedModel]" = WeakValueDictionary()


class HookedModel(nn.Module):
    """Holds a HookedTransformer, whose own modules and hooks run.

    Attributes:
        model: the HookedTransformer.
        config: the parts of a configuration that a lens needs: the context's length, and names.
        ends_with_its_context: True, as it has no positions beyond the context, whatever their kind.
    """

    ends_with_its_context = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        own: Any = model.cfg
        self.config = SimpleNamespace(
            max_position_embeddings=own.n_ctx,
            model_type="hooked_transformer",
            _name_or_path=getattr(own, "model_name", "") or type(model).__name__,
        )

    def get_input_embeddings(self) -> Any:
        """The module that takes the token ids."""
        return self.model.embed

    def get_output_embeddings(self) -> Any:
        """The module that makes logits."""
        return self.model.unembed

    def forward(self, input_ids: Any, **_: Any) -> SimpleNamespace:
        """The logits for token ids (prompt, position); no token is added to them."""
        return SimpleNamespace(logits=self.model(input_ids, return_type="logits", prepend_bos=False))


def as_language_model(model: nn.Module) -> HookedModel:
    """Always the same one for a model that is in use, because lenses lock the model that they run."""
    found = _made.get(id(model))
    if found is None:
        found = _made[id(model)] = HookedModel(model)
    return found

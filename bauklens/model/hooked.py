"""A HookedTransformer of TransformerLens, called as a causal language model of transformers is."""

from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

from torch import nn

_made: "WeakValueDictionary[int, HookedModel]" = WeakValueDictionary()


class HookedModel(nn.Module):
    """Holds a HookedTransformer, whose own modules and hooks run.

    Attributes:
        model: the HookedTransformer.
        config: what a lens asks of a configuration: the context's length, and names.
        ends_with_its_context: it has no positions beyond the context, whatever their kind.
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
        """The module that the token ids go to."""
        return self.model.embed

    def get_output_embeddings(self) -> Any:
        """The module that makes logits."""
        return self.model.unembed

    def forward(self, input_ids: Any, **_: Any) -> SimpleNamespace:
        """The logits of token ids (prompt, position), to which no token is added."""
        return SimpleNamespace(logits=self.model(input_ids, return_type="logits", prepend_bos=False))


def as_language_model(model: nn.Module) -> HookedModel:
    """The same one for a model for as long as it is in use, as lenses lock the model that they run."""
    found = _made.get(id(model))
    if found is None:
        found = _made[id(model)] = HookedModel(model)
    return found

"""The names of a classifier's labels, used like a tokenizer: each name is one id. Needs no torch."""

from collections.abc import Sequence
from typing import Any

from bauklens.errors import LensError

_TOLD = 8


class LabelNames:
    """What texts and ids a classifier's logits are of.

    Args:
        names: of each label.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        """The id of a label, as ``input_ids``.

        Raises:
            LensError: there is none of this name.
        """
        if text not in self.names:
            more = "" if len(self.names) <= _TOLD else f" and {len(self.names) - _TOLD:,} more"
            known = ", ".join(self.names[:_TOLD])
            raise LensError(f"{text!r} is not a label of this model: pass one of {known}{more}, or its number")
        return {"input_ids": [self.names.index(text)]}

    def convert_ids_to_tokens(self, token_id: int) -> str | None:
        """The name of a label; None if the label does not exist."""
        return self.names[token_id] if 0 <= token_id < len(self.names) else None

    def decode(self, token_ids: Sequence[int], **_: Any) -> str:
        """The names of some labels."""
        return " ".join(self.names[token_id] for token_id in token_ids)

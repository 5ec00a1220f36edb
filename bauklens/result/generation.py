"""What a model generates under edits, without them, and with random directions. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True, repr=False)
class Generation:
    """A prompt and the model's continuation.

    Attributes:
        model: its name.
        prompt: the text of the prompt.
        text: what was generated, under the edits if there are any.
        token_ids: its tokens.
        edits: what was done, each as plain values.
        clean: the text generated without the edits; None if there are none.
        controls: the texts generated with random directions in place of those of the edits.
    """

    model: str
    prompt: str
    text: str
    token_ids: tuple[int, ...]
    edits: tuple[Mapping[str, Any], ...] = ()
    clean: str | None = None
    controls: Sequence[str] = ()

    @property
    def changed(self) -> bool:
        """Whether the edits change the text."""
        return self.clean is not None and self.text != self.clean

    def _lines(self) -> list[tuple[str, str]]:
        if self.clean is None:
            return [("generated", self.text)]
        random = [
            ("random control" if len(self.controls) == 1 else f"random control {number + 1}", each)
            for number, each in enumerate(self.controls)
        ]
        return [("clean", self.clean), ("edited", self.text), *random]

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        lines = self._lines()
        wide = max(len(name) for name, _ in lines)
        return "\n".join([f"<Generation of {self.model}: {self.prompt!r}>", *(f"{n:{wide}}  {t!r}" for n, t in lines)])

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in self._lines())
        return f"<p>{escape(self.prompt)}</p><table>{rows}</table>"


Generation.__module__ = "bauklens"

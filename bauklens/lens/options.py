"""What a lens can be asked for: every option once, with its default and its check. Needs no torch."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from os import PathLike
from typing import Any

from typing_extensions import Required, TypedDict

from bauklens.arguments import Edit, Layers, Positions, as_lists, checked_count, one_of
from bauklens.errors import LensError
from bauklens.lens.chats import last_message
from bauklens.result.mass import described_mass
from bauklens.result.measures import chosen_measures
from bauklens.vocabulary import ATTENTION, MEANT, MISSING, MOST_TRACKED, ON_ERROR, PRECISIONS, RESULTS, STREAMS

Measures = str | Iterable[str] | None
Edits = Any
"""What :mod:`bauklens.edits` makes: an edit, a sum or a list of them, or None."""

Members = str | Iterable[str | int]
"""The tokens of a set that is followed: texts and ids."""

Targets = str | int | Mapping[str, Members] | Iterable[str | int | Mapping[str, Members]] | None

Masses = Mapping[str, Iterable[int]] | None
"""Names of sets -> the ids of their tokens."""

OneDecoder = str | PathLike[str] | Callable[..., Any] | None
"""A name, a file, a decoder, or a function; None is the logit lens."""

_OF_PROMPTS = (
    *("messages", "template", "images", "audio", "text_target", "logits", "max_new_tokens", "seed", "on_error"),
    *("attention", "keep_states"),
)
"""Options about prompts and how they run, not about how they are decoded."""

_OUTPUT = {
    *("conversation", "messages", "tokenize", "padding", "truncation", "max_length", "return_tensors", "return_dict"),
    *("return_assistant_tokens_mask", "tokenizer_kwargs"),
}
"""Arguments of ``apply_chat_template`` that a chat template does not read."""


class RowOptions(TypedDict, total=False):
    """How the rows of one prompt are decoded, for type checkers and editors; :class:`Options` has the defaults."""

    topk: int
    layers: Layers
    positions: Positions
    norm: str | None
    missing: str
    precision: str
    chunk_rows: int | None
    edit_output: Edit | None
    edits: Edits
    blocks: str | None
    head: str | None
    measures: Measures
    targets: Targets
    mass: Masses
    words: str
    track: int
    results: str


class PromptOptions(RowOptions, total=False):
    """Options about prompts as well, and the usual options of ``generate``, although any are passed on to it."""

    messages: Sequence[Mapping[str, Any]] | None
    template: Mapping[str, Any] | None
    images: Any
    audio: Any
    text_target: Any
    logits: Callable[[Any], Any] | None
    pixel_values: Any
    input_features: Any
    attention_mask: Any
    decoder_input_ids: Any
    max_new_tokens: int
    seed: int | None
    attention: bool | str
    keep_states: bool | None
    on_error: str
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    num_beams: int
    repetition_penalty: float


class OneTable(PromptOptions, total=False):
    """The options of a lens of one stream, through one decoder."""

    stream: str
    decoder: OneDecoder


class SeveralStreams(PromptOptions, total=False):
    """The options of lenses of several streams."""

    stream: Required[Sequence[str]]
    decoder: OneDecoder | Sequence[OneDecoder]


class SeveralDecoders(PromptOptions, total=False):
    """The options of lenses through several decoders."""

    stream: str | Sequence[str]
    decoder: Required[Sequence[OneDecoder]]


class LensOptions(PromptOptions, total=False):
    """The options of lenses of one stream or several, through one decoder or several."""

    stream: str | Sequence[str]
    decoder: OneDecoder | Sequence[OneDecoder]


class ComparedOptions(RowOptions, total=False):
    """The options of a lens that is compared with another."""

    stream: str
    decoder: OneDecoder


@dataclass(frozen=True)
class Options:
    """The options of :func:`bauklens.logit_lens`, whose docstring explains them.

    Attributes:
        inputs: further inputs to the model's forward, besides the prompt.
        generate: options for transformers' ``generate``.

    Raises:
        LensError: an option has a wrong type or value; whether it fits a model is checked when a run is planned.
    """

    stream: str | Sequence[str] = "hidden"
    topk: int = 5
    layers: Layers = None
    positions: Positions = None
    norm: str | None = "own"
    decoder: OneDecoder | Sequence[OneDecoder] = None
    missing: str = "skip"
    precision: str = "auto"
    chunk_rows: int | None = None
    edit_output: Edit | None = None
    edits: Edits = None
    blocks: str | None = None
    head: str | None = None
    measures: Measures = None
    targets: Targets = None
    mass: Masses = None
    words: str = "whole"
    track: int = MOST_TRACKED
    messages: Sequence[Mapping[str, Any]] | None = None
    template: Mapping[str, Any] | None = None
    images: Any = None
    audio: Any = None
    text_target: Any = None
    logits: Callable[[Any], Any] | None = None
    max_new_tokens: int = 0
    seed: int | None = None
    attention: bool | str = False
    keep_states: bool | None = None
    on_error: str = "raise"
    results: str = "first"
    inputs: Mapping[str, Any] = field(default_factory=dict)
    generate: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(given: Mapping[str, Any], caller: str = "logit_lens", *, prompts: bool = True) -> "Options":
        """The options that a function was called with; those that do not belong to a lens go to ``generate``.

        Args:
            caller: the function's name, for errors.
            prompts: whether it takes options about prompts.

        Raises:
            TypeError: an option that neither takes.
        """
        known = {name for name in OPTIONS if prompts or name not in _OF_PROMPTS}
        inputs = {name: value for name, value in given.items() if prompts and _is_input(name, value)}
        generate = {name: value for name, value in given.items() if name not in {*known, *inputs}}
        if generate and not (prompts and given.get("max_new_tokens")):
            raise TypeError(_unexpected(caller, next(iter(generate)), known))
        for name in MEANT.keys() & generate:
            raise TypeError(_unexpected(caller, name, known))
        if "top_k" in generate and "topk" not in given:
            warnings.warn(
                f"top_k={generate['top_k']!r} is an option of generate that changes which tokens are sampled; the "
                f"table keeps {OPTIONS['topk']} tokens per cell: pass topk= to change that",
                stacklevel=4,
            )
        own = {name: value for name, value in given.items() if name in known}
        return Options(**own, inputs=inputs, generate=generate)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, Iterator):
                object.__setattr__(self, name, list(value))
        for name in ("targets", "mass"):
            object.__setattr__(self, name, as_lists(getattr(self, name)))
        if not self.streams:
            raise LensError(f"stream is empty: pass at least one of {', '.join(STREAMS)}")
        for name in self.streams:
            one_of("stream", name, tuple(STREAMS))
        one_of("missing", self.missing, MISSING)
        one_of("precision", self.precision, PRECISIONS)
        one_of("on_error", self.on_error, ON_ERROR)
        one_of("results", self.results, RESULTS)
        one_of("attention", self.attention, ATTENTION)
        one_of("keep_states", self.keep_states, (None, True, False))
        if self.attention and self.edit_output is not None:
            raise LensError("attention= takes another run, in which edit_output would act again: pass edits= instead")
        if self.norm is not None and not isinstance(self.norm, str):
            raise LensError(f"unknown norm {self.norm!r:.80}: pass 'own', 'final' or None, or the name of a module")
        chosen_measures(self.measures, complete=True)
        if self.chunk_rows is not None:
            checked_count("chunk_rows", self.chunk_rows)
        checked_count("track", self.track, least=0)
        if self.edit_output is not None and not callable(self.edit_output):
            raise LensError(f"edit_output must be a function of (output, layer); got {type(self.edit_output).__name__}")
        if isinstance(self.text_target, (list, tuple)) and any(isinstance(each, str) for each in self.text_target):
            raise LensError("text_target must be one text, or its ids, for all prompts: call logit_lens for each")
        if self.logits is not None and not callable(self.logits):
            raise LensError(
                "logits must be a function of what the model's forward returns, such as lambda output: output[0]; got "
                f"{type(self.logits).__name__}"
            )
        self._require_switches()
        if self.max_new_tokens and self.edit_output is not None:
            raise LensError("edit_output acts on the lens, not on generation: generate first, then edit that text")

    def _require_switches(self) -> None:
        """Rejects options of a chat template that are not a mapping, or that determine the type of its output."""
        if self.template is None:
            return
        if not isinstance(self.template, Mapping) or not all(isinstance(name, str) for name in self.template):
            raise LensError(
                f'template must be a mapping, such as {{"enable_thinking": False}}; got {self.template!r:.80}'
            )
        if self.messages is None:
            raise LensError("template is for a chat: pass messages=[...] with it")
        for name in _OUTPUT & set(self.template):
            raise LensError(f"template cannot set {name!r}: a lens needs the chat as text")

    @property
    def streams(self) -> list[str]:
        """The names of the streams."""
        named = isinstance(self.stream, str) or not isinstance(self.stream, Iterable)
        return [self.stream] if named else list(self.stream)  # type: ignore[list-item]

    def described(self, stream: str, decoder: str, layers: list[str], positions: list[int]) -> dict[str, Any]:
        """The options as the provenance of a result names them.

        Args:
            stream, decoder, layers, positions: of the result, which the options may name in other ways.
        """
        edit = self.edit_output
        apart = {"edit_output", "edits", "messages", "images", "audio", "logits", "inputs", "generate"}
        apart |= {"on_error", "results", "keep_states"}
        named = {name: value for name, value in vars(self).items() if name not in apart}
        return {
            **named,
            "stream": stream,
            "decoder": decoder,
            "layers": None if self.layers is None else layers,
            "positions": None if self.positions is None else positions,
            "mass": described_mass(self.mass),
            **({} if self.messages is None else {"last_message": last_message(self.messages)}),
            **self.generate,
            "edit_output": getattr(edit, "__qualname__", None if edit is None else repr(edit)),
        }


OPTIONS = {each.name: each.default for each in fields(Options) if each.name not in ("inputs", "generate")}
"""Every option of a lens -> its default."""


def _unexpected(caller: str, name: str, known: Iterable[str]) -> str:
    """The message for a keyword that is not an option, with a suggestion if there is a likely one."""
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    meant = MEANT.get(name) or (f"did you mean {near[0]}=?" if near else "")
    return f"{caller}() got an unexpected keyword argument {name!r}{meant and ': '}{meant}"


def _is_input(name: str, value: Any) -> bool:
    """Whether a keyword is an input of the model's forward: it is a tensor or an array, or always is one."""
    return name not in OPTIONS and (hasattr(value, "ndim") or name in ("attention_mask", "decoder_input_ids"))

"""A look: a page's request -> tables that fill in while they are computed, and the effect of a change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from bauklens import edits
from bauklens.decode.decoder import LOGIT_LENS, Basis, Decoder
from bauklens.decoders.chosen import told_apart
from bauklens.decoders.fits import require_fit, require_text_model
from bauklens.edits.edit import Edit
from bauklens.edits.generate import generate
from bauklens.edits.intervene import intervene
from bauklens.errors import LensError
from bauklens.lens.lens import logit_lens
from bauklens.live.answers import answers
from bauklens.live.asked import Asked, Change, Token
from bauklens.live.growing import Growing
from bauklens.live.worker import Job
from bauklens.model.anatomy import Anatomy
from bauklens.model.encoding import encode
from bauklens.model.generation import chat_ids
from bauklens.model.in_hand import in_hand
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from bauklens.progress import watched
from bauklens.result.comparison import Comparison, compare
from bauklens.result.result import LensResult
from bauklens.result.targets import wanted_targets
from bauklens.result.tokens import token_texts
from bauklens.vocabulary import DECODER_KINDS, EMBED, LOGIT, STREAMS

MOST_TOKENS = 4_096
"""The most tokens of a prompt."""

CONTROLS = 10
"""How many random changes are compared with the requested one."""

COLUMNS = 48
"""Only this many last columns of a table fill in while it is computed; the finished table has all."""

AFTERWARDS = 16
"""How many tokens the model generates with a change and without it, unless more are asked for."""


@dataclass(frozen=True)
class Looked:
    """The result of a look.

    Attributes:
        shown: the table: a lens, or two compared.
        clean: the lens without a change.
    """

    asked: Asked
    shown: LensResult | Comparison
    clean: LensResult


@dataclass(frozen=True)
class Looking:
    """A model that pages can look at.

    Attributes:
        anatomy: the anatomy of the model.
        decoders: the decoders by name, without the logit lens.
        sources: names of decoders from a file -> the argument of ``load_decoder``.
    """

    model: nn.Module
    tokenizer: Any
    anatomy: Anatomy
    decoders: dict[str, Decoder] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, model: nn.Module, tokenizer: Any, decoders: Iterable[tuple[Decoder, str]]) -> "Looking":
        """The model, if pages can look at it.

        Args:
            decoders: each with the argument of ``load_decoder``, or an empty text.

        Raises:
            LensError: the tokenizer is missing, the model does not predict the next token of a text, or a decoder was
                made for another one.
        """
        model, tokenizer = in_hand(model, tokenizer)
        if tokenizer is None:
            raise LensError("a live page needs a tokenizer, as users type text: pass the model's")
        anatomy = resolve(model, encode(model, tokenizer, "The"))
        require_text_model(anatomy, "a live page")
        found = cls(model, tokenizer, anatomy)
        for each, source in decoders:
            if each is not LOGIT_LENS:
                found.add(each, source)
        return found

    def add(self, decoder: Decoder, source: str = "") -> None:
        """Adds a decoder.

        Args:
            source: the argument of ``load_decoder``; empty if it was made here.

        Raises:
            LensError: it was made for another model.
        """
        require_fit(decoder, self.model, self.anatomy, ["hidden"], "own")
        name = told_apart([*self.decoders, decoder.name])[-1]
        self.decoders[name] = decoder
        self.sources[name] = source or decoder.name

    def look(self, asked: Asked, job: Job) -> Looked:
        """Answers a request, and reports to the job what it finds on the way.

        Raises:
            LensError: this is impossible; the page shows the message.
        """
        decoder = self._decoder(asked.decoder)
        inputs = self._encoded(asked)
        _require_short("the prompt", inputs)
        if asked.change is not None and asked.change.do == "patch":
            _require_short("the other prompt", self._encoded(asked.of_other))
        job.found("prompt", inputs.ids[0].tolist())
        edit = None if asked.change is None else self._edit(asked.change, decoder, asked)
        if asked.new_tokens and edit is None and not asked.replaced:
            clean = self._generating(asked, decoder, job)
        else:
            clean = self._lens(replace(asked, new_tokens=0), decoder, self._prompt(asked))
        if edit is not None:
            return self._changed(asked, decoder, clean, edit, job)
        if asked.replaced:
            ids = self._replaced(asked, inputs)
            job.found("prompt", ids)
            other = self._lens(replace(asked, messages=(), new_tokens=0), decoder, ids)
            return Looked(asked, compare(clean, other), clean)
        return Looked(asked, clean, clean)

    def called(self, name: str) -> str:
        """A decoder in words: its kind, and its name."""
        kind = DECODER_KINDS.get(getattr(self.decoders[name], "kind", ""), "")
        return f"{kind} {name}".strip()

    def mapped(self, name: str) -> list[str]:
        """The labels of the layers that a decoder has a map for."""
        basis = Basis(self.decoders[name], self.anatomy)
        return [label for label in [EMBED, *self.anatomy.labels] if basis.covers(label)]

    @property
    def streams(self) -> list[str]:
        """The streams of this model, except that of heads, which makes tables of hundreds of rows."""
        return [each for each in STREAMS if each != "heads"]

    def by_text(self, token: Token) -> Token:
        """A token as its text, if that text is exactly this token; else unchanged."""
        if isinstance(token, str):
            return token
        text = token_texts(self.tokenizer, [token])[token]
        try:
            (found,) = wanted_targets(self.tokenizer, self.anatomy.vocabulary, [text], "first")
        except LensError:
            return token
        return text if found.is_token and found.token_ids == (token,) else token

    def tokens(self, asked: Asked) -> list[int]:
        """The ids of the prompt, or of the chat in the model's template."""
        return [int(each) for each in self._encoded(asked).ids[0]]

    def _generating(self, asked: Asked, decoder: Any, job: Job) -> LensResult:
        """The lens of a prompt and of what the model generates, whose columns are shown as they come."""
        ids, of_text = self.tokens(asked), replace(asked, messages=(), new_tokens=0)

        def look(ids: list[int], columns: range) -> None:
            self._lens(of_text, decoder, ids, positions=list(columns[-COLUMNS:]), track=0)

        look(ids, range(len(ids)))
        with watched(Growing(job, ids, look)):
            return self._lens(asked, decoder, self._prompt(asked))

    def _changed(self, asked: Asked, decoder: Any, clean: LensResult, edit: Edit, job: Job) -> Looked:
        prompt = self._prompt(asked)
        job.found("prompt", self.tokens(asked))
        edited = self._lens(replace(asked, new_tokens=0), decoder, prompt, edit)
        told = Looked(asked, compare(clean, edited), clean)
        job.found("figure", told)
        ids = self.tokens(asked)
        next_token = intervene(self.model, self.tokenizer, ids, edit, controls=CONTROLS)
        job.found("answers", answers(next_token, None))
        text = generate(self.model, self.tokenizer, ids, edits=edit, max_new_tokens=asked.new_tokens or AFTERWARDS)
        job.found("answers", answers(next_token, text))
        return told

    def _lens(self, asked: Asked, decoder: Any, prompt: Any, edit: Edit | None = None, **options: Any) -> LensResult:
        chat = asked.chat if prompt is None else None
        found = logit_lens(
            self.model,
            self.tokenizer,
            prompt,
            messages=chat,
            stream=asked.stream,
            topk=asked.topk,
            decoder=decoder,
            targets=_targets(asked),
            words="first",
            max_new_tokens=asked.new_tokens,
            edits=edit,
            **options,
        )
        assert isinstance(found, LensResult)
        return found

    def _decoder(self, name: str) -> Decoder | None:
        if name == LOGIT:
            return None
        if name not in self.decoders:
            raise LensError(f"unknown decoder {name!r:.80}: pass one of {', '.join([LOGIT, *self.decoders])}")
        return self.decoders[name]

    def _encoded(self, asked: Asked) -> Inputs:
        prompt = asked.prompt if asked.chat is None else chat_ids(self.tokenizer, asked.chat)
        return encode(self.model, self.tokenizer, prompt)

    def _prompt(self, asked: Asked) -> Any:
        """The prompt for a lens: the text; None for a chat."""
        return asked.prompt if asked.chat is None else None

    def _replaced(self, asked: Asked, inputs: Inputs) -> list[int]:
        """The ids of the prompt, with the replaced tokens."""
        ids: list[int] = inputs.ids[0].tolist()
        for position, token in asked.replaced:
            if not 0 <= position < len(ids):
                raise LensError(f"position {position} does not exist: the prompt has {len(ids)} tokens")
            (wanted,) = wanted_targets(self.tokenizer, self.anatomy.vocabulary, [token], "first")
            ids[position] = wanted.token_ids[0]
        return ids

    def _edit(self, change: Change, decoder: Any, asked: Asked) -> Edit:
        """The edit for a change.

        Raises:
            LensError: a token is missing.
        """
        where: Mapping[str, Any] = {
            "layers": None if change.layers is None else list(change.layers),
            "positions": None if change.positions is None else list(change.positions),
        }
        if change.do == "patch":
            other = asked.other if asked.chat is None else self.tokens(asked.of_other)
            return edits.patch(other, align=self.aligned(asked), **where)
        assert change.token is not None
        if change.do == "swap":
            assert change.into is not None
            return edits.swap(decoder, change.token, change.into, strength=change.strength, **where)
        if change.do == "strengthen":
            return edits.steer(decoder, change.token, strength=change.strength, **where)
        return edits.ablate(decoder, change.token, strength=change.strength, **where)

    def aligned(self, asked: Asked) -> dict[int, int] | None:
        """Position of the prompt -> position of the other prompt, counted from the end; None if the lengths are equal.

        Raises:
            LensError: a position to change has no counterpart.
        """
        if asked.change is None or asked.change.do != "patch":
            return None
        here, there = len(self.tokens(asked)), len(self.tokens(asked.of_other))
        if here == there:
            return None
        found = {position: position + there - here for position in range(max(0, here - there), here)}
        missing = [each for each in asked.change.positions or () if each not in found]
        if missing:
            raise LensError(
                f"the other prompt has {there:,} tokens and this one {here:,}: counted from the end, position "
                f"{missing[0]} has no counterpart: make the other one longer"
            )
        return found

    def in_texts(self, asked: Asked) -> Asked:
        """The request, with readable texts instead of tokens' ids if these are exact."""
        change = asked.change
        if change is not None:
            token, into = (None if each is None else self.by_text(each) for each in (change.token, change.into))
            change = replace(change, token=token, into=into)
        return replace(asked, targets=tuple(map(self.by_text, asked.targets)), change=change)


def _require_short(what: str, inputs: Inputs) -> None:
    if inputs.count > MOST_TOKENS:
        raise LensError(f"{what} has {inputs.count:,} tokens: shorten it to {MOST_TOKENS:,}")


def _targets(asked: Asked) -> list[Any] | None:
    found: list[Any] = [*asked.targets, *({name: list(tokens)} for name, tokens in asked.sets)]
    return found or None

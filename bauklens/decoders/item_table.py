"""The items of an evaluation, each read through several decoders."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bauklens.decode.decoder import Decoder
from bauklens.decode.reading import Reading as Read
from bauklens.decode.rows import Way, decode
from bauklens.decode.unembed import Rows
from bauklens.decode.ways import ways
from bauklens.decoders.evaluation_sets import ItemSet
from bauklens.decoders.read_position import Reading
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.inputs import Inputs
from bauklens.model.proof import NotProvedError
from bauklens.model.resolving import forget
from bauklens.progress import bar
from bauklens.result.tokens import token_texts
from bauklens.show.evaluated_items import EvaluatedItem, EvaluatedWord
from bauklens.stream.batches import traced
from bauklens.stream.run import Run
from bauklens.stream.tracing import Tracing
from bauklens.vocabulary import EMBED


@dataclass(frozen=True)
class Asked:
    """An item of a set, and what the model is given for it."""

    of: ItemSet
    place: int
    reading: Reading
    inputs: Inputs


@dataclass(frozen=True)
class Word:
    """A concept and the tokens that are followed for it."""

    synonyms: tuple[str, ...]
    token_ids: tuple[int, ...]
    by: str


@dataclass(frozen=True)
class ItemTable:
    """Rows of a model that are read through decoders, item after item."""

    model: nn.Module
    tokenizer: Any
    anatomy: Anatomy
    decoders: Sequence[Decoder]
    labels: list[str]

    def items(self, asked: Sequence[Asked], followed: Sequence[Sequence[Word]]) -> list[EvaluatedItem]:
        """Every item evaluated, in order; items without a token to follow are not run."""
        ids = [tuple(dict.fromkeys(one for word in words for one in word.token_ids)) for words in followed]
        ran = [place for place, each in enumerate(ids) if each]
        ranks: dict[int, torch.Tensor] = {}
        streams = traced(self.model, self.anatomy, [asked[place].inputs for place in ran], Tracing())
        for number, stream in bar("Evaluating", "item", streams, total=len(ran)):
            each, place = asked[ran[number]], ran[number]
            try:
                if isinstance(stream, LensError):
                    raise stream
                run = Run(
                    self.model, self.tokenizer, each.reading.text, each.inputs, self.anatomy, stream, each.inputs.count
                )
                ranks[place] = torch.stack([self._ranks(run, decoder, ids[place]) for decoder in self.decoders])
            except LensError as error:
                raise LensError(f"{each.of.called(each.place)}: {error}") from None
        return [
            self._item(each, words, ids[place], ranks.get(place))
            for place, (each, words) in enumerate(zip(asked, followed, strict=True))
        ]

    def _ranks(self, run: Run, decoder: Decoder, ids: Sequence[int]) -> torch.Tensor:
        """(layer, token), the ranks of some tokens at the last position.

        If the decoded logits are not the model's own, the next slower way is used.
        """
        named = [EMBED, *self.anatomy.labels]
        states = run.stream.states[[named.index(label) for label in self.labels]]
        rows = Rows("hidden", states, self.labels, [run.inputs.count - 1])
        failed = None
        for anatomy in ways(run.anatomy).values():
            try:
                way = Way(precision="exact", decoder=decoder)
                found = decode(replace(run, anatomy=anatomy), rows, Read(1, targets=[(each,) for each in ids]), way)
                return found.values["target_ranks"][:, 0]
            except NotProvedError as error:
                forget(run.model)
                failed = failed or error
        assert failed is not None
        raise failed

    def _item(
        self, asked: Asked, words: Sequence[Word], ids: Sequence[int], ranks: torch.Tensor | None
    ) -> EvaluatedItem:
        item, reading = asked.of.items[asked.place], asked.reading
        position = len(reading.ids) - 1
        return EvaluatedItem(
            name=item.name,
            prompt=reading.text,
            target=item.target,
            rule=reading.rule,
            position=position,
            token_id=reading.ids[position],
            token=token_texts(self.tokenizer, reading.ids[position:])[reading.ids[position]],
            words=tuple(self._word(each, ids, ranks) for each in words),
        )

    def _word(self, word: Word, ids: Sequence[int], ranks: torch.Tensor | None) -> EvaluatedWord:
        texts = token_texts(self.tokenizer, word.token_ids)
        tokens = tuple(texts[each] for each in word.token_ids)
        if not word.token_ids or ranks is None:
            return EvaluatedWord(word.synonyms, word.by, word.token_ids, tokens, (), (), ())
        own = ranks[:, :, [ids.index(each) for each in word.token_ids]]  # (decoder, layer, token)
        best = [int(each.flatten().argmin()) for each in own]  # the first of equals
        places = [divmod(each, len(word.token_ids)) for each in best]
        return EvaluatedWord(
            synonyms=word.synonyms,
            by=word.by,
            token_ids=word.token_ids,
            tokens=tokens,
            best_rank=tuple(int(own[number, row, column]) for number, (row, column) in enumerate(places)),
            best_layer=tuple(self.labels[row] for row, _ in places),
            best_token=tuple(tokens[column] for _, column in places),
        )

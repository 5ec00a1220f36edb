"""One shard of a sweep: its prompts, run and written to a Parquet file, completely or not at all."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from errno import ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from bauklens.corpus.columns import Columns
from bauklens.corpus.manifest import Manifest
from bauklens.corpus.texts import Corpus
from bauklens.decode.decoder import Decoder
from bauklens.errors import LensError, PromptError
from bauklens.files import replacing
from bauklens.lens.lenses import AT_ONCE, each_of
from bauklens.lens.options import Options
from bauklens.lens.plan import planned
from bauklens.lens.prompted import prompted
from bauklens.model.encoding import Prompt
from bauklens.model.generation import chat_ids
from bauklens.result.result import LensResult
from bauklens.result.targets import target_names

if TYPE_CHECKING:
    import pyarrow

_Results = Iterator[tuple[int, Mapping[str, Any], list[LensResult] | LensError]]
"""For each prompt, its number, its row of the input, and its results or its error."""

_ROWS_OF_A_GROUP = 1 << 16
"""About how many rows a row group of a file has."""

_TRIED = 100
"""How many first prompts are tried, until one shows what the options mean for the model."""


@dataclass(frozen=True, eq=False)
class Sweeper:
    """Makes any shard of a sweep from the model, the prompts and the options.

    Attributes:
        options: the options of every lens.
        decoders: those that the options name, read.
        raises: whether a prompt that fails ends the sweep; else its error is a row.
    """

    model: nn.Module
    tokenizer: Any
    corpus: Corpus
    options: Options
    decoders: list[Decoder]
    columns: Columns
    raises: bool = False

    @staticmethod
    def of(
        model: nn.Module, tokenizer: Any, corpus: Corpus, options: Options, decoders: list[Decoder], *, raises: bool
    ) -> "Sweeper":
        """With the columns that the options give on this model.

        Raises:
            LensError: the options do not fit the model, or none of the first prompts can be read.
        """
        options = replace(options, decoder=decoders)
        failed = None
        for row in corpus.rows(0, min(_TRIED, len(corpus))):
            try:
                found = prompted(model, tokenizer, _prompt(tokenizer, row[corpus.column]), options)
            except LensError as error:
                failed = failed or error
                continue
            plan = planned(model, tokenizer, found.inputs, options, decoders)
            columns = Columns(plan.measures, target_names(plan.hows[0].targets), corpus.types())
            return Sweeper(model, tokenizer, corpus, options, decoders, columns, raises)
        raise LensError(f"none of the first {_TRIED} prompts can be read: {failed}")

    def write(
        self, folder: Path, manifest: Manifest, shard: int, tell: Callable[[int], None], *, followed: bool = False
    ) -> None:
        """Writes a shard.

        Args:
            tell: called with the number of prompts that were done since the last call.
            followed: whether other ranks run the same prompts, which are then run even if they cannot be written.

        Raises:
            LensError: it cannot be written; or a prompt fails, if that is to be raised.
        """
        results = self._results(manifest.prompts_of(shard))
        try:
            self._write(manifest.path_of(folder, shard), results, tell)
        except (LensError, OSError):
            if followed:
                deque(results, maxlen=0)
            raise

    def _write(self, path: Path, results: _Results, tell: Callable[[int], None]) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        with (
            replacing(path) as beside,
            _explaining_a_full_disk(path),
            ParquetWriter(beside, self.columns.schema, compression="zstd", **self.columns.encodings()) as writer,
        ):
            waiting: list[pyarrow.Table] = []
            for number, row, found in results:
                waiting += self._tables(number, row, found)
                tell(1)
                if sum(each.num_rows for each in waiting) >= _ROWS_OF_A_GROUP:
                    writer.write_table(pyarrow.concat_tables(waiting).combine_chunks())
                    waiting = []
            if waiting:
                writer.write_table(pyarrow.concat_tables(waiting).combine_chunks())

    def follow(self, manifest: Manifest, shard: int) -> None:
        """Runs the prompts of a shard that another rank of the same model writes."""
        deque(self._results(manifest.prompts_of(shard)), maxlen=0)

    def _tables(
        self, number: int, row: Mapping[str, Any], found: list[LensResult] | LensError
    ) -> "list[pyarrow.Table]":
        """The rows of a prompt."""
        if isinstance(found, LensError):
            return [self.columns.failed(number, row, found)]
        return [self.columns.of(number, row, each) for each in found]

    def _results(self, prompts: range) -> _Results:
        """Each prompt's number, its row of the input, and its results or its error."""
        corpus = self.corpus
        rows = list(corpus.rows(prompts.start, prompts.stop))
        asked: list[Prompt | LensError] = []
        for row in rows:
            try:
                asked.append(_prompt(self.tokenizer, row[corpus.column]))
            except LensError as error:
                asked.append(error)
        good = [each for each in asked if not isinstance(each, LensError)]
        results = each_of(good, self.model, self.tokenizer, self.options, AT_ONCE)
        for place, row in zip(prompts, rows, strict=True):
            mine = asked[place - prompts.start]
            found = mine if isinstance(mine, LensError) else next(results)
            number = corpus.numbers[place]
            if isinstance(found, LensError) and self.raises:
                raise PromptError(number + 1, found)
            yield number, row, found


@contextmanager
def _explaining_a_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != ENOSPC and "No space left" not in str(error):
            raise
        raise LensError(
            f"the disk of {path.parent} is full: free some space, and run the same command again, which continues "
            "after the finished shards"
        ) from None


def _prompt(tokenizer: Any, given: Any) -> Prompt:
    """A prompt as a lens takes it: a text, ids, or a chat as ids."""
    if isinstance(given, list) and given and isinstance(given[0], dict):
        return chat_ids(tokenizer, given)
    if isinstance(given, (str, list)):
        return given
    raise LensError(f"a prompt must be a text, a list of ids or a chat; got {given!r:.80}")

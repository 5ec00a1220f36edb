"""Running: lenses, or columns of numbers from files of a sweep, added up into a Summary. Needs no torch."""

from collections.abc import Mapping, Sequence

import numpy as np
from typing_extensions import Self

from bauklens.errors import LensError
from bauklens.result.accuracy import accuracy
from bauklens.result.averages import ACCURACY, Averages
from bauklens.result.result import LensResult
from bauklens.show.summary import Summary
from bauklens.vocabulary import LOGIT


class Running:
    """Statistics of every measure and layer, in memory that does not grow with the number of lenses.

    Args:
        model: the model of the lenses.
        stream: their stream.
        layers: the labels of their rows.
        decoder: their decoder.
        unmapped: the rows that the decoder has no map for.
        skip_first: how many positions at the beginning of each prompt are left out.
    """

    def __init__(
        self,
        model: str,
        stream: str,
        layers: Sequence[str],
        *,
        decoder: str = LOGIT,
        unmapped: Sequence[str] = (),
        skip_first: int = 0,
    ) -> None:
        self._of = (model, stream, tuple(layers), decoder, tuple(unmapped))
        self._skip = skip_first
        self._lenses = self._tokens = 0
        self._averages = Averages(len(layers))

    @classmethod
    def like(cls, lens: LensResult, skip_first: int) -> Self:
        """An empty one for lenses like this one."""
        layers, decoder, unmapped = lens.layers, lens.decoder, lens.unmapped
        return cls(lens.model, lens.stream, layers, decoder=decoder, unmapped=unmapped, skip_first=skip_first)

    def add(self, lens: LensResult) -> None:
        """Adds the cells of a lens; NaN and infinity are left out.

        Raises:
            LensError: it has another model, stream, decoder or layers.
        """
        if (lens.model, lens.stream, lens.layers, lens.decoder, lens.unmapped) != self._of:
            model, stream, layers, decoder, _ = self._of
            raise LensError(
                f"all lenses must have the same model, stream, decoder and layers; got {lens!r} after one of {model}: "
                f"{stream}, {decoder}, {len(layers)} layers"
            )
        counts = lens.positions >= self._skip
        tokens = int(counts.sum())
        row = np.repeat(np.arange(len(lens.layers)), tokens)
        measures = {**lens.measures, ACCURACY: accuracy(lens)}
        columns = {name: values[:, counts].ravel() for name, values in measures.items()}
        self.add_columns(row, columns, lenses=1, tokens=tokens)

    def add_columns(
        self, layer_index: np.ndarray, measures: Mapping[str, np.ndarray], *, lenses: int, tokens: int
    ) -> None:
        """Adds cells given as columns, such as those of a row group of a Parquet file. Only cells without a value are
        left out: NaN, infinity and numbers beyond the largest float32.

        Args:
            layer_index: (cell,) whole numbers, the place of each cell's layer in ``layers``.
            measures: name of a measure, or of any other quantity -> (cell,) numbers.
            lenses: how many prompts begin among these cells.
            tokens: how many positions of prompts begin among these cells; each has a cell for every layer.

        Raises:
            LensError: a column has another length, or a layer does not exist.
        """
        self._averages.add(layer_index, measures)
        self._lenses, self._tokens = self._lenses + lenses, self._tokens + tokens

    def summary(self) -> Summary:
        """The averages so far; NaN in layers without a value.

        Raises:
            LensError: every position was left out.
        """
        if not self._tokens:
            raise LensError(f"every position is among the first {self._skip:,}, which are left out: pass skip_first=0")
        model, stream, layers, decoder, unmapped = self._of
        return Summary(
            model,
            stream,
            layers,
            self._lenses,
            self._tokens,
            **self._averages.statistics(),
            decoder=decoder,
            unmapped=unmapped,
            skip_first=self._skip,
        )

"""open_sweep(): a sweep's output, as a data set, or averaged without another run. Needs no torch."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bauklens.arguments import checked_count
from bauklens.corpus.manifest import NAME, RUNS, Manifest, folder_of, read_manifest
from bauklens.corpus.natural import by_number
from bauklens.corpus.summing import summed
from bauklens.errors import LensError
from bauklens.files import path_of
from bauklens.reading_files import parse_json, read_text
from bauklens.show.summaries import Summaries
from bauklens.show.summary import Summary

if TYPE_CHECKING:
    import pandas
    import pyarrow.dataset

MODEL = "model"
"""The column with the model of each row, if there are several."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """The files of a sweep of one model, or of the sweeps of several.

    Attributes:
        folder: the folder that they are in.
        manifests: name of each model's folder -> its manifest; for a single model, the name is ``""``.
    """

    folder: Path
    manifests: Mapping[str, Manifest]

    def __repr__(self) -> str:
        models = list(self.manifests)
        what = str(self.manifest.about["model"].get("name")) if len(models) == 1 else f"{len(models)} models"
        return f"<Sweep of {self.manifest.prompts:,} prompts through {what}: {self.done} of {self.shards} shards>"

    @property
    def manifest(self) -> Manifest:
        """The manifest; for several models, that of the first."""
        return next(iter(self.manifests.values()))

    @property
    def shards(self) -> int:
        """How many shards there will be, of all models."""
        return sum(each.shards for each in self.manifests.values())

    @property
    def done(self) -> int:
        """How many are written."""
        return sum(len(each.done(self._of(name))) for name, each in self.manifests.items())

    @property
    def is_complete(self) -> bool:
        """Whether all are written."""
        return self.done == self.shards

    @property
    def files(self) -> list[Path]:
        """The shards that are written, in order."""
        return [
            manifest.path_of(self._of(name), shard)
            for name, manifest in self.manifests.items()
            for shard in manifest.done(self._of(name))
        ]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What each worker has done, the earliest first: ``worker``, ``workers``, ``prompts``, ``seconds``,
        ``prompts_per_second`` and ``ended`` (UTC).
        """
        paths = [path for name in self.manifests for path in (self._of(name) / RUNS).glob("*.json")]
        found = []
        for path in paths:
            try:
                about = parse_json(read_text(path))
            except LensError as error:
                raise LensError(f"cannot read {path}: {error}") from None
            if isinstance(about, dict):
                found.append(about)
        return sorted(found, key=lambda about: str(about.get("ended")))

    @property
    def dataset(self) -> "pyarrow.dataset.Dataset":
        """The shards that are written as a data set of pyarrow, with a column ``model`` if there are several models.

        Raises:
            LensError: none is written yet, or one is not a Parquet file.
        """
        from pyarrow import dataset, schema, string

        self._require_some()
        by_model = None
        if "" not in self.manifests:
            by_model = dataset.partitioning(schema([(MODEL, string())]), flavor="hive")
        with _naming_what_is_broken(self.folder):
            return dataset.dataset(
                [str(each) for each in self.files],
                format="parquet",
                partitioning=by_model,
                partition_base_dir=str(self.folder),
            )

    def to_frame(self, columns: Sequence[str] | None = None) -> "pandas.DataFrame":
        """All rows as a data frame of pandas.

        Args:
            columns: the columns to read; None means all.
        """
        found = self.dataset
        unknown = [name for name in columns or () if name not in found.schema.names]
        if unknown:
            raise LensError(f"no column is named {unknown[0]!r}: pass one of {', '.join(found.schema.names)}")
        with _naming_what_is_broken(self.folder):
            return found.to_table(columns=None if columns is None else list(columns)).to_pandas()

    def failed(self) -> "pandas.DataFrame":
        """The prompts that failed: their numbers, and why."""
        from pyarrow import dataset

        names = [name for name in (MODEL, "prompt", "error") if name in self.dataset.schema.names]
        with _naming_what_is_broken(self.folder):
            return self.dataset.to_table(columns=names, filter=dataset.field("error").is_valid()).to_pandas()

    def summary(
        self,
        group: str | None = None,
        *,
        stream: str | None = None,
        decoder: str | None = None,
        skip_first: int = 1,
    ) -> Summary | Summaries:
        """The averages of every measure by layer, as :func:`bauklens.summarize` gives them, from the files.

        Args:
            group: a column of the input, for one summary for each of its values; or ``"model"``, for one for each
                model, which is what several models give by default.
            stream: which stream, if the sweep has several.
            decoder: which decoder, if the sweep has several.
            skip_first: how many positions at the beginning of each prompt are left out.

        Returns:
            The averages, with targets under the names of their columns next to the measures; for groups, a mapping of
            averages.

        Raises:
            LensError: nothing is written yet; the sweep has several streams or decoders and none is named; the column
                does not exist, or has too many values.
        """
        checked_count("skip_first", skip_first, least=0)
        self._require_some()
        if not self.is_complete:
            warnings.warn(
                f"{self.shards - self.done} of {self.shards} shards are not written yet, and not in the averages",
                stacklevel=2,
            )
        several = "" not in self.manifests
        if several and group not in (None, MODEL):
            raise LensError(f"these are {len(self.manifests)} models: open the folder of one to group by {group!r}")
        if not several and group == MODEL and MODEL not in self.dataset.schema.names:
            raise LensError("this is a sweep of one model: open the folder of several to group by 'model'")
        found: dict[str, Summary] = {}
        for name, manifest in self.manifests.items():
            files = [manifest.path_of(self._of(name), shard) for shard in manifest.done(self._of(name))]
            called = str(manifest.about["model"].get("name"))
            if not files:
                continue
            with _naming_what_is_broken(self._of(name)):
                each = summed(
                    files,
                    called,
                    None if several else group,
                    stream,
                    decoder,
                    skip_first,
                    of_cells=manifest.about["layout"].get("positions") == "all",
                )
            found |= {name: each[""]} if several else each
        if several:
            return Summaries(found, by=MODEL)
        return found[""] if group is None else Summaries(found, by=group)

    def _of(self, name: str) -> Path:
        """The folder of a model."""
        return self.folder / folder_of(name) if name else self.folder

    def _require_some(self) -> None:
        if not self.done:
            raise LensError(f"no shard is written yet in {self.folder}")


def open_sweep(folder: str | os.PathLike[str]) -> Sweep:
    """Opens what a sweep has written.

    Args:
        folder: the folder that was passed to :func:`bauklens.sweep`, or as ``-o``.

    Raises:
        LensError: the folder does not exist, or does not contain a sweep.
    """
    path = path_of(folder)
    if not path.is_dir():
        raise LensError(f"the folder {path} does not exist")
    if (path / NAME).exists():
        return Sweep(path, {"": read_manifest(path)})
    pattern = folder_of("")
    names = sorted((each.parent.name.removeprefix(pattern) for each in path.glob(f"{pattern}*/{NAME}")), key=by_number)
    if not names:
        raise LensError(f"{path} is not a folder of a sweep: it has no {NAME}")
    return Sweep(path, {name: read_manifest(path / folder_of(name)) for name in names})


@contextmanager
def _naming_what_is_broken(folder: Path) -> Iterator[None]:
    """Raises a one-line error if a file is not what it was when it was written."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        if isinstance(error, LensError):
            raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LensError(
            f"a shard in {folder} cannot be read ({first[:200]}): remove its file and run the sweep again, which "
            "writes a new one"
        ) from None

"""What a result can be exported as: data frames, tables, data sets; a part of :class:`bauklens.LensResult`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bauklens.files import write_atomically
from bauklens.optional import csv_text, parquet

if TYPE_CHECKING:
    import pandas
    import xarray


class Exported:
    """The methods that pass a result to other libraries; each imports what it needs when it is called."""

    def to_frame(self: Any) -> "pandas.DataFrame":
        """A tidy data frame with one row per layer, position and rank.

        Columns: layer (ordered), position, token (at that position), generated (whether the model generated it), rank
        (from 1), predicted (text), probability (0..1), magnitude, token_id, predicted_id; then every other measure of
        the cell, in the units of :data:`bauklens.MEASURES`, and for each target ``probability of X``, ``logit of X``
        and ``rank of X``, in which X is its text, with its id (``X [42]``) if several targets have that text. A cell's
        values are repeated in each of its k rows. If some positions read pictures, ``column`` names the part.

        Raises:
            LensError: pandas is not installed.
        """
        from bauklens.result.frames import frame_of

        return frame_of(self)

    def to_csv(self: Any, path: str | Path | None = None) -> str:
        """:meth:`to_frame` as CSV; also written to a file, atomically, if a path is given.

        A text that a spreadsheet would read as a formula gets an apostrophe in front;
        :func:`bauklens.optional.csv_text` explains this, and how to remove it.

        Raises:
            LensError: pandas is not installed, or the path cannot be written.
        """
        text = csv_text(self.to_frame())
        if path is not None:
            write_atomically(path, text.encode("utf-8", "backslashreplace"))
        return text

    def to_parquet(self: Any, path: str | Path) -> None:
        """:meth:`to_frame` as a Parquet file, written atomically.

        Raises:
            LensError: pandas or pyarrow is not installed, or the path cannot be written.
        """
        write_atomically(path, parquet(self.to_frame()))

    def to_xarray(self: Any) -> "xarray.Dataset":
        """An xarray data set with the dimensions layer, position, rank and target, and the measures by name.

        Variables: ``token_id`` and ``token`` (position), and ``column`` if some positions are not tokens; ``top_id``,
        ``top_token`` and ``top_probability`` (layer, position, rank); every measure (layer, position), with its unit as
        an attribute; and for targets ``target_probability``, ``target_logit`` and ``target_rank`` (target, layer,
        position).

        Raises:
            LensError: xarray is not installed.
        """
        from bauklens.result.frames import data_set_of

        return data_set_of(self)

"""The libraries that may be installed: pandas for data frames, xarray for data sets, plotly for figures, and others."""

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bauklens.errors import LensError

if TYPE_CHECKING:
    import pandas
    import xarray

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a text begins that a spreadsheet takes for a formula, with or without apostrophes that keep it from that."""

_QUOTED_OR_END = re.compile(r'("(?:[^"]|"")*")|\r\n')
"""In CSV, a quoted text, or the end of a line."""


def data_frame(columns: dict[str, Any]) -> "pandas.DataFrame":
    """A pandas data frame made of columns.

    Raises:
        LensError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise LensError("a data frame needs pandas: pip install pandas") from None
    return pandas.DataFrame({whole_text(name): _column(values) for name, values in columns.items()})


def joined_frames(frames: "Sequence[pandas.DataFrame]") -> "pandas.DataFrame":
    """Data frames, one below the other."""
    import pandas

    return pandas.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]


def csv_text(frame: "pandas.DataFrame") -> str:
    """A data frame as CSV that is harmless in a spreadsheet: no text in it is a formula.

    A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, or with apostrophes and then one of
    these, gets one more apostrophe before it. To get the original texts back, remove it again:
    ``column.str.replace(r"^'(?='*[=+\\-@\\t\\r])", "", regex=True)``.
    """
    safe = frame.copy()
    for name in frame.columns:
        if frame[name].dtype.kind not in "biuf":
            safe[name] = frame[name].astype(object).map(_not_a_formula)
    safe = safe.rename(columns=_not_a_formula)
    quoted = safe.to_csv(index=False, lineterminator="\r\n")  # so that a text with \r or \n is quoted
    return _QUOTED_OR_END.sub(lambda found: found[1] or "\n", quoted)


def _not_a_formula(text: Any) -> Any:
    return f"'{text}" if isinstance(text, str) and _FORMULA.match(text) else text


def _column(values: Any) -> Any:
    """A column whose texts pandas can hold: half a surrogate pair becomes its escape."""
    kind = getattr(getattr(values, "dtype", None), "kind", "O")
    return list(map(whole_text, values)) if kind == "O" else values


def whole_text(text: Any) -> Any:
    """A text with half a surrogate pair as its escape, which UTF-8 can hold; anything else as it is."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(text, str) else text


def parquet(frame: "pandas.DataFrame") -> bytes:
    """A data frame as the bytes of a Parquet file.

    Raises:
        LensError: pyarrow is not installed.
    """
    buffer = io.BytesIO()
    try:
        frame.to_parquet(buffer, index=False, engine="pyarrow")
    except ImportError:
        raise LensError("a Parquet file needs pyarrow: pip install pyarrow") from None
    return buffer.getvalue()


def data_set(variables: dict[str, Any], places: dict[str, Any], about: dict[str, str]) -> "xarray.Dataset":
    """An xarray data set.

    Raises:
        LensError: xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise LensError("a data set needs xarray: pip install xarray") from None
    return xarray.Dataset(variables, coords=places, attrs=about)


def require_plotly() -> Any:
    """plotly's graph objects.

    Raises:
        LensError: plotly is not installed.
    """
    try:
        from plotly import graph_objects
    except ImportError:
        raise LensError("this figure needs plotly: pip install plotly") from None
    return graph_objects


def require_pillow() -> Any:
    """The module of PIL's images.

    Raises:
        LensError: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise LensError("images need pillow: pip install pillow") from None
    return Image

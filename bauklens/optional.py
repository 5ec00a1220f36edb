"""Columns -> a pandas data frame or a data set of xarray, and figures of plotly, if these are installed."""

import io
from typing import TYPE_CHECKING, Any

from bauklens.errors import LensError

if TYPE_CHECKING:
    import pandas
    import xarray


def data_frame(columns: dict[str, Any]) -> "pandas.DataFrame":
    """A pandas data frame made of columns.

    Raises:
        LensError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise LensError("a data frame needs pandas: pip install pandas") from None
    return pandas.DataFrame(columns)


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

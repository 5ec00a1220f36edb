"""Columns -> a pandas data frame, where pandas is installed."""

from typing import TYPE_CHECKING, Any

from bauklens.errors import LensError

if TYPE_CHECKING:
    import pandas


def data_frame(columns: dict[str, Any]) -> "pandas.DataFrame":
    """A pandas data frame of columns.

    Raises:
        LensError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise LensError("a data frame needs pandas: pip install pandas") from None
    return pandas.DataFrame(columns)

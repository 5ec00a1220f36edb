"""Chooses the TraceDict that is used: baukit's, or our own."""

import logging
from typing import Any

from bauklens.model import tracedict

log = logging.getLogger(__name__)


def _choose() -> type[Any]:
    """baukit's class if baukit can be imported, which fails in many ways (RuntimeError for a wrong torchvision)."""
    try:
        from baukit import TraceDict
    except Exception as error:
        log.debug("tracing with bauklens' own TraceDict, as baukit does not import: %r", error)
        return tracedict.TraceDict
    log.debug("tracing with baukit's TraceDict")
    return TraceDict  # type: ignore[no-any-return]


TraceDict = _choose()

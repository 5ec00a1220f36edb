"""See what a causal language model was about to say after every block.

The public names load on first use, so that ``import bauklens`` brings in neither torch nor transformers.

>>> import bauklens
>>> sorted(bauklens.__all__)[:3]
['LensError', 'LensResult', 'MEASURES']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_ROOMS = {
    "LensError": "errors",
    "LensResult": "result",
    "TraceDict": "trace",
    "compare": "comparison",
    "compare_models": "apart",
    "get_hidden_state_deltas": "stream",
    "get_hidden_states": "stream",
    "MEASURES": "measures",
    "load": "loading",
    "logit_lens": "lens",
    "nearest_tokens": "neurons",
    "save_report": "page",
    "show_logit_lens": "notebook",
    "summarize": "summary",
    "top_neurons": "neurons",
}

__all__ = [
    "MEASURES",
    "LensError",
    "LensResult",
    "TraceDict",
    "compare",
    "compare_models",
    "get_hidden_state_deltas",
    "get_hidden_states",
    "load",
    "logit_lens",
    "nearest_tokens",
    "save_report",
    "show_logit_lens",
    "summarize",
    "top_neurons",
]

if TYPE_CHECKING:
    from bauklens.apart import compare_models
    from bauklens.comparison import compare
    from bauklens.errors import LensError
    from bauklens.lens import logit_lens
    from bauklens.loading import load
    from bauklens.measures import MEASURES
    from bauklens.neurons import nearest_tokens, top_neurons
    from bauklens.notebook import show_logit_lens
    from bauklens.page import save_report
    from bauklens.result import LensResult
    from bauklens.stream import get_hidden_state_deltas, get_hidden_states
    from bauklens.summary import summarize
    from bauklens.trace import TraceDict


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'bauklens' has no attribute {name!r}")
    return getattr(import_module(f"bauklens.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "__doc__", "__file__", "__name__", "__path__"])

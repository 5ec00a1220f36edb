"""A list of results as the value of a notebook's cell: one viewer for all of them."""

import sys
from collections.abc import Callable
from typing import Any

MOST = 12
"""How many results of a list a notebook shows; more would be too large an output for notebooks."""

Html = Callable[[Any], str | None]


class _Lists:
    """What IPython calls for the HTML of a list."""

    def __init__(self, kind: type, before: Html | None) -> None:
        self.kind, self.before = kind, before

    def __call__(self, items: Any) -> str | None:
        if not items or not all(isinstance(each, self.kind) for each in items):
            return None if self.before is None else self.before(items)
        return None if items[0].is_shown else items[0].html_with(items[1:MOST], len(items))


def show_lists_of(kind: type) -> None:
    """Makes a running IPython, if there is one, show lists of this kind of result; other lists are shown as usual."""
    find = getattr(sys.modules.get("IPython"), "get_ipython", None)
    formatters = getattr(getattr(find and find(), "display_formatter", None), "formatters", {})
    html = formatters.get("text/html")
    before = html.type_printers.get(list) if html is not None else None
    if html is not None and not isinstance(before, _Lists):
        html.for_type(list, _Lists(kind, before))

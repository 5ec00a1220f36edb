"""Docstrings use Sphinx roles, such as :func:`bauklens.logit_lens`; the API's page shows only the names."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|data|mod|attr):`([^`]+)`")


class Roles(griffe.Extension):
    """Removes the roles from every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for everything that has been read."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)

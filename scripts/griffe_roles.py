"""Docstrings name things as Sphinx does, :func:`bauklens.logit_lens`; the API's page shows the names alone."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|data|mod|attr):`([^`]+)`")


class Roles(griffe.Extension):
    """Takes the roles out of every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called of everything that has been read."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)

"""Importing what takes seconds: torch, transformers, and what needs them."""

import gc
import sys
from importlib import import_module
from types import ModuleType

from bauklens.signals import finished


def imported(name: str) -> ModuleType:
    """Imports a large module without Python's search for garbage, which would look at all of it time and again.

    Importing torch and transformers makes a million objects that stay until the process ends. The search for garbage
    that refers to itself leaves them alone afterwards, also at the end of the process. An interrupt waits until the
    module is there, as it can be swallowed within an import.
    """
    if name in sys.modules or not gc.isenabled():
        return finished(import_module, name)
    gc.disable()
    try:
        return finished(import_module, name)
    finally:
        gc.freeze()
        gc.enable()

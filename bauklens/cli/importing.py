"""Importing modules that take seconds: torch, transformers, and those that need them."""

import gc
import sys
from importlib import import_module
from types import ModuleType

from bauklens.signals import finished


def imported(name: str) -> ModuleType:
    """Imports a large module without Python's garbage collection, which would scan all of it again and again.

    Importing torch and transformers makes a million objects that stay until the process ends. The garbage collection
    of cycles ignores them afterwards, also at the end of the process. An interrupt waits until the module is imported,
    as it can be swallowed within an import.
    """
    if name in sys.modules or not gc.isenabled():
        return finished(import_module, name)
    gc.disable()
    try:
        return finished(import_module, name)
    finally:
        gc.freeze()
        gc.enable()

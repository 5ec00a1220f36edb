"""Brings everything together: takes a prompt and a model, and returns a result."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

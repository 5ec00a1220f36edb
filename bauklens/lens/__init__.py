"""The one place that knows all: a prompt and a model in, a result out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Edits: changes to a model's states, as values, to test whether what a lens shows matters.

>>> import bauklens
>>> sorted(bauklens.edits.__all__)[:4]
['Edit', 'Edits', 'ablate', 'ablate_top']
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

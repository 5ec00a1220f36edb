"""See what a causal language model was about to say after every block.

The public names, which ``__init__.pyi`` lists, load on first use, so that ``import bauklens`` brings in neither torch
nor transformers.

>>> import bauklens
>>> sorted(bauklens.__all__)[:3]
['Attention', 'Comparison', 'Contributions']
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

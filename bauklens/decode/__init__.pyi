from .reading import Reading as Reading
from .rows import decode as decode

from .anatomy import Anatomy as Anatomy
from .anatomy import resolve as resolve
from .loading import load as load
from .tracing import TraceDict as TraceDict
from .unwrap import unwrapped as unwrapped

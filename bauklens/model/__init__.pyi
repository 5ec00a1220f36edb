from .anatomy import Anatomy as Anatomy
from .loading import load as load
from .resolving import resolve as resolve
from .tracing import TraceDict as TraceDict
from .unwrap import unwrapped as unwrapped

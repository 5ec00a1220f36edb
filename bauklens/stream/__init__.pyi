from .batches import traced as traced
from .states import get_hidden_state_deltas as get_hidden_state_deltas
from .states import get_hidden_states as get_hidden_states
from .states import trace_stream as trace_stream
from .stream import Stream as Stream

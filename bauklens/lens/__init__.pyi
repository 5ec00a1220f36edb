from .corpus import summarize as summarize
from .gpt2_notebook import show_logit_lens as show_logit_lens
from .lens import logit_lens as logit_lens
from .neurons import nearest_tokens as nearest_tokens
from .neurons import top_neurons as top_neurons
from .scripts import scripts_of as scripts_of
from .two_models import compare_models as compare_models
from .word_forms import variants as variants

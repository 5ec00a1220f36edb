from .decode.decoder import Decoder as Decoder
from .decoders.evaluate import evaluate as evaluate
from .decoders.fit.fitting import fit_decoder as fit_decoder
from .decoders.kinds import JacobianLens as JacobianLens
from .decoders.kinds import MeanLens as MeanLens
from .decoders.kinds import RidgeLens as RidgeLens
from .decoders.kinds import TunedLens as TunedLens
from .decoders.loading import load_decoder as load_decoder
from .decoders.score import score_decoder as score_decoder
from .errors import LensError as LensError
from .lens.corpus import summarize as summarize
from .lens.gpt2_notebook import show_logit_lens as show_logit_lens
from .lens.lens import logit_lens as logit_lens
from .lens.neurons import nearest_tokens as nearest_tokens
from .lens.neurons import top_neurons as top_neurons
from .lens.two_models import compare_models as compare_models
from .model.loading import load as load
from .model.tracing import TraceDict as TraceDict
from .result.comparison import Comparison as Comparison
from .result.comparison import compare as compare
from .result.measures import MEASURES as MEASURES
from .result.measures import Measure as Measure
from .result.pictures import Picture as Picture
from .result.result import LensResult as LensResult
from .result.targets import Target as Target
from .result.tracked import Tracked as Tracked
from .show.evaluation import Evaluation as Evaluation
from .show.lens_figure import LensFigure as LensFigure
from .show.page import save_report as save_report
from .show.scores import Scores as Scores
from .show.summary import Summary as Summary
from .show.view import View as View
from .show.view import view as view
from .stream.states import get_hidden_state_deltas as get_hidden_state_deltas
from .stream.states import get_hidden_states as get_hidden_states

__version__: str
__all__: list[str]

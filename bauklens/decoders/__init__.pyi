from .kinds import JacobianLens as JacobianLens
from .kinds import MeanLens as MeanLens
from .kinds import RidgeLens as RidgeLens
from .kinds import TunedLens as TunedLens
from .learned import LearnedDecoder as LearnedDecoder
from .loading import load_decoder as load_decoder

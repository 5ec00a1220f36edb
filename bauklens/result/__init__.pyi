from .comparison import Comparison as Comparison
from .comparison import compare as compare
from .measures import MEASURES as MEASURES
from .measures import Measure as Measure
from .pictures import Picture as Picture
from .result import LensResult as LensResult
from .targets import Target as Target

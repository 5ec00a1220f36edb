"""How rows are decoded, and what is read off them."""

from dataclasses import dataclass, field

from bauklens.decode.rows import Way
from bauklens.result.mass import Mass
from bauklens.result.targets import Wanted


@dataclass(frozen=True)
class How:
    """How rows are decoded, and what is read off them; see :func:`bauklens.logit_lens`.

    Attributes:
        called: what results call the decoder, if another one has the same name.
        left_out: labels of rows that were asked for, but that the decoder has no map for.
        track: the maximum number of tokens to track, if the memory budget allows it.
        beside: how many results share that budget.
        shared: tokens that are also tracked in the results next to this one, the most important first.
        mass: sets of tokens whose probability is summed in every cell.
        misfit: what the decoder was made for, in words, if that is another model and the caller uses it anyway.
    """

    topk: int
    way: Way = field(default_factory=Way)
    measures: tuple[str, ...] = ()
    targets: tuple[Wanted, ...] = ()
    missing: str = "skip"
    misfit: str = ""
    called: str = ""
    left_out: tuple[str, ...] = ()
    track: int = 0
    beside: int = 1
    shared: tuple[int, ...] = ()
    mass: tuple[Mass, ...] = ()

    @property
    def decoder(self) -> str:
        """What results call the decoder."""
        return self.called or self.way.decoder.name

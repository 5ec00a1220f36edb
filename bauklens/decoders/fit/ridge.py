"""The ridge fit: the affine map of a layer's states that is closest to the target's states, by least squares.

``[A, b]`` minimizes ``|Y - X [A, b]'|^2 + lambda sum_i d_i |A_i|^2``: X (row, size + 1) are a layer's states and a one,
Y (row, size) the target's, and d the diagonal of ``X'X``, so that lambda is in the units of the states; b is free
(Hoerl and Kennard 1970). All that is kept of the text are the sums ``X'X`` and ``X'Y`` of each layer, in float64.
"""

from collections.abc import Sequence

import torch

from bauklens.decoders.fit.checkpoint import Tensors
from bauklens.decoders.fit.states import Fitted
from bauklens.decoders.fit.temperature import best_temperatures
from bauklens.decoders.kinds import RidgeLens
from bauklens.decoders.learned import Parts
from bauklens.errors import LensError
from bauklens.model.inputs import Inputs
from bauklens.progress import bar

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Values of lambda; the one with the least error on windows kept apart is taken, layer by layer."""

UNCHOSEN = 3e-3
"""Lambda if no windows were kept apart."""

_BYTES = 8
"""Of a number in float64."""


def bytes_of_layer(size: int) -> int:
    """How much memory the sums of one layer take."""
    return (size + 1) * (2 * size + 1) * _BYTES


class RidgeFit:
    """The sums of some layers.

    Attributes:
        rows, windows: how many were added.
    """

    def __init__(self, fitted: Fitted) -> None:
        self.fitted, self.rows, self.windows = fitted, 0, 0
        size = fitted.size
        self._squares = torch.zeros(len(fitted.layers), size + 1, size + 1, dtype=torch.float64, device="cpu")
        self._products = torch.zeros(len(fitted.layers), size + 1, size, dtype=torch.float64, device="cpu")

    def add(self, batch: Sequence[Inputs]) -> None:
        """Adds the rows of windows of one length."""
        *states, targets = self._states(batch)
        wide = targets.cpu().double()
        for layer, rows in enumerate(states):
            with_one = _with_one(rows)
            self._squares[layer].addmm_(with_one.T, with_one)
            self._products[layer].addmm_(with_one.T, wide)
        self.rows += len(wide)
        self.windows += len(batch)

    def tensors(self) -> Tensors:
        """What a checkpoint keeps."""
        return {
            "squares": self._squares,
            "products": self._products,
            "counts": torch.tensor([self.rows, self.windows], device="cpu"),
        }

    def restore(self, tensors: Tensors) -> None:
        """Continues from a checkpoint."""
        self._squares, self._products = tensors["squares"], tensors["products"]
        self.rows, self.windows = tensors["counts"].tolist()

    def decoder(self, chosen: Sequence[Inputs]) -> RidgeLens:
        """The lens, with a temperature of each layer if windows were kept apart and rows can be decoded one by one.

        Args:
            chosen: windows kept apart, on which lambda and the temperatures are chosen.

        Raises:
            LensError: there are fewer rows than unknowns.
        """
        fitted = self.fitted
        if self.rows <= fitted.size:
            raise LensError(
                f"the texts have {self.rows:,} tokens that count, but a map of width {fitted.size:,} needs "
                f"{fitted.size + 1:,} or more: pass more texts"
            )
        if not chosen:
            return self._solved(None)
        labels = [*fitted.layers, fitted.target, fitted.last]
        apart = torch.cat([fitted.states([each], labels) for each in chosen], dim=1)
        lens = self._solved(apart)
        if fitted.anatomy.whole:
            return lens
        weights, biases, _ = Parts.of(lens)
        return RidgeLens(weights, biases, best_temperatures(fitted, lens, apart, chosen[0]), about=lens.about)

    def _solved(self, apart: torch.Tensor | None) -> RidgeLens:
        """The lens without temperatures; lambda has the least error on some states, the layers' and the target's."""
        weights, biases, taken = {}, {}, {}
        for layer, label in enumerate(bar("Solving", "layer", self.fitted.layers)):
            if apart is None:
                taken[label], best = UNCHOSEN, self._map(layer, UNCHOSEN)
            else:
                given, wanted = _with_one(apart[layer]), apart[len(self.fitted.layers)].cpu().double()
                taken[label], best = self._best(layer, given, wanted)
            weights[label], biases[label] = best[:-1].T.float().contiguous(), best[-1].float()
        return RidgeLens(weights, biases, about={"lambda": taken})

    def _best(self, layer: int, given: torch.Tensor, wanted: torch.Tensor) -> tuple[float, torch.Tensor]:
        """The lambda with the least error on rows kept apart, and its map.

        The error falls and then rises with lambda, so the search walks from the middle as long as it falls.
        """
        found: dict[int, tuple[float, torch.Tensor]] = {}

        def error(place: int) -> float:
            if not 0 <= place < len(PENALTIES):
                return torch.inf
            if place not in found:
                made = self._map(layer, PENALTIES[place])
                found[place] = float((wanted - given @ made).square().sum()), made
            return found[place][0]

        place = PENALTIES.index(UNCHOSEN)
        while (nearest := min((place, place + 1, place - 1), key=error)) != place:
            place = nearest
        return PENALTIES[place], found[place][1]

    def _states(self, batch: Sequence[Inputs]) -> torch.Tensor:
        """(layer, row, size), the target's last."""
        return self.fitted.states(batch, [*self.fitted.layers, self.fitted.target])

    def _map(self, layer: int, penalty: float) -> torch.Tensor:
        """(size + 1, size), ``[A, b]'``."""
        squares = self._squares[layer]
        diagonal = squares.diagonal().clone()
        diagonal[-1] = 0
        factor, failed = torch.linalg.cholesky_ex(squares + penalty * diagonal.diag())
        if failed:
            raise LensError(
                f"the states of layer {self.fitted.layers[layer]} do not determine a map: some of their numbers never "
                "change in these texts; pass more texts"
            )
        return torch.cholesky_solve(self._products[layer], factor)


def _with_one(rows: torch.Tensor) -> torch.Tensor:
    """(row, size) -> (row, size + 1) float64."""
    wide = rows.cpu().double()
    return torch.cat([wide, torch.ones(len(wide), 1, dtype=torch.float64, device="cpu")], dim=1)

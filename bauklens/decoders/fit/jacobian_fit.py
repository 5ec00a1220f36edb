"""The exact Jacobian lens: the mean of the Jacobians of windows.

It can be anchored: then the mean of exact minus closed-form Jacobians of some windows is added to the mean of
closed-form ones of many more. The closed form is a control variate: it varies from window to window as the exact
Jacobian does, so that their difference varies less, and the anchored mean has the same expectation as the exact one.
"""

from collections.abc import Callable, Sequence

import torch

from bauklens.decoders.fit.checkpoint import Tensors
from bauklens.decoders.fit.jacobian import Jacobians
from bauklens.decoders.fit.mean_field import product_of
from bauklens.decoders.fit.mean_field_fit import closed_blocks, require_closed_form
from bauklens.decoders.fit.states import Fitted
from bauklens.decoders.kinds import JacobianLens
from bauklens.model.inputs import Inputs


class JacobianFit:
    """The sum of the Jacobians of windows.

    Args:
        dim_batch: as for :class:`bauklens.decoders.fit.jacobian.Jacobians`.
        normalize: count every window's Jacobian equally, divided by its Frobenius norm, layer by layer; because a norm
            follows, that changes the weights of windows, not the scale.
        anchored: whether the closed form of every window is taken too.
        done: is called with how many more rows of a Jacobian are done.

    Attributes:
        rows, windows: positions and windows that were added.
        anchors: windows of which only the closed form was added.
        norm: of the last window's Jacobians, the mean over layers of the root mean square of their singular values.
        change: how far the mean moved with it, relative to its size, at the layer where it moved most; 1 at first.
    """

    def __init__(
        self,
        fitted: Fitted,
        *,
        dim_batch: int | None = None,
        normalize: bool = False,
        anchored: bool = False,
        done: Callable[[int], None] = lambda _: None,
    ) -> None:
        if anchored:
            require_closed_form(fitted)
        self.fitted, self.rows, self.windows, self.anchors = fitted, 0, 0, 0
        self.norm, self.change = 0.0, 1.0
        self.jacobians = Jacobians(fitted, dim_batch)
        self._normalize, self._done = normalize, done
        shape = (len(fitted.layers), fitted.size, fitted.size)
        self._sums = torch.zeros(shape, dtype=torch.float64, device="cpu")
        self._closed, self._anchors = (
            torch.zeros(shape if anchored else 0, dtype=torch.float64, device="cpu") for _ in range(2)
        )
        self._anchored = anchored

    def add(self, batch: Sequence[Inputs]) -> None:
        """Adds windows."""
        for inputs in batch:
            found = self.jacobians.of(inputs, self._done)
            norms = torch.linalg.matrix_norm(found)
            self.norm = float(norms.mean()) / self.fitted.size**0.5
            if self._normalize:
                found /= norms.clamp_min(torch.finfo(norms.dtype).tiny)[:, None, None] / self.fitted.size**0.5
            if self._anchored:
                self._closed += self._closed_form(inputs)
            self.change = self._added(found)
            self.windows += 1
            self.rows += inputs.count - 1 - self.fitted.skip_first

    def add_anchor(self, batch: Sequence[Inputs]) -> None:
        """Adds the closed form of windows."""
        for inputs in batch:
            self._anchors += self._closed_form(inputs)
            self.anchors += 1

    def settled(self, tolerance: float | None) -> bool:
        """Whether the last window moved the mean by less."""
        return tolerance is not None and self.change < tolerance

    def _closed_form(self, inputs: Inputs) -> torch.Tensor:
        """(layer, size, size) float64, of one window."""
        fitted = self.fitted
        products = product_of(torch.stack(closed_blocks(fitted, [inputs])), fitted.anatomy)
        return torch.stack([products[label] for label in fitted.layers]).double().cpu()

    def _added(self, found: torch.Tensor) -> float:
        """Adds the Jacobians of a window; how far the mean moves."""
        count, changes = self.windows, []
        for total, each in zip(self._sums, found, strict=True):
            before = total / max(count, 1)
            total.add_(each)
            after = total / (count + 1)
            changes.append(float((after - before).norm() / after.norm()) if count else 1.0)
        return max(changes)

    def tensors(self) -> Tensors:
        """What a checkpoint keeps."""
        ways = self.jacobians
        return {
            "jacobians": self._sums,
            "closed": self._closed,
            "anchors": self._anchors,
            "counts": torch.tensor([self.windows, self.rows, self.anchors], device="cpu"),
            "change": torch.tensor([self.change], dtype=torch.float64, device="cpu"),
            "ways": torch.tensor(
                [ways.dim_batch or 0, bool(ways.in_parts), bool(ways.in_segments), ways.together], device="cpu"
            ),
        }

    def restore(self, tensors: Tensors) -> None:
        """Continues from a checkpoint in the ways that were found then, so that the result is the same bit for bit."""
        self._sums, self.change = tensors["jacobians"], float(tensors["change"])
        self._closed, self._anchors = tensors["closed"], tensors["anchors"]
        self.windows, self.rows, self.anchors = tensors["counts"].tolist()
        dim_batch, *ways = tensors["ways"].tolist()
        if self.windows:
            self.jacobians.dim_batch = dim_batch
            self.jacobians.in_parts, self.jacobians.in_segments, self.jacobians.together = map(bool, ways)

    def decoder(self, chosen: Sequence[Inputs]) -> JacobianLens:  # noqa: ARG002
        """The lens."""
        mean = self._sums / self.windows
        if self._anchored:
            mean += (self._closed + self._anchors) / (self.windows + self.anchors) - self._closed / self.windows
        about = {"anchors": self.anchors} if self._anchored else {}
        return JacobianLens(dict(zip(self.fitted.layers, mean.float(), strict=True)), about=about)

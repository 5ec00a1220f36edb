"""The exact Jacobian lens: the mean of the Jacobians of windows."""

from collections.abc import Callable, Sequence

import torch

from bauklens.decoders.fit.checkpoint import Tensors
from bauklens.decoders.fit.jacobian import Jacobians
from bauklens.decoders.fit.states import Fitted
from bauklens.decoders.kinds import JacobianLens
from bauklens.model.inputs import Inputs


class JacobianFit:
    """The sum of the Jacobians of windows.

    Args:
        dim_batch: as of :class:`bauklens.decoders.fit.jacobian.Jacobians`.
        normalize: count every window's Jacobian alike, divided by its Frobenius norm, layer by layer; as a norm
            follows, that changes how windows are weighed, and not the scale.
        done: is told how many rows of a Jacobian more are done.

    Attributes:
        rows, windows: positions and windows that were added.
        norm: of the last window's Jacobians, the mean over layers of the root mean square of their singular values.
        change: how far the mean moved with it, relative to its size, at the layer where it moved most; 1 at first.
    """

    def __init__(
        self,
        fitted: Fitted,
        *,
        dim_batch: int | None = None,
        normalize: bool = False,
        done: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.fitted, self.rows, self.windows = fitted, 0, 0
        self.norm, self.change = 0.0, 1.0
        self.jacobians = Jacobians(fitted, dim_batch)
        self._normalize, self._done = normalize, done
        self._sums = torch.zeros(len(fitted.layers), fitted.size, fitted.size, dtype=torch.float64)

    def add(self, batch: Sequence[Inputs]) -> None:
        """Adds windows."""
        for inputs in batch:
            found = self.jacobians.of(inputs, self._done)
            norms = torch.linalg.matrix_norm(found)
            self.norm = float(norms.mean()) / self.fitted.size**0.5
            if self._normalize:
                found /= norms.clamp_min(torch.finfo(norms.dtype).tiny)[:, None, None] / self.fitted.size**0.5
            self.change = self._added(found)
            self.windows += 1
            self.rows += inputs.count - 1 - self.fitted.skip_first

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
            "counts": torch.tensor([self.windows, self.rows]),
            "change": torch.tensor([self.change], dtype=torch.float64),
            "ways": torch.tensor([ways.dim_batch or 0, bool(ways.in_parts), bool(ways.in_segments), ways.together]),
        }

    def restore(self, tensors: Tensors) -> None:
        """Goes on from a checkpoint in the ways that were found then, so that no bit of the result differs."""
        self._sums, self.change = tensors["jacobians"], float(tensors["change"])
        self.windows, self.rows = tensors["counts"].tolist()
        dim_batch, *ways = tensors["ways"].tolist()
        if self.windows:
            self.jacobians.dim_batch = dim_batch
            self.jacobians.in_parts, self.jacobians.in_segments, self.jacobians.together = map(bool, ways)

    def decoder(self, chosen: Sequence[Inputs]) -> JacobianLens:  # noqa: ARG002
        """The lens."""
        mean = (self._sums / self.windows).float()
        return JacobianLens(dict(zip(self.fitted.layers, mean, strict=True)))

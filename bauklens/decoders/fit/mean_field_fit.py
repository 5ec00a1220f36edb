"""The Jacobian lens in closed form, of as many texts as there are: the mean of the blocks' mean-field Jacobians."""

from collections.abc import Sequence

import torch

from bauklens.decoders.fit.checkpoint import Tensors
from bauklens.decoders.fit.mean_field import block_jacobians, product_of
from bauklens.decoders.fit.states import Fitted
from bauklens.decoders.kinds import JacobianLens
from bauklens.errors import LensError
from bauklens.model.inputs import Inputs


class MeanFieldFit:
    """The sum of every block's Jacobian, one for each few windows, each as often as it has windows.

    Attributes:
        rows: positions that were averaged over.
        windows: how many were added.
    """

    def __init__(self, fitted: Fitted) -> None:
        if fitted.anatomy.whole or fitted.target != fitted.last:
            raise LensError("the Jacobian in closed form needs states (position, hidden), and the last block as target")
        self.fitted, self.rows, self.windows = fitted, 0, 0
        blocks, width = len(fitted.anatomy.blocks), fitted.size
        self._sums = torch.zeros(blocks, width, width, dtype=torch.float64)

    def add(self, batch: Sequence[Inputs]) -> None:
        """Adds windows of one length."""
        fitted = self.fitted
        inputs = Inputs(torch.cat([each.ids for each in batch]))
        try:
            matrices = block_jacobians(fitted.model, fitted.anatomy, inputs, skip_first=fitted.skip_first)
        except LensError:
            fitted.states(batch, [fitted.last])  # NaN is told as such
            raise
        for total, matrix in zip(self._sums, matrices, strict=True):
            total.add_(matrix.cpu(), alpha=len(batch))
        self.windows += len(batch)
        self.rows += len(batch) * (inputs.count - 1 - fitted.skip_first)

    def tensors(self) -> Tensors:
        """What a checkpoint keeps."""
        return {"blocks": self._sums, "counts": torch.tensor([self.windows, self.rows])}

    def restore(self, tensors: Tensors) -> None:
        """Goes on from a checkpoint."""
        self._sums = tensors["blocks"]
        self.windows, self.rows = tensors["counts"].tolist()

    def decoder(self, chosen: Sequence[Inputs]) -> JacobianLens:  # noqa: ARG002
        """The lens."""
        products = product_of(self._sums / self.windows, self.fitted.anatomy)
        return JacobianLens({label: products[label].float() for label in self.fitted.layers})

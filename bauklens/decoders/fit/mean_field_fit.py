"""The Jacobian lens in closed form, over any number of texts: the mean of the blocks' mean-field Jacobians."""

from collections.abc import Sequence

import torch

from bauklens.decoders.fit.checkpoint import Tensors
from bauklens.decoders.fit.mean_field import block_jacobians, product_of
from bauklens.decoders.fit.states import Fitted
from bauklens.decoders.kinds import JacobianLens
from bauklens.errors import LensError
from bauklens.model.inputs import Inputs


def require_closed_form(fitted: Fitted) -> None:
    """Rejects models and targets without a closed form.

    Raises:
        LensError: states are not (position, hidden), or the target is not the last block.
    """
    if fitted.anatomy.whole or fitted.target != fitted.last:
        raise LensError("the Jacobian in closed form needs states (position, hidden), and the last block as target")


def closed_blocks(fitted: Fitted, batch: Sequence[Inputs]) -> list[torch.Tensor]:
    """The mean Jacobian of every block, (width, width), over windows of one length.

    Raises:
        NotFiniteError: a state is NaN or infinite.
        LensError: the blocks are not of a kind whose Jacobian is known in closed form.
    """
    inputs = Inputs(torch.cat([each.ids for each in batch]))
    try:
        return block_jacobians(fitted.model, fitted.anatomy, inputs, skip_first=fitted.skip_first)
    except LensError:
        fitted.states(batch, [fitted.last])  # raises a clearer error if there is NaN
        raise


class MeanFieldFit:
    """The sum of every block's Jacobian, one for each few windows, each as often as it has windows.

    Attributes:
        rows: positions that were averaged over.
        windows: how many were added.
    """

    def __init__(self, fitted: Fitted) -> None:
        require_closed_form(fitted)
        self.fitted, self.rows, self.windows = fitted, 0, 0
        blocks, width = len(fitted.anatomy.blocks), fitted.size
        self._sums = torch.zeros(blocks, width, width, dtype=torch.float64, device="cpu")

    def add(self, batch: Sequence[Inputs]) -> None:
        """Adds windows of one length."""
        matrices = closed_blocks(self.fitted, batch)
        for total, matrix in zip(self._sums, matrices, strict=True):
            total.add_(matrix.cpu(), alpha=len(batch))
        self.windows += len(batch)
        self.rows += len(batch) * (batch[0].count - 1 - self.fitted.skip_first)

    def tensors(self) -> Tensors:
        """What a checkpoint keeps."""
        return {"blocks": self._sums, "counts": torch.tensor([self.windows, self.rows], device="cpu")}

    def restore(self, tensors: Tensors) -> None:
        """Continues from a checkpoint."""
        self._sums = tensors["blocks"]
        self.windows, self.rows = tensors["counts"].tolist()

    def decoder(self, chosen: Sequence[Inputs]) -> JacobianLens:  # noqa: ARG002
        """The lens."""
        products = product_of(self._sums / self.windows, self.fitted.anatomy)
        return JacobianLens({label: products[label].float() for label in self.fitted.layers})

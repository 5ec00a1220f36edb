"""The tuned lens: an affine map for each layer, trained so that its row predicts the model's own output.

The loss is ``KL(p || q)``, p the model's own prediction and q the row's (Belrose et al. 2023, eq. 3). It starts from
the ridge lens of the same texts, including its temperatures.
"""

import logging
from collections.abc import Iterator, Sequence

import torch

from bauklens.arguments import listed
from bauklens.decoders.fit.checkpoint import Tensors
from bauklens.decoders.fit.ridge import RidgeFit
from bauklens.decoders.fit.states import Fitted
from bauklens.decoders.fit.trained_maps import TrainedMaps, Training, as_tuned
from bauklens.decoders.kinds import RidgeLens, TunedLens
from bauklens.decoders.learned import LearnedDecoder, Parts
from bauklens.errors import LensError
from bauklens.model.inputs import Inputs

log = logging.getLogger(__name__)

_SEEDS = 1 << 63
"""As many as a generator takes."""


class TunedFit:
    """The sums of the ridge fit, and then the maps as they are trained."""

    def __init__(self, fitted: Fitted, training: Training) -> None:
        if fitted.anatomy.whole:
            raise LensError(
                f"a tuned lens needs states that are decoded one by one, but those of {fitted.anatomy.model_class} are "
                "decoded as a whole: use method='ridge'"
            )
        self.fitted, self.training, self.ridge = fitted, training, RidgeFit(fitted)
        self._windows: list[torch.Tensor] = []
        self._maps: TrainedMaps | None = None
        self._step = 0
        self._lens: RidgeLens | None = None

    @property
    def rows(self) -> int:
        """How many rows the ridge fit was given."""
        return self.ridge.rows

    @property
    def windows(self) -> int:
        """How many windows these were."""
        return self.ridge.windows

    def add(self, batch: Sequence[Inputs]) -> None:
        """Adds the rows of windows of one length, whose ids are kept to train on."""
        self.ridge.add(batch)
        self._windows += [each.ids[0].to("cpu", torch.int32) for each in batch]

    def tensors(self) -> Tensors:
        """What a checkpoint keeps."""
        kept = self.ridge.tensors() | {"step": torch.tensor([self._step], device="cpu")}
        kept["ids"] = torch.cat(self._windows) if self._windows else torch.empty(0, dtype=torch.int32, device="cpu")
        kept["lengths"] = torch.tensor([len(each) for each in self._windows], dtype=torch.int64, device="cpu")
        return kept if self._maps is None else kept | self._maps.tensors()

    def restore(self, tensors: Tensors) -> None:
        """Continues from a checkpoint."""
        self.ridge.restore(tensors)
        self._windows = list(torch.split(tensors["ids"], tensors["lengths"].tolist()))
        self._step = int(tensors["step"])
        if self._step:
            self._maps = TrainedMaps.restored(self.fitted, self.training, tensors)

    def begin(self, chosen: Sequence[Inputs]) -> None:
        """Starts from the ridge lens, if training has not begun before.

        Args:
            chosen: windows kept apart.
        """
        if self._maps is None:
            self._maps = TrainedMaps.from_ridge(self.fitted, self.training, self._of_ridge(chosen), self._windows)

    def refine(self) -> Iterator[str]:
        """Trains, one step at a time.

        Yields:
            How far the rows of the step were from the model's own, in words.
        """
        assert self._maps is not None
        for step in range(self._step, self.training.steps):
            loss = self._maps.train(self._batch(step), step)
            self._step = step + 1
            yield f"KL {loss:.3f}"

    def decoder(self, chosen: Sequence[Inputs]) -> LearnedDecoder:
        """The lens; of a layer where the ridge lens is as near on windows kept apart, that map is kept, and told."""
        assert self._maps is not None
        tuned, ridge = self._maps.lens(), self._of_ridge(chosen)
        parts, about = Parts.of(tuned), dict(ridge.about)
        better = self._better_before(ridge, tuned, chosen) if chosen else []
        if better:
            log.warning(
                "training did not bring layers %s closer to the model's own output: they keep the ridge map",
                listed(better),
            )
            parts = parts.replaced(Parts.of(as_tuned(ridge), better))
            about["kept from ridge"] = better
        return TunedLens(*parts, about=about)

    def _better_before(self, ridge: LearnedDecoder, tuned: LearnedDecoder, chosen: Sequence[Inputs]) -> list[str]:
        """The layers that training did not bring nearer on windows kept apart."""
        before, after = (self.fitted.quality(each, chosen) for each in (ridge, tuned))
        return [label for label in tuned.layers if not after[label]["kl"] < before[label]["kl"]]

    def _of_ridge(self, chosen: Sequence[Inputs]) -> RidgeLens:
        if self._lens is None:
            self._lens = self.ridge.decoder(chosen)
        return self._lens

    def _batch(self, step: int) -> list[Inputs]:
        """The windows of a step, whichever steps were made before."""
        generator = torch.Generator().manual_seed((self.training.seed * 1_000_003 + step) % _SEEDS)
        order = torch.randperm(len(self._windows), generator=generator, device="cpu").tolist()
        found, rows, device = [], 0, self.fitted.device
        for number in order:
            found.append(Inputs(self._windows[number].long().to(device)[None]))
            rows += found[-1].count - 1 - self.fitted.skip_first
            if rows >= self.training.rows:
                break
        return found

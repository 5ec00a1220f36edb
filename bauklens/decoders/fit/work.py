"""The work of a fit: windows one batch after another, a checkpoint after each, and what is kept apart for the end."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bauklens.decoders.fit.checkpoint import Checkpoint, Tensors, require_alike
from bauklens.decoders.fit.corpus import Corpus
from bauklens.decoders.fit.jacobian_fit import JacobianFit
from bauklens.decoders.fit.mean_field_fit import MeanFieldFit
from bauklens.decoders.fit.ridge import RidgeFit
from bauklens.decoders.fit.source import Source
from bauklens.decoders.fit.states import Fitted
from bauklens.decoders.fit.trained_maps import Training
from bauklens.decoders.fit.tuned import TunedFit
from bauklens.decoders.fit.wanted import Wanted
from bauklens.decoders.learned import LearnedDecoder
from bauklens.decoders.texts import Window
from bauklens.errors import LensError, NotFiniteError
from bauklens.model.inputs import Inputs
from bauklens.progress import bar

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_AT_ONCE = 8
"""Windows that are run at once; one, if each takes as many backward passes as a state has numbers."""

_CHOOSING, _SCORING = 8, 16
"""Windows that are kept apart, at most, to choose by and to score on, and the fewest of each."""

_FEWEST = 3

_MOST_FAILED = 100
"""How many more windows may fail than are fitted on, before a fit reads no further and ends with what it has."""

_TOKENS_OF_EACH = 1_600
"""To fit on, for each window that is kept apart."""


class Fit(Protocol):
    """What is done with windows, one batch after another, until a lens can be made of it."""

    @property
    def rows(self) -> int:
        """Positions that were added."""

    @property
    def windows(self) -> int:
        """Windows that were added."""

    def add(self, batch: Sequence[Inputs]) -> None:
        """Adds windows of one length."""

    def tensors(self) -> Tensors:
        """What a checkpoint keeps."""

    def restore(self, tensors: Tensors) -> None:
        """Continues from a checkpoint."""

    def decoder(self, chosen: Sequence[Inputs]) -> LearnedDecoder:
        """The lens; windows are given to choose by."""


class Work:
    """The fit of a group of layers."""

    def __init__(self, fitted: Fitted, source: Source, wanted: Wanted, checkpoint: Checkpoint) -> None:
        self.fitted, self.source, self.wanted, self.checkpoint = fitted, source, wanted, checkpoint
        self.failed = self.failed_apart = 0
        enough = max(_FEWEST, wanted.tokens // _TOKENS_OF_EACH)
        chooses = wanted.method in ("ridge", "tuned")
        self.corpus = Corpus(
            source.all(),
            skip_first=wanted.skip_first,
            choosing=min(enough, _CHOOSING) if chooses else 0,
            scoring=min(enough, _SCORING),
        )

    def done(self) -> "Done":
        """The lens, once all is done that is not in the checkpoint."""
        fit = self._fitted()
        if not fit.rows:
            raise self._nothing()
        if isinstance(fit, JacobianFit) and self.wanted.options["anchors"] is not None:
            self._anchor(fit)
        self.corpus.fill()
        if isinstance(fit, TunedFit):
            self._train(fit)
        lens = self._with_apart(self.corpus.chosen, fit.decoder)
        return Done(lens, fit, self)

    def quality(self, lens: LearnedDecoder) -> dict[str, dict[str, float]]:
        """That of a lens, on the windows that are kept apart for this; empty if there are none."""

        def measured(inputs: list[Inputs]) -> dict[str, dict[str, float]]:
            return self.fitted.quality(lens, inputs) if inputs else {}

        found = self._with_apart(self.corpus.scored, measured)
        if not found:
            log.warning("no text was left to measure the decoder on: pass more texts, or use score_decoder()")
        return found

    def _fitted(self) -> Fit:
        """The fit, with all windows that are wanted."""
        wanted, corpus = self.wanted, self.corpus
        is_exact = wanted.method == "jacobian"
        size, counted = self.fitted.size, wanted.length - 1 - wanted.skip_first
        total, unit = (-(-wanted.tokens // counted) * size, "row") if is_exact else (wanted.tokens, "token")
        with bar(f"Fitting ({wanted.method})", unit, total=total) as progress:
            fit = self._new(progress.update)
            self._go_on(fit)
            progress.update(fit.windows * size if is_exact else fit.rows)
            while batch := corpus.batch(1 if is_exact else _AT_ONCE, self._left(fit)):
                self._add(batch, fit.add)
                self._keep(fit)
                if isinstance(fit, JacobianFit):
                    progress.tell(f"norm {fit.norm:.2f}, mean moved {fit.change:.1%}")
                else:
                    progress.update(sum(window.inputs.count - 1 - wanted.skip_first for window in batch))
        return fit

    def _left(self, fit: Fit) -> int:
        """Tokens that are still wanted; none if the mean has settled before, or most texts fail."""
        wanted = self.wanted
        if isinstance(fit, JacobianFit) and fit.settled(wanted.options["tolerance"]):
            return 0
        if self.failed > _MOST_FAILED + fit.windows:
            log.warning("%d windows failed and only %d did not: no more texts are read", self.failed, fit.windows)
            return 0
        return max(0, wanted.tokens - fit.rows)

    def _new(self, done: Callable[[int], None]) -> Fit:
        method, options = self.wanted.method, self.wanted.options
        if method == "ridge":
            return RidgeFit(self.fitted)
        if method == "jacobian-mean-field":
            return MeanFieldFit(self.fitted)
        if method == "jacobian":
            return JacobianFit(
                self.fitted,
                dim_batch=options["dim_batch"],
                normalize=options["normalize"],
                anchored=options["anchors"] is not None,
                done=done,
            )
        training = Training(
            options["steps"], options["rows_per_step"], options["optimizer"], options["learning_rate"], self.wanted.seed
        )
        return TunedFit(self.fitted, training)

    def _go_on(self, fit: Fit) -> None:
        """Continues from the checkpoint, if there is one."""
        known = self.checkpoint.read()
        if known is None:
            return
        tensors, done = known
        try:
            self.failed, fitted, digest = int(done["failed"]), int(done["windows"]), str(done["digest"])
            require_alike(tensors, fit.tensors())
            fit.restore(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise LensError(f"the checkpoint {self.checkpoint.path} is damaged: remove it to begin again") from None
        self.corpus.skip(fitted, digest)
        log.info("going on from %s, after %d windows", self.checkpoint.path, fitted)

    def _keep(self, fit: Fit) -> None:
        corpus = self.corpus
        self.checkpoint.write(fit.tensors(), {"windows": corpus.fitted, "digest": corpus.digest, "failed": self.failed})

    def _add(self, batch: Sequence[Window], add: Callable[[list[Inputs]], None]) -> None:
        """Adds windows; those that fail are named in an error, or left out."""
        try:
            add([window.inputs for window in batch])
        except NotFiniteError as error:
            if batch[1:]:
                for window in batch:
                    self._add([window], add)
            else:
                self._pass_over(batch[0], error)
                self.failed += 1

    def _with_apart(self, windows: list[Window], use: Callable[[list[Inputs]], _T]) -> _T:
        """What is made of windows that are kept apart, without those that fail, if they may."""
        try:
            return use([window.inputs for window in windows])
        except NotFiniteError:
            for window in list(windows):
                try:
                    self.fitted.states([window.inputs], [self.fitted.last])
                except NotFiniteError as error:
                    self._pass_over(window, error)
                    self.failed_apart += 1
                    windows.remove(window)
            return use([window.inputs for window in windows])

    def _pass_over(self, window: Window, error: LensError) -> None:
        if not self.wanted.skip:
            raise LensError(f"text {window.text}: {error}; pass on_error='skip' to leave such texts out") from None
        log.warning("text %d is left out: %s", window.text, error)

    def _anchor(self, fit: JacobianFit) -> None:
        """Adds the closed form of the windows that follow."""
        wanted = self.wanted.options["anchors"]
        with bar("Anchoring", "window", total=wanted) as windows:
            windows.update(fit.anchors)
            while fit.anchors < wanted and (batch := self.corpus.batch(1, 1)):
                self._add(batch, fit.add_anchor)
                self._keep(fit)
                windows.update()

    def _train(self, fit: TunedFit) -> None:
        self._with_apart(self.corpus.chosen, fit.begin)
        with bar("Training", "step", total=self.wanted.options["steps"]) as steps:
            for told in fit.refine():
                self._keep(fit)
                steps.tell(told)
                steps.update()

    def _nothing(self) -> LensError:
        if self.failed:
            return LensError(f"all {self.failed:,} windows of the texts failed, and none were left to fit on")
        return self.source.too_short()


@dataclass(frozen=True)
class Done:
    """A lens, the fit that gave it, and its work."""

    lens: LearnedDecoder
    fit: Fit
    work: Work

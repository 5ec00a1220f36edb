"""fit_decoder(): a model and texts -> a learned decoder, with its quality on texts that it was not fitted on."""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from bauklens.arguments import Layers, checked_count, one_of
from bauklens.decoders.fingerprint import fingerprint, weights_hash
from bauklens.decoders.fit.checkpoint import Checkpoint, Tensors
from bauklens.decoders.fit.corpus import Corpus
from bauklens.decoders.fit.jacobian_fit import JacobianFit
from bauklens.decoders.fit.mean_field_fit import MeanFieldFit
from bauklens.decoders.fit.ridge import RidgeFit, bytes_of_layer
from bauklens.decoders.fit.source import Source
from bauklens.decoders.fit.states import Fitted, fitted_layers
from bauklens.decoders.fit.tuned import Training, TunedFit
from bauklens.decoders.fit.wanted import DTYPES, Wanted, wanted_of
from bauklens.decoders.kinds import LearnedDecoder, Parts
from bauklens.decoders.texts import LENGTH, SKIP_FIRST, Window
from bauklens.errors import LensError, NotFiniteError
from bauklens.files import path_of
from bauklens.model.anatomy import resolve
from bauklens.model.inputs import Inputs
from bauklens.model.memory import free_bytes
from bauklens.model.provenance import model_name, provenance
from bauklens.model.unwrap import unwrapped
from bauklens.progress import bar

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_AT_ONCE = 8
"""Windows that are run at once; one, if each takes as many backward passes as a state has numbers."""

_CHOOSING, _SCORING = 8, 16
"""Windows that are kept apart, at most, to choose by and to score on, and the fewest of each."""

_FEWEST = 3

_TOKENS_OF_EACH = 1_600
"""To fit on, for each window that is kept apart."""


class _Fit(Protocol):
    @property
    def rows(self) -> int: ...

    @property
    def windows(self) -> int: ...

    def add(self, batch: Sequence[Inputs]) -> None: ...

    def tensors(self) -> Tensors: ...

    def restore(self, tensors: Tensors) -> None: ...

    def decoder(self, chosen: Sequence[Inputs]) -> LearnedDecoder: ...


def fit_decoder(
    model: nn.Module,
    tokenizer: Any,
    texts: Iterable[Any] | None = None,
    *,
    method: str = "jacobian",
    layers: Layers = None,
    tokens: int | None = None,
    target_layer: int | str | None = None,
    length: int = LENGTH,
    skip_first: int = SKIP_FIRST,
    name: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    memory: int | None = None,
    seed: int = 0,
    on_error: str = "raise",
    dtype: str = "float16",
    blocks: str | None = None,
    head: str | None = None,
    anchors: int | None = None,
    dim_batch: int | None = None,
    normalize: bool | None = None,
    tolerance: float | None = None,
    steps: int | None = None,
    rows_per_step: int | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
) -> LearnedDecoder:
    """Fits a decoder to a model, and measures it on texts that it was not fitted on.

    Every fifth text, until there are enough, is kept apart to choose by (lambda, temperatures), and another fifth to
    measure the KL divergence and the agreement of each layer on, which :attr:`LearnedDecoder.quality` has.

    Args:
        model: any causal language model of transformers.
        tokenizer: its tokenizer; may be None if all texts are token ids.
        texts: any iterable of strings, lists of token ids, or mappings with ``"text"`` or ``"input_ids"``, such as a
            dataset of the library ``datasets``, which may be a stream: none is kept in memory. None: the model writes
            its own.
        method: ``"jacobian"``, the mean Jacobian of the final state, by backward passes; ``"jacobian-mean-field"``, the
            same in closed form, from forward passes only, of models whose blocks are like Llama's; ``"ridge"``, least
            squares to the final state; ``"tuned"``, an affine map trained for what the model says in the end.
        layers: the layers to fit, by number or label, or ``"embed"``; by default all before the target.
        tokens: how many to fit on, about, counting the positions that are not left out. By default 11,100 (100 windows)
            for ``"jacobian"``, 2,000 for ``"jacobian-mean-field"``, 65,536 otherwise, and fewer if the model writes.
        target_layer: the layer whose states the maps lead to; by default the last.
        length: tokens of a window; a longer text makes several.
        skip_first: positions at the beginning of each window that are left out, as is the last.
        name: what results call the decoder; by default the method.
        checkpoint: a ``.safetensors`` file that is written after every few windows. If it is there already, the fit
            goes on from it, with the same result to the last bit on the same machine.
        memory: bytes for the sums of a ridge fit; if those of all layers need more, the texts are read several times,
            and layers are fitted in groups.
        seed: of the texts that a model writes, and of the order of windows in training.
        on_error: ``"skip"`` passes over texts that fail.
        dtype: in which the maps are kept, ``"float16"`` or ``"float32"``.
        blocks: as for :func:`bauklens.logit_lens`.
        head: likewise.
        anchors: for ``"jacobian"``: windows that follow, of which only the closed form is taken. The closed form of all
            windows then serves as a control variate, so that the same number of exact Jacobians gives a nearer mean.
            It needs blocks like Llama's.
        dim_batch: for ``"jacobian"``: rows that one backward pass gives; by default chosen by memory.
        normalize: for ``"jacobian"``: count every window alike, whatever the size of its Jacobian.
        tolerance: for ``"jacobian"``: stop when a window moves the mean of every layer by less than this, relative to
            its size.
        steps: for ``"tuned"``: of training, by default 100.
        rows_per_step: for ``"tuned"``: positions of a step, by default 256.
        optimizer: for ``"tuned"``: ``"adamw"``, the default, or ``"sgd"`` with Nesterov's momentum.
        learning_rate: for ``"tuned"``: at the beginning, for states with a root mean square of one.

    Returns:
        The decoder, for ``logit_lens(..., decoder=...)``; :meth:`LearnedDecoder.save` writes it to a file.

    Raises:
        LensError: the texts are too few or too short; a text fails, with its number; the model has no gradients, or its
            blocks no closed form; the checkpoint is of another model, other texts or other arguments, or cannot be
            written; memory runs out; an option is not one of this method.
    """
    one_of("dtype", dtype, DTYPES)
    options = {
        "anchors": anchors,
        "dim_batch": dim_batch,
        "normalize": normalize,
        "tolerance": tolerance,
        "steps": steps,
        "rows_per_step": rows_per_step,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
    }
    wanted = wanted_of(
        method=method,
        tokens=tokens,
        length=length,
        skip_first=skip_first,
        seed=seed,
        on_error=on_error,
        own=texts is None,
        options=options,
    )
    memory = None if memory is None else checked_count("memory", memory)
    model = unwrapped(model)
    source = Source(model, tokenizer, texts, wanted)
    anatomy = resolve(model, source.first(), blocks=blocks, head=head)
    *labels, target = fitted_layers(anatomy, layers, target_layer)
    fitted = Fitted(model, anatomy, tuple(labels), target, wanted.skip_first)
    groups = _groups(fitted, wanted, memory)
    if groups[1:] and source.once:
        raise LensError(
            f"the sums of {len(labels)} layers need {len(labels) * bytes_of_layer(fitted.size) / 1e9:.2g} GB, so that "
            "the texts would be read several times, and these can be read only once: pass a list or a dataset, fewer "
            "layers, or more memory"
        )
    done = []
    for number, group in enumerate(groups, 1):
        some = replace(fitted, layers=group)
        kept = _checkpoint(checkpoint, some, wanted, source.own, f"-{number}" if groups[1:] else "")
        done.append(_Work(some, source, wanted, kept).done())
    return _described(done, fitted, wanted, source.own, name, getattr(torch, dtype))


class _Work:
    """The fit of a group of layers."""

    def __init__(self, fitted: Fitted, source: Source, wanted: Wanted, checkpoint: Checkpoint) -> None:
        self.fitted, self.source, self.wanted, self.checkpoint = fitted, source, wanted, checkpoint
        self.failed = 0
        enough = max(_FEWEST, wanted.tokens // _TOKENS_OF_EACH)
        chooses = wanted.method in ("ridge", "tuned")
        self.corpus = Corpus(
            source.all(),
            skip_first=wanted.skip_first,
            choosing=min(enough, _CHOOSING) if chooses else 0,
            scoring=min(enough, _SCORING),
        )

    def done(self) -> "_Done":
        """The lens, once all is done that is not in the checkpoint."""
        wanted, corpus = self.wanted, self.corpus
        is_exact = wanted.method == "jacobian"
        size, counted = self.fitted.size, wanted.length - 1 - wanted.skip_first
        total, unit = (-(-wanted.tokens // counted) * size, "row") if is_exact else (wanted.tokens, "token")
        with bar(f"Fitting ({wanted.method})", unit, total=total) as progress:
            fit = self._new(progress.update)
            self._go_on(fit)
            progress.update(corpus.fitted * size if is_exact else corpus.tokens)
            tolerance = wanted.options.get("tolerance")
            exact = fit if isinstance(fit, JacobianFit) else None
            left = 0 if exact is not None and exact.settled(tolerance) else wanted.tokens - fit.rows
            for batch in corpus.batches(1 if is_exact else _AT_ONCE, corpus.tokens + left):
                self._add(batch, fit.add)
                self._keep(fit)
                if exact is not None:
                    progress.tell(f"norm {exact.norm:.2f}, mean moved {exact.change:.1%}")
                    if exact.settled(tolerance):
                        break
                else:
                    progress.update(sum(window.inputs.count - 1 - wanted.skip_first for window in batch))
        if not fit.rows:
            raise self._nothing()
        if isinstance(fit, JacobianFit) and wanted.options["anchors"] is not None:
            self._anchor(fit)
        corpus.fill()
        if isinstance(fit, TunedFit):
            self._train(fit)
        lens = self._with_apart(corpus.chosen, fit.decoder)
        return _Done(lens, fit, self)

    def quality(self, lens: LearnedDecoder) -> dict[str, dict[str, float]]:
        """That of a lens, on the windows that are kept apart for this; empty if there are none."""
        if not self.corpus.scored:
            log.warning("no text was left to measure the decoder on: pass more texts, or use score_decoder()")
            return {}
        return self._with_apart(self.corpus.scored, lambda inputs: self.fitted.quality(lens, inputs))

    def _new(self, done: Callable[[int], None]) -> _Fit:
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

    def _go_on(self, fit: _Fit) -> None:
        """Goes on from the checkpoint, if there is one."""
        known = self.checkpoint.read()
        if known is None:
            return
        tensors, done = known
        try:
            self.failed, fitted, digest = int(done["failed"]), int(done["windows"]), str(done["digest"])
            fit.restore(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise LensError(f"the checkpoint {self.checkpoint.path} is damaged: remove it to begin again") from None
        self.corpus.skip(fitted, digest)
        log.info("going on from %s, after %d windows", self.checkpoint.path, fitted)

    def _keep(self, fit: _Fit) -> None:
        corpus = self.corpus
        self.checkpoint.write(fit.tensors(), {"windows": corpus.fitted, "digest": corpus.digest, "failed": self.failed})

    def _add(self, batch: Sequence[Window], add: Callable[[list[Inputs]], None]) -> None:
        """Adds windows; those that fail are named, or passed over."""
        try:
            add([window.inputs for window in batch])
        except NotFiniteError as error:
            if batch[1:]:
                for window in batch:
                    self._add([window], add)
            else:
                self._failed(batch[0], error)

    def _with_apart(self, windows: list[Window], use: Callable[[list[Inputs]], _T]) -> _T:
        """What is made of windows that are kept apart, without those that fail, if they may."""
        try:
            return use([window.inputs for window in windows])
        except NotFiniteError:
            for window in list(windows):
                try:
                    self.fitted.states([window.inputs], [self.fitted.last])
                except NotFiniteError as error:
                    self._failed(window, error)
                    windows.remove(window)
            return use([window.inputs for window in windows])

    def _failed(self, window: Window, error: LensError) -> None:
        if not self.wanted.skip:
            raise LensError(f"text {window.text}: {error}; pass on_error='skip' to leave such texts out") from None
        self.failed += 1
        log.warning("text %d is left out: %s", window.text, error)

    def _anchor(self, fit: JacobianFit) -> None:
        """Adds the closed form of the windows that follow."""
        wanted = self.wanted.options["anchors"]
        with bar("Anchoring", "window", total=wanted) as windows:
            windows.update(fit.anchors)
            for batch in self.corpus.batches(1, sys.maxsize) if fit.anchors < wanted else ():
                self._add(batch, fit.add_anchor)
                self._keep(fit)
                windows.update()
                if fit.anchors >= wanted:
                    break

    def _train(self, fit: TunedFit) -> None:
        with bar("Training", "step", total=self.wanted.options["steps"]) as steps:
            for told in fit.refine([window.inputs for window in self.corpus.chosen]):
                self._keep(fit)
                steps.tell(told)
                steps.update()

    def _nothing(self) -> LensError:
        if self.failed:
            return LensError(f"all {self.failed:,} windows of the texts failed, and none was left to fit on")
        return self.source.too_short()


@dataclass(frozen=True)
class _Done:
    """A lens, the fit that gave it, and its work."""

    lens: LearnedDecoder
    fit: _Fit
    work: _Work


def _groups(fitted: Fitted, wanted: Wanted, memory: int | None) -> list[tuple[str, ...]]:
    """The layers, as many together as the sums of a ridge fit have room for."""
    if wanted.method not in ("ridge", "tuned"):
        return [fitted.layers]
    room = free_bytes() // 2 if memory is None else memory
    count = max(1, room // (bytes_of_layer(fitted.size) * (1 if wanted.method == "ridge" else 3)))
    return [fitted.layers[start : start + count] for start in range(0, len(fitted.layers), count)]


def _checkpoint(
    path: str | os.PathLike[str] | None, fitted: Fitted, wanted: Wanted, own: bool, suffix: str
) -> Checkpoint:
    if path is not None:
        path = path_of(path)
        path = path.with_name(f"{path.stem}{suffix}{path.suffix}")
    arguments = wanted.described() | {
        "layers": list(fitted.layers),
        "target_layer": fitted.target,
        "texts": "written by the model itself" if own else "given",
        "weights": weights_hash(fitted.model),
    }
    return Checkpoint(path, arguments, fingerprint(fitted.model, fitted.anatomy))


def _described(
    done: Sequence[_Done], fitted: Fitted, wanted: Wanted, own: bool, name: str | None, dtype: torch.dtype
) -> LearnedDecoder:
    """All layers as one decoder, with what is known of it."""
    first = done[0]
    parts = Parts({}, {}, {})
    for each in done:
        parts = parts.replaced(Parts.of(each.lens))
    maps, shifts = ({label: _kept(each, dtype) for label, each in part.items()} for part in parts[:2])
    parts = Parts(maps, shifts, parts.temperatures)
    name = first.lens.kind if name is None else name
    kind = type(first.lens)
    quality = first.work.quality(kind.from_parts(*parts, name=name))
    scored = len(first.work.corpus.scored)
    found = provenance(fitted.model, torch.empty(0, dtype=fitted.dtype, device=fitted.device), {})
    about = {
        "model": model_name(fitted.model),
        "method": wanted.method,
        "texts": "written by the model itself" if own else "given",
        "texts hash": first.work.corpus.digest,
        "prompts": first.fit.windows,
        "tokens": first.fit.rows,
        "failed": first.work.failed,
        "length": wanted.length,
        "skip_first": wanted.skip_first,
        "seed": wanted.seed,
        "blocks": len(fitted.anatomy.blocks),
        "target": fitted.target,
        "quality": f"on {scored} windows that it was not fitted on" if quality else "not measured",
        "options": dict(wanted.options),
        "dtype": found["dtype"],
        "packages": found["packages"],
        "fingerprint": fingerprint(fitted.model, fitted.anatomy),
    }
    penalties = {label: value for each in done for label, value in getattr(each.fit, "penalties", {}).items()}
    about |= {"lambda": penalties} if penalties else {}
    for each in done:
        about |= each.lens.about
    return kind.from_parts(*parts, name=name, quality=quality, about=about)


def _kept(part: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A part in the dtype in which it is kept, or float32 if that overflows."""
    found = part.to(dtype)
    return found if found.isfinite().all() else part.float()

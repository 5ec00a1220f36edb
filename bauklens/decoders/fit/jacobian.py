"""The Jacobian of the target's states with respect to a layer's, of one window, by backward passes.

The published estimator: ``J = mean over t of sum over t' of d target[t'] / d source[t]``, t and t' the positions that
count, and t' >= t, because a causal model has no others. A gradient that starts with a one at dimension i of all t' at
once gives row i of every layer's J.

There is one forward pass for each window. Gradients run back on its one graph, many at once (``torch.vmap``), one layer
after another (:mod:`bauklens.decoders.fit.segments`), through MLPs as matrices if that is less work
(:mod:`bauklens.decoders.fit.explicit_mlp`). No gradient reaches the positions at the beginning that do not count: if
the model can, they are run first, and only their cache is used. Each of these ways is tried on the first window, and
used if its result there is right.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bauklens.decoders.fit.explicit_mlp import ExplicitMlp
from bauklens.decoders.fit.graph import Graph, Prefix, counted, graph_of, states_only, without_gradient
from bauklens.decoders.fit.segments import Segment, hang_together, mlps_of, segments_of
from bauklens.decoders.fit.states import Fitted
from bauklens.errors import LensError, NotFiniteError
from bauklens.model.guard import evaluating, is_hooked
from bauklens.model.inputs import Inputs, text_config
from bauklens.model.memory import free_memory, out_of_memory
from bauklens.model.weights import has_packed
from bauklens.vocabulary import EMBED

MEMORY = 1 << 30
"""Bytes of gradients that are alive at once, about."""

_ALIVE = 6
"""How many times the memory of a layer's gradient is in use: it, that of the next layer, and what is in between."""

_ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}
"""Of a state's size: more than running a window in two parts changes it."""

_NUDGE, _DIRECTIONS, _APART = 1e-3, 4, 0.1
"""Of the proof by differences: how far states are moved, of their size; in how many directions; and what is allowed."""


@dataclass
class Jacobians:
    """Jacobians of windows, for some layers.

    Attributes:
        dim_batch: gradients, which are rows of a Jacobian, that are alive at once; by default as many as
            :data:`MEMORY` has room for. If memory runs out, it is halved.
        in_parts: whether the positions that do not count are run before the others; None until that was tried.
        in_segments: whether gradients run back layer by layer; None until that was tried.
        together: whether several can run back at once.
        mlps: name of a block -> its MLP, if its Jacobian can be made; None until that was tried.
    """

    fitted: Fitted
    dim_batch: int | None = None
    in_parts: bool | None = None
    in_segments: bool | None = None
    together: bool = True
    mlps: dict[str, ExplicitMlp] | None = None
    _proved: bool = field(default=False, repr=False)

    def of(self, inputs: Inputs, done: Callable[[int], None] = lambda _: None) -> torch.Tensor:
        """(layer, size, size) float32 on the CPU, of one window.

        Args:
            done: is called with how many more rows are done.

        Raises:
            LensError: the model has no gradients, or not those of the forward pass; they are NaN or infinite; or memory
                runs out.
        """
        fitted = self.fitted
        with evaluating(fitted.model, in_place=fitted.anatomy.in_place) as own, states_only(own):
            if not self._proved:
                self._prepare(own, inputs)
            self.dim_batch = self.dim_batch or default_dim_batch(fitted, inputs, whole=not self.in_segments)
            while True:
                try:
                    found = self._rows(own, inputs, done)
                    break
                except (RuntimeError, MemoryError, NotImplementedError) as error:
                    if out_of_memory(error) and self.dim_batch > 1:
                        self.dim_batch //= 2
                        free_memory(error)
                    elif self.together and not out_of_memory(error):
                        self.together = False  # vmap has no rule for something in it
                    else:
                        raise _explained(error, own, fitted, inputs) from None
        _require_finite("gradients", found)
        return found

    def _prepare(self, own: nn.Module, inputs: Inputs) -> None:
        """Finds out, at the first window, in which ways the model can be run, and proves its gradients."""
        fitted = self.fitted
        try:
            whole = graph_of(own, fitted, inputs)
            _require_finite("states", whole.target)
            if not whole.target.requires_grad:
                raise RuntimeError("the states have no gradient")
            prove_gradients(own, fitted, inputs, whole)
        except (RuntimeError, NotImplementedError) as error:
            if isinstance(error, LensError) or out_of_memory(error):
                raise
            raise _explained(error, own, fitted, inputs) from None
        if self.in_parts is None:
            self.in_parts = _runs_in_parts(own, fitted, inputs, whole)
        del whole
        if self.in_segments is None:
            self.in_segments = hang_together(segments_of(own, fitted, inputs, {}))
        if self.mlps is None:
            self.mlps = mlps_of(own, fitted, inputs) if self.in_segments else {}
        self._proved = True

    def _rows(self, own: nn.Module, inputs: Inputs, done: Callable[[int], None]) -> torch.Tensor:
        fitted = self.fitted
        assert self.dim_batch is not None
        assert self.mlps is not None
        with sdpa_kernel(SDPBackend.MATH) if self.together else nullcontext():  # fast kernels go back one by one
            prefix = Prefix.of(own, inputs, fitted.skip_first) if self.in_parts else None
            positions = counted(fitted, inputs, prefix)
            if not self.in_segments:
                graph = graph_of(own, fitted, inputs, prefix=prefix)
                return _by_graph(graph, fitted, self.dim_batch if self.together else 1, self.together, done)
            rows = min(self.dim_batch, fitted.size)
            mlps = {name: mlp for name, mlp in self.mlps.items() if self.together and mlp.pays(own, rows)}
            segments = segments_of(own, fitted, inputs, mlps, prefix)
        return _by_segments(segments, positions, fitted, rows, self.together, done)


def default_dim_batch(fitted: Fitted, inputs: Inputs, *, whole: bool) -> int:
    """As many gradients as :data:`MEMORY` has room for.

    Args:
        whole: whether those of all layers are alive at once.
    """
    layers = len(fitted.anatomy.blocks) if whole else 1
    each = _ALIVE * layers * inputs.count * fitted.size * torch.finfo(fitted.dtype).bits // 8
    return max(1, min(fitted.size, MEMORY // each))


def prove_gradients(own: nn.Module, fitted: Fitted, inputs: Inputs, graph: Graph) -> None:
    """Shows by differences that gradients are those of the forward pass, so that no part is left out of them.

    The first layer's states are moved in random directions, and the target's change along a random cotangent is
    compared with the gradient's inner product with the direction. Below float32, the differences are only rounding, and
    this shows only that no module of a quantized model stops the gradients.

    Raises:
        LensError: they are not.
    """
    if graph.target.dtype not in (torch.float32, torch.float64):
        where = without_gradient(own, fitted, inputs) if has_packed(own) else ""
        if where:
            raise LensError(
                f"the gradients of {fitted.anatomy.model_class} are not those of its forward pass: {where} passes none "
                "on; load the model without quantization, or fit method='ridge'"
            )
        return
    generator = torch.Generator().manual_seed(0)

    def normal(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float32, device="cpu").to(like)

    counted = torch.zeros_like(graph.target)
    counted.movedim(fitted.anatomy.position_axis, 0)[graph.positions] = 1
    cotangent = normal(graph.target) * counted
    source = graph.sources[0]
    (gradient,) = torch.autograd.grad(graph.target, [source], cotangent, retain_graph=True)
    size = source.detach().norm(dim=-1, keepdim=True) * _NUDGE / source.shape[-1] ** 0.5
    told, found = [], []
    with torch.no_grad():
        for _ in range(_DIRECTIONS):
            moved = normal(source) * size * counted.to(source)
            ends = [
                graph_of(own, fitted, inputs, leaf=source.detach() + sign * moved).target.double() for sign in (1, -1)
            ]
            found.append(float(((ends[0] - ends[1]) * cotangent.double()).sum() / 2))
            told.append(float((gradient.double() * moved.double()).sum()))
    by_hand, by_gradient = (torch.tensor(each, dtype=torch.float64, device="cpu") for each in (found, told))
    apart = (by_hand - by_gradient).norm() / by_hand.norm()
    if not apart <= _APART:
        where = without_gradient(own, fitted, inputs)
        raise LensError(
            f"the gradients of {fitted.anatomy.model_class} are not those of its forward pass (they differ by "
            f"{float(apart):.0%})" + (f": {where} passes none on" if where else "")
        )


def _require_finite(what: str, found: torch.Tensor) -> None:
    if not found.isfinite().all():
        raise NotFiniteError(f"its {what} contain NaN or infinity (float16 overflows: load the model in float32)")


def _runs_in_parts(own: nn.Module, fitted: Fitted, inputs: Inputs, whole: Graph) -> bool:
    """Whether running the positions that do not count before the others gives the same states."""
    single = not inputs.extra and getattr(text_config(own), "num_codebooks", 1) == 1
    if not fitted.anatomy.plain or not fitted.skip_first or not single or is_hooked(fitted.model):
        return False
    try:
        parts = graph_of(own, fitted, inputs, prefix=Prefix.of(own, inputs, fitted.skip_first))
    except Exception as error:  # a model with another cache, or none, may raise anything
        if out_of_memory(error):
            raise
        return False
    allowed = _ROUNDING.get(whole.target.dtype, 0.05)
    for one, other in [*zip(whole.sources, parts.sources, strict=True), (whole.target, parts.target)]:
        one, other = one[:, whole.positions].detach().double(), other[:, parts.positions].detach().double()
        if one.shape != other.shape or not ((one - other).norm(dim=-1) <= allowed * one.norm(dim=-1)).all():
            return False
    return True


def _by_segments(
    segments: list[Segment],
    positions: slice,
    fitted: Fitted,
    at_once: int,
    together: bool,
    done: Callable[[int], None],
) -> torch.Tensor:
    """(layer, size, size), by gradients that run back one layer after another."""
    found = torch.empty(len(fitted.layers), fitted.size, fitted.size, dtype=torch.float32, device="cpu")
    named = (EMBED, *fitted.anatomy.labels)
    first = named.index(fitted.layers[0])
    for start in range(0, fitted.size, at_once):
        rows = slice(start, min(start + at_once, fitted.size))
        end = segments[-1].end
        gradients = torch.stack([_one_hot(end, positions, fitted, row) for row in range(rows.start, rows.stop)])
        for place in range(len(segments) - 1, -1, -1):
            gradients = segments[place].back(gradients, positions, together=together)
            label = named[first + place]
            if label in fitted.layers:
                found[fitted.layers.index(label), rows] = _mean(gradients, positions, fitted)
        done(rows.stop - rows.start)
    return found


def _by_graph(graph: Graph, fitted: Fitted, at_once: int, together: bool, done: Callable[[int], None]) -> torch.Tensor:
    """(layer, size, size), by gradients that run back to all layers at once."""
    found = torch.empty(len(graph.sources), fitted.size, fitted.size, dtype=torch.float32, device="cpu")
    for start in range(0, fitted.size, at_once):
        rows = range(start, min(start + at_once, fitted.size))
        cotangents = torch.stack([_one_hot(graph.target, graph.positions, fitted, row) for row in rows])
        grads = torch.autograd.grad(
            graph.target,
            graph.sources,
            cotangents if together else cotangents[0],
            retain_graph=rows.stop < fitted.size,
            is_grads_batched=together,
        )
        for layer, grad in enumerate(grads):
            each = grad if together else grad[None]  # (row, *shape)
            found[layer, rows.start : rows.stop] = _mean(each, graph.positions, fitted)
        done(len(rows))
    return found


def _mean(gradients: torch.Tensor, positions: slice, fitted: Fitted) -> torch.Tensor:
    """(row, *shape) -> (row, size) float32 on the CPU, over the positions that count."""
    flat = gradients.movedim(1 + fitted.anatomy.position_axis, 1).flatten(2)  # (row, position, size)
    return flat[:, positions].float().mean(dim=1).cpu()


def _one_hot(like: torch.Tensor, positions: slice, fitted: Fitted, row: int) -> torch.Tensor:
    """A one at one place of the state, at all positions that count, in the shape of states."""
    axis = fitted.anatomy.position_axis
    along = torch.zeros_like(like.movedim(axis, 0), memory_format=torch.contiguous_format)
    along.flatten(1)[positions, row] = 1
    return along.movedim(0, axis)


def _explained(error: BaseException, own: nn.Module, fitted: Fitted, inputs: Inputs) -> LensError:
    """The error to raise for an error of a backward pass."""
    if isinstance(error, LensError):
        return error
    if out_of_memory(error):
        return LensError(
            f"out of memory in the backward pass of {inputs.count} tokens: pass a smaller length, or layers"
        )
    try:
        where = without_gradient(own, fitted, inputs)
    except Exception:
        where = ""
    return LensError(
        f"{fitted.anatomy.model_class} has no gradients here"
        + (f", as {where} passes none on" if where else f" ({type(error).__name__}: {error!s:.200})")
        + ": quantized layers and fast kernels may have no backward pass; load the model in float32 or bfloat16, or "
        "fit method='ridge'"
    )

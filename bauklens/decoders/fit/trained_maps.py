"""The maps of a tuned lens while they are trained, with their optimizers.

In each step, layers are trained one after another, so that no more than one layer's logits are alive at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bauklens.decoders.fit.checkpoint import Tensors, require_alike
from bauklens.decoders.fit.divergence import LEFT_OUT, Own
from bauklens.decoders.fit.graph import states_only
from bauklens.decoders.fit.heads import Head, differentiable_head
from bauklens.decoders.fit.states import Fitted
from bauklens.decoders.kinds import RidgeLens, TunedLens
from bauklens.errors import LensError
from bauklens.model.inputs import Inputs
from bauklens.model.memory import out_of_memory

RATES = {"adamw": 1e-3, "sgd": 1e-2}
"""Learning rates by optimizer; states are scaled to a root mean square of one before they are mapped."""

_MOMENTUM = 0.9

_NAMES = ("weight", "bias", "log temperature", "scale")

_KNOWN = {"adamw": ("step", "exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}
"""What an optimizer knows of each parameter."""


@dataclass(frozen=True)
class Training:
    """How a tuned lens is trained.

    Attributes:
        steps: how many.
        rows: about how many positions per step; a step takes whole windows.
        optimizer: ``"adamw"``, without weight decay, or ``"sgd"`` with Nesterov's momentum, as published; the learning
            rate falls linearly to 0.
        rate: the learning rate at the beginning; by default that of :data:`RATES`.
        seed: of the order of windows.
    """

    steps: int = 100
    rows: int = 100
    optimizer: str = "adamw"
    rate: float | None = None
    seed: int = 0


class TrainedMaps:
    """The maps of all layers, with their optimizers.

    A map is ``A h + b`` and a temperature, with A for states scaled by one number for each layer, so that one learning
    rate suits all.
    """

    def __init__(self, fitted: Fitted, training: Training, parts: Sequence[torch.Tensor]) -> None:
        self._fitted, self._training = fitted, training
        self._parts = [each.to(fitted.device, torch.float32) for each in parts]  # A, b, log temperature, scale
        self._trained = [[each[layer].clone().requires_grad_() for each in self._parts[:3]] for layer in self._layers]
        self._optimizers = [_optimizer(training, each) for each in self._trained]

    @staticmethod
    def from_ridge(
        fitted: Fitted, training: Training, ridge: RidgeLens, windows: Sequence[torch.Tensor]
    ) -> "TrainedMaps":
        """Those of a ridge lens."""
        some = [Inputs(each.long().to(fitted.device)[None]) for each in windows[:4]]
        states = torch.cat([fitted.states([each], fitted.layers) for each in some], dim=1).float()
        scale = states.square().mean(dim=(1, 2)).sqrt().cpu()
        weights = torch.stack([ridge.matrix(label) for label in fitted.layers]) * scale[:, None, None]
        biases = torch.stack([_present(ridge.bias(label)) for label in fitted.layers])
        temperatures = torch.tensor(
            [ridge.temperatures.get(label, 1.0) for label in fitted.layers], dtype=torch.float32, device="cpu"
        )
        return TrainedMaps(fitted, training, (weights, biases, temperatures.log(), scale))

    @staticmethod
    def restored(fitted: Fitted, training: Training, tensors: Tensors) -> "TrainedMaps":
        """Those of a checkpoint, with what their optimizers know; a ValueError if they are not of its shapes."""
        layers, size = len(fitted.layers), fitted.size
        shapes = ((layers, size, size), (layers, size), (layers,), (layers,))
        empty = (torch.empty(shape, dtype=torch.float32, device="cpu") for shape in shapes)
        require_alike(tensors, {f"map/{name}": each for name, each in zip(_NAMES, empty, strict=True)})
        maps = TrainedMaps(fitted, training, [tensors[f"map/{name}"] for name in _NAMES])
        for layer, (optimizer, parts) in enumerate(zip(maps._optimizers, maps._trained, strict=True)):
            prefix = f"optimizer/{layer}/"
            known = {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
            state = optimizer.state_dict()
            for place, part in enumerate(parts):
                known_shapes = {name: known[f"{place}/{name}"].shape for name in _KNOWN[training.optimizer]}
                if any(shape != (() if name == "step" else part.shape) for name, shape in known_shapes.items()):
                    raise ValueError(known_shapes)
            state["state"] = {
                place: {name: known[f"{place}/{name}"] for name in _KNOWN[training.optimizer]}
                for place in range(len(parts))
            }
            optimizer.load_state_dict(state)
        return maps

    def tensors(self) -> Tensors:
        """What a checkpoint keeps."""
        stacked = [torch.stack([each[part].detach() for each in self._trained]) for part in range(3)]
        kept = {f"map/{name}": each.cpu() for name, each in zip(_NAMES, (*stacked, self._parts[3]), strict=True)}
        for layer, optimizer in enumerate(self._optimizers):
            for place, state in optimizer.state_dict()["state"].items():
                kept |= {
                    f"optimizer/{layer}/{place}/{name}": torch.as_tensor(each, device="cpu")
                    for name, each in state.items()
                }
        return kept

    def train(self, batch: Sequence[Inputs], step: int) -> float:
        """One step of every layer; the mean KL before it."""
        fitted = self._fitted
        states = torch.cat([fitted.states([each], [*fitted.layers, fitted.last]) for each in batch], dim=1)
        total = 0.0
        with differentiable_head(fitted, batch[0]) as head, states_only(fitted.model):
            with torch.no_grad():
                own = Own.of(head(states[-1]))
            for layer in self._layers:
                total += self._train_layer(layer, states[layer], own, head, step)
        return total / len(fitted.layers)

    def _train_layer(self, layer: int, states: torch.Tensor, own: Own, head: Head, step: int) -> float:
        weight, bias, temperature = self._trained[layer]
        optimizer = self._optimizers[layer]
        rate = self._training.rate or RATES[self._training.optimizer]
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / self._training.steps)
        logits = head(torch.addmm(bias, states.float() / self._parts[3][layer], weight.T))
        with torch.no_grad():
            scaled = logits.clamp_min(LEFT_OUT) / temperature.exp()
            loss, gradient = own.kl(scaled)
            temperature.grad = -torch.sum(gradient * scaled).to(temperature.dtype)
            gradient /= temperature.exp()
        weight.grad, bias.grad = self._gradients(logits, (weight, bias), gradient)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss)

    def _gradients(
        self, logits: torch.Tensor, parts: tuple[torch.Tensor, ...], gradient: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        try:
            return torch.autograd.grad(logits, parts, gradient)
        except (RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, LensError) or out_of_memory(error):
                raise
            raise LensError(
                f"the head of {self._fitted.anatomy.model_class} passes no gradients on (it may be quantized): fit "
                f"method='ridge', or load the model without quantization ({error!s:.200})"
            ) from None

    def lens(self) -> TunedLens:
        """The maps as they are now."""
        weights, biases, temperatures = {}, {}, {}
        for layer, label in enumerate(self._fitted.layers):
            weight, bias, temperature = (each.detach().cpu() for each in self._trained[layer])
            weight = weight / self._parts[3][layer].cpu()
            weights[label] = weight - torch.eye(len(weight), dtype=torch.float32, device="cpu")
            biases[label], temperatures[label] = bias.clone(), float(temperature.exp())
        return TunedLens(weights, biases, temperatures)

    @property
    def _layers(self) -> range:
        return range(len(self._fitted.layers))


def _optimizer(training: Training, parts: Sequence[torch.Tensor]) -> torch.optim.Optimizer:
    rate = training.rate or RATES[training.optimizer]
    if training.optimizer == "sgd":
        return torch.optim.SGD(parts, lr=rate, momentum=_MOMENTUM, nesterov=True)
    return torch.optim.AdamW(parts, lr=rate, weight_decay=0.0)


def as_tuned(ridge: RidgeLens) -> TunedLens:
    """The same maps, written as residual ones."""
    identity = torch.eye(ridge.width, dtype=torch.float32, device="cpu")
    return TunedLens(
        {label: ridge.matrix(label) - identity for label in ridge.layers},
        {label: _present(ridge.bias(label)) for label in ridge.layers},
        ridge.temperatures,
    )


def _present(bias: torch.Tensor | None) -> torch.Tensor:
    assert bias is not None
    return bias

"""The temperature of each layer: a number to divide its logits by, so that its confidence matches its accuracy.

It gives the least mean ``KL(p || softmax(z / T))`` to the model's own prediction p. That is convex in ``1 / T``, with
the derivative ``E_q[z] - E_p[z]`` and the second derivative ``Var_q[z]``, so that Newton's method finds it.
"""

import torch

from bauklens.decoders.fit.divergence import LEFT_OUT
from bauklens.decoders.fit.heads import differentiable_head
from bauklens.decoders.fit.states import Fitted
from bauklens.decoders.learned import LearnedDecoder
from bauklens.model.inputs import Inputs
from bauklens.progress import bar

ROWS = 64
"""How many rows a temperature is chosen on, evenly from all windows."""

_LEAST, _MOST = 0.02, 50.0
"""Of a temperature."""

_STEPS, _NEAR = 30, 1e-3
"""Of Newton's method: the most, and the relative change of the temperature that ends it."""

_LEAST_VARIANCE = 1e-12


def best_temperatures(
    fitted: Fitted, decoder: LearnedDecoder, states: torch.Tensor, window: Inputs
) -> dict[str, float]:
    """Label -> the temperature, of all layers of a decoder that has none yet.

    Args:
        states: (layer, row, size), of the decoder's layers and, last, of the last block, of texts that it was not
            fitted on.
        window: any.
    """
    states = states[:, :: -(-states.shape[1] // ROWS)]
    found: dict[str, float] = {}
    with differentiable_head(fitted, window) as head, torch.no_grad():
        own = torch.softmax(head(states[-1]), dim=-1)
        for layer, label in enumerate(bar("Temperatures", "layer", decoder.layers)):
            mapped = decoder(states[layer][None], [label])[0]
            found[label] = best_temperature(head(mapped), own)
    return found


def best_temperature(logits: torch.Tensor, own: torch.Tensor) -> float:
    """The temperature that brings logits nearest to the model's own prediction.

    Args:
        logits: (row, vocabulary).
        own: (row, vocabulary), probabilities.
    """
    logits = logits.clamp_min(LEFT_OUT)
    wanted = torch.linalg.vecdot(own, logits).double().mean()
    inverse = 1.0
    for _ in range(_STEPS):
        said = torch.softmax(logits * inverse, dim=-1)
        mean = torch.linalg.vecdot(said, logits)
        variance = torch.linalg.vecdot(said, (logits - mean[:, None]).square()).double().mean()
        step = float((wanted - mean.double().mean()) / max(float(variance), _LEAST_VARIANCE))
        before, inverse = inverse, min(max(inverse + step, inverse / 2), inverse * 2)
        inverse = min(max(inverse, 1 / _MOST), 1 / _LEAST)
        if abs(inverse - before) <= _NEAR * before:
            break
    return 1 / inverse

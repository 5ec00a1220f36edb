"""A lens by hand: states by plain hooks, maps in plain torch, then the model's own norm, head and soft-cap."""

import copy
from contextlib import ExitStack

import numpy as np
import torch

from tests.tiny import LAYERS, PROMPT, VOCABULARY, WIDTH, block_list, first_input

MAPPED = ("embed", "0", "1")
"""The rows of a tiny model that need a map: the last block's output needs none."""

TAILS = {
    "gpt2": lambda model, states: model.lm_head(model.transformer.ln_f(states)),
    "gptj": lambda model, states: model.lm_head(model.transformer.ln_f(states)),
    "llama": lambda model, states: model.lm_head(model.model.norm(states)),
    "gemma2": lambda model, states: 5 * torch.tanh(model.lm_head(model.model.norm(states)) / 5),
    "opt_350m": lambda model, states: model.lm_head(model.model.decoder.project_out(states)),
}
"""What a tiny model does after its last block."""


def matrices(seed=0, width=WIDTH, layers=MAPPED):
    """A random matrix for every layer that needs one, with states about as long after it as before."""
    torch.manual_seed(seed)
    return {layer: torch.randn(width, width) / width**0.5 for layer in layers}


def vectors(seed=1, width=WIDTH, layers=MAPPED):
    """A random vector for every layer that needs one."""
    torch.manual_seed(seed)
    return {layer: torch.randn(width) for layer in layers}


def states_of(model, prompt=PROMPT):
    """(1 + LAYERS, position, hidden): the input of block 0 and the output of every block."""
    found = []

    def enter(module, inputs, keywords):
        found.append(first_input(inputs, keywords)[0].clone())

    def leave(module, inputs, output):
        found.append((output if torch.is_tensor(output) else output[0])[0].clone())

    with ExitStack() as hooks, torch.no_grad():
        hooks.callback(block_list(model)[0].register_forward_pre_hook(enter, with_kwargs=True).remove)
        for block in block_list(model):
            hooks.callback(block.register_forward_hook(leave).remove)
        model(input_ids=torch.tensor([prompt]), use_cache=False)
    assert len(found) == 1 + LAYERS
    return torch.stack(found)


def wide(model):
    """A copy of a model in float64."""
    return copy.deepcopy(model).double()


def logits_of(name, model, mapped, temperatures=()):
    """(1 + LAYERS, position, vocabulary) float64 of mapped states, divided by their temperatures.

    Args:
        mapped: (1 + LAYERS, position, hidden).
        temperatures: label -> number, of any row but the last.
    """
    with torch.no_grad():
        logits = TAILS[name](wide(model), mapped.double())
    for row, label in enumerate(MAPPED):
        logits[row] /= dict(temperatures).get(label, 1.0)
    return logits


def rows_of(lens):
    """The rows of a tiny model that a lens has, by their place among all."""
    return [(*MAPPED, str(LAYERS - 1)).index(label) for label in lens.layers]


def assert_shows(lens, logits, *, atol=1e-5):
    """A lens of all tokens has the probabilities of these logits, (row, position, vocabulary), and their order."""
    assert lens.topk == VOCABULARY == logits.shape[-1]
    ids = torch.from_numpy(lens.top_ids.copy())
    expected = logits.softmax(-1).gather(-1, ids).numpy()
    assert np.abs(lens.top_probs - expected).max() <= atol
    assert (logits.gather(-1, ids).diff(dim=-1) <= 1e-4 * logits.abs().max()).all()

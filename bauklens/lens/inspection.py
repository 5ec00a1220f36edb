"""What ``bauklens inspect`` prints about a model."""

from typing import Any

from torch import nn

from bauklens.errors import LensError
from bauklens.lens.run import check, run
from bauklens.model.in_hand import in_hand
from bauklens.model.inputs import context_length, input_embeddings, text_config
from bauklens.model.provenance import model_name
from bauklens.model.resolving import sublayers_of
from bauklens.model.weights import has_packed
from bauklens.stream.run import Run

_NO_TOKENIZER = [0, 1, 2, 3]


def describe(model: nn.Module, tokenizer: Any, prompt: str) -> list[tuple[str, str]]:
    """(name, value) for each part of a model that a lens needs, as text to be printed.

    Args:
        prompt: the prompt for the check; without a tokenizer, the check uses the ids 0 to 3.

    Raises:
        LensError: as :func:`bauklens.logit_lens` does.
    """
    model, tokenizer = in_hand(model, tokenizer)
    ran = run(model, tokenizer, prompt if tokenizer is not None else _NO_TOKENIZER)
    anatomy = ran.anatomy
    parameters = sum(parameter.numel() for parameter in model.parameters())
    context = context_length(model)
    return [
        ("model", model_name(model)),
        ("type", f"{getattr(text_config(model), 'model_type', 'unknown')} ({anatomy.model_class})"),
        ("embedding", anatomy.embedding or f"the input of {anatomy.blocks[0]}"),
        ("blocks", f"{len(anatomy.blocks)} ({anatomy.blocks[0]} .. {anatomy.blocks[-1]})"),
        ("width", f"{anatomy.width:,}"),
        ("vocabulary", f"{anatomy.vocabulary:,}"),
        ("context", f"{context:,} tokens" if context else "not limited by the configuration"),
        ("parameters", f"{parameters:,}" + (", as they are packed" if has_packed(model) else "")),
        ("embeddings", f"{'tied' if _tied(model, anatomy.head) else 'not tied'} (input and output)"),
        ("dtype", str(ran.final.dtype).removeprefix("torch.")),
        ("device", str(ran.final.device)),
        *((("tail",) if not index else ("",)) + (_named(model, name),) for index, name in enumerate(anatomy.tail)),
        ("decoding", anatomy.decoding),
        ("sublayers", _sublayers(ran)),
        ("check", f"the last block's logits differ from the model's own by at most {check(ran):.2g}"),
    ]


def _sublayers(run: Run) -> str:
    """The names of the first block's sublayers, relative to the block."""
    try:
        found = sublayers_of(run.model, run.anatomy, run.inputs)
    except LensError:
        return "none found whose outputs add up to what a block adds"
    first = found.attention[0], found.mlp[0]
    attention, mlp = (str(each).replace(f"{run.anatomy.blocks[0]}.", "") for each in first)
    return f"{attention}, then {mlp}" if found.sequential else f"{attention} beside {mlp}"


def _tied(model: nn.Module, head: str) -> bool:
    weights = [getattr(module, "weight", None) for module in (input_embeddings(model), model.get_submodule(head))]
    return weights[0] is not None and weights[0] is weights[1]


def _named(model: nn.Module, name: str) -> str:
    return f"{name} ({type(model.get_submodule(name)).__name__})"

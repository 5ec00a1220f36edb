"""TransformerLens's logit lens on a model that scripts/gpu_session.py has timed."""

import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from benchmark import peak_bytes
from gpu_timing import milliseconds, reason

NAME = "TransformerLens"


def add(runs: Sequence[dict[str, Any]], model: Any, rounds: int, until: float) -> None:
    """Adds its time and memory to runs of this model. They are timed last, as its bridge changes the model.

    Args:
        runs: as :func:`gpu_ways.measure` returns them.
    """
    from transformer_lens.tools.analysis import logit_lens

    bridge, device = _bridge(model), next(model.parameters()).device
    for run in runs:
        prompt = torch.randint(0, run["vocabulary"], (1, run["tokens"]), generator=torch.Generator().manual_seed(0))

        def way(ids: torch.Tensor = prompt.to(device)) -> object:  # noqa: B008
            # All positions, and the entropy, which it always computes.
            return logit_lens(bridge, ids, positions=None, top_k=5, return_type="probs")

        taken, failed = milliseconds({NAME: way}, rounds, device, until)
        run["milliseconds"] |= taken
        run["failed"] |= failed
        if taken:
            try:
                run["peak_bytes"][NAME] = peak_bytes(way)
            except Exception as error:
                run["failed"][f"{NAME}, memory"] = reason(error)


def _bridge(model: Any) -> Any:
    """Its bridge of the model, which requires a folder with a configuration and a tokenizer."""
    from tokenizers import Tokenizer, models
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))  # noqa: S106
    with tempfile.TemporaryDirectory() as folder:
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        special = {"bos_token": "a", "eos_token": "a", "unk_token": "a", "pad_token": "b"}
        PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        device = str(next(model.parameters()).device)
        return TransformerBridge.boot_transformers(
            folder, hf_model=model, tokenizer=tokenizer, device=device, dtype=model.dtype
        )

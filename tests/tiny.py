"""Tiny models with weights that let a missed norm, bias, scale or cap show, and a tokenizer for them."""

from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTJConfig,
    LlamaConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
)

from tests import NAMES

VOCABULARY = 320
LAYERS = 3
WIDTH = 32
PROMPT = [7, 301, 44, 5, 5, 118, 260, 9, 77, 13]
TEXT = "The tower is in the city, “naïve” & <b>bold</b>"

_WIDTHS = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "vocab_size": VOCABULARY}
_GPT = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": 64, "vocab_size": VOCABULARY}
_OPT = {"ffn_dim": 48, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LLAMA = {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64}

CONFIGS = {
    "gpt2": lambda: GPT2Config(**_GPT, bos_token_id=1, eos_token_id=2),
    "gptj": lambda: GPTJConfig(**_GPT, rotary_dim=4, bos_token_id=1, eos_token_id=2),
    "llama": lambda: LlamaConfig(**_WIDTHS, **_LLAMA),
    "gemma2": lambda: Gemma2Config(
        **_WIDTHS, **_LLAMA, head_dim=8, sliding_window=4, final_logit_softcapping=5.0, attn_logit_softcapping=3.0
    ),
    "opt": lambda: OPTConfig(**_WIDTHS, **_OPT, word_embed_proj_dim=WIDTH),
    "opt_350m": lambda: OPTConfig(**_WIDTHS, **_OPT, word_embed_proj_dim=16, do_layer_norm_before=False),
    "bloom": lambda: BloomConfig(hidden_size=WIDTH, n_layer=LAYERS, n_head=4, vocab_size=VOCABULARY),
}
assert list(CONFIGS) == NAMES


def tiny_model(name, dtype=torch.float32, seed=0):
    """A fresh tiny model: every weight, bias and norm random, the head's weights scaled up."""
    return with_random_weights(CONFIGS[name](), dtype, seed)


def randomised(model):
    """Every weight, bias and norm random, and the head's weights scaled up."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.3)
        head = model.get_output_embeddings()
        if getattr(head, "weight", None) is not None:
            head.weight.mul_(12)
    return model.eval()


def with_random_weights(config, dtype=torch.float32, seed=0):
    """A fresh model of a configuration, in the same way."""
    torch.manual_seed(seed)
    model = randomised(AutoModelForCausalLM.from_config(config))
    assert sum(parameter.numel() for parameter in model.parameters()) < 100_000
    assert model.get_output_embeddings().weight.shape[0] == VOCABULARY
    return model.to(dtype).requires_grad_(False)


@cache
def tiny_tokenizer():
    """A byte-level BPE tokenizer, as GPT-2's and the demo model's are, trained on a few lines."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["the tower in the city of the sea", "is in the", "a city is a city"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def block_list(model):
    """The blocks of a tiny model, told by hand."""
    inner = model.base_model
    return inner.h if hasattr(inner, "h") else inner.decoder.layers if hasattr(inner, "decoder") else inner.layers


def first_input(inputs, keywords):
    """The state that a block is given: most are called with it in place, GPT-J of transformers 4.51 by name."""
    return inputs[0] if inputs else keywords["hidden_states"]


def pass_output_through(module, function):
    """Has a module hand over ``function(module, inputs, output)``, or its output where that is None; not by a hook.

    Hooks outside of the blocks have a prompt decoded whole; this leaves the lens as it is.
    """
    forward = module.forward

    def changed(*inputs, **keywords):
        output = forward(*inputs, **keywords)
        returned = function(module, inputs, output)
        return output if returned is None else returned

    module.forward = changed


def hook_count(model):
    """How many forward hooks of any kind a model carries."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())

"""The context that a model was made for, and the one beyond which it cannot run."""

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

import bauklens
from bauklens.errors import LensError
from bauklens.model.context import made_for
from bauklens.model.inputs import context_length, exceeded_context
from tests.tiny import VOCABULARY, WIDTH, tiny_tokenizer, with_random_weights

IDS = [(7 * place + 3) % 319 for place in range(24)]


class Config:
    """A configuration as a file may hold it, of any version of transformers."""

    def __init__(self, **entries):
        vars(self).update(entries)


def llama(**changes):
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": VOCABULARY}
    sizes |= {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 16}
    return with_random_weights(CONFIG_MAPPING["llama"](**sizes | changes))


def rows_of(model, ids):
    """Hooks on the blocks, then the model's own norm and head."""
    found = []
    hooks = [
        block.register_forward_hook(lambda _, __, out: found.append(out[0] if isinstance(out, tuple) else out))
        for block in model.model.layers
    ]
    model(input_ids=torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return torch.stack([model.lm_head(model.model.norm(each))[0].softmax(-1) for each in found])


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}


@pytest.mark.parametrize(
    ("entries", "length"),
    [
        ({}, None),
        ({"max_position_embeddings": 16}, 16),
        ({"max_position_embeddings": None, "max_target_positions": 448}, 448),
        ({"max_position_embeddings": -1}, None),
        ({"max_position_embeddings": 16, "rope_parameters": YARN}, 64),
        ({"max_position_embeddings": 64, "rope_parameters": YARN}, 64),  # the factor is in it already
        ({"max_position_embeddings": 16, "rope_scaling": {"type": "yarn", "factor": 4.0}}, 64),
        ({"max_position_embeddings": 2048, "rope_scaling": {"type": "linear", "factor": 8}}, 16384),
        ({"max_position_embeddings": 2048, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, 4096),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "original_max_position_embeddings": 4096,
                "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]},
            },
            131072,
        ),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "longrope", "factor": 32.0}}, 131072),
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}, 32768),
        # Gemma 3 names the context that its global layers reach: the factor is in it
        (
            {
                "max_position_embeddings": 131072,
                "rope_parameters": {
                    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                },
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "rope_local_base_freq": 10000.0,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
            131072,
        ),
        (
            {"max_position_embeddings": 16, "rope_parameters": {"full_attention": YARN, "sliding_attention": None}},
            64,
        ),
        *(
            ({"max_position_embeddings": 16, "rope_parameters": odd}, 16)
            for odd in (
                7,
                [],
                {"rope_type": "yarn"},
                {"rope_type": "yarn", "factor": "4"},
                {"rope_type": "yarn", "factor": float("nan")},
                {"rope_type": "yarn", "factor": 1e300},
                {"rope_type": "yarn", "factor": -4},
                {"rope_type": "default", "factor": 4.0},
            )
        ),
    ],
)
def test_what_configurations_say(entries, length):
    assert made_for(Config(**entries)) == length


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 2.0},
        {"rope_type": "dynamic", "factor": 2.0},
        YARN,
        {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        {"rope_type": "longrope", "factor": 4.0, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4},
    ],
    ids=lambda rope: rope["rope_type"],
)
def test_a_text_beyond_the_context_is_read_as_the_model_reads_it(rope):
    own = {"original_max_position_embeddings": 8} if rope["rope_type"] in ("llama3", "longrope") else {}
    model = llama(rope_parameters={"rope_theta": 10000.0} | own | rope)
    lens = bauklens.logit_lens(model, None, IDS, precision="exact", topk=3)
    right = rows_of(model, IDS)
    shown = torch.tensor(lens.top_probs[1:])
    assert torch.allclose(right.gather(-1, torch.tensor(lens.top_ids[1:])), shown, atol=1e-5)
    reach = {"default": 16, "linear": 32, "dynamic": 32, "yarn": 64, "llama3": 32, "longrope": 32}[rope["rope_type"]]
    assert context_length(model) == reach
    said = (
        f"The text has 24 tokens, but the model was made for at most {reach}: its predictions beyond that may be poor."
    )
    assert lens.notes == ((said,) if reach < 24 else ())


def test_what_is_generated_may_lead_beyond_the_context():
    model = llama()
    model.generation_config.eos_token_id = None
    lens = bauklens.logit_lens(model, None, IDS[:14], max_new_tokens=6)
    assert len(lens.tokens) == 20
    assert lens.notes[0].startswith("The text has 20 tokens")


def test_a_word_may_lead_beyond_the_context():
    lens = bauklens.logit_lens(llama(), tiny_tokenizer(), IDS[:16], targets="sea of the city", layers=[-1])
    assert lens.targets[0].part == "whole"


OTHERS = {"vocab_size": VOCABULARY, "max_position_embeddings": 16, "num_attention_heads": 2}
SMALL = OTHERS | {"hidden_size": WIDTH, "num_hidden_layers": 1}
GPT = {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": 1, "n_head": 2, "n_positions": 16}
TABLES = {
    "gpt2": (GPT, 16),
    "gptj": (GPT | {"rotary_dim": 8}, 16),
    "opt": (SMALL | {"ffn_dim": 32, "word_embed_proj_dim": WIDTH}, 16),
    "roberta": (SMALL | {"intermediate_size": 32, "is_decoder": True}, 14),  # of which two rows are of no position
    "ctrl": (GPT | {"dff": 32}, 16),
}
ENDLESS = {
    "gpt_neox": SMALL | {"intermediate_size": 32},
    "falcon": SMALL | {"alibi": True},
    "bloom": {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_layer": 1, "n_head": 2},
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_positions_ends(name):
    entries, length = TABLES[name]
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[name](**entries)).eval()
    model(input_ids=torch.tensor([IDS[:length]]))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.tensor([IDS[: length + 1]]))
    assert exceeded_context(model, length) is None
    assert exceeded_context(model, length + 1) == length
    message = f"has {length + 1} tokens, but the model's context is {length}: pass a shorter prompt"
    with pytest.raises(LensError, match=message):
        bauklens.logit_lens(model, None, IDS[: length + 1])


@pytest.mark.parametrize("name", ENDLESS)
def test_positions_that_are_computed_do_not_end(name):
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[name](**ENDLESS[name])).eval()
    assert exceeded_context(model, 10_000) is None
    assert len(bauklens.logit_lens(model, None, IDS).tokens) == 24

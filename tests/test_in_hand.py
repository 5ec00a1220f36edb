"""What people have in hand: models inside objects of other libraries, and tokenizers of other kinds.

The libraries themselves run where they can be had with this torch; of the others (repeng, TRL, pyvene, Lightning,
sentence-transformers, HookedTransformer, tiktoken) there are small classes with the same shape and name here.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    CLIPImageProcessor,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    WhisperFeatureExtractor,
    pipeline,
)

import bauklens
from bauklens.model.unwrap import unwrapped
from tests.tiny import PROMPT, TEXT, VOCABULARY, WIDTH, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("default")

TOLERANCE = 1e-5


def of_library(module):
    """Makes a class look as if it came from a module of another library."""

    def as_from(kind):
        kind.__module__ = module
        return kind

    return as_from


def last_row(model, *arguments, **options):
    """The probabilities after the last block, by the model's own forward pass."""
    with torch.no_grad():
        found = model(*arguments, **options)
    logits = getattr(found, "logits", found[0] if isinstance(found, tuple) else found)
    return logits[0].float().softmax(-1).numpy()


def apart(lens, right):
    return np.abs(np.take_along_axis(right, lens.top_ids[-1], -1) - lens.top_probs[-1]).max()


IDS = torch.tensor([PROMPT])


@of_library("repeng.control")
class ControlModule(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block, self.control = block, torch.ones(WIDTH)

    def forward(self, *arguments, **options):
        found = self.block(*arguments, **options)
        return (found[0] + self.control, *found[1:]) if isinstance(found, tuple) else found + self.control


@of_library("repeng.control")
class ControlModel(nn.Module):
    def __init__(self, model, layers):
        super().__init__()
        self.model = model
        for layer in layers:
            model.model.layers[layer] = ControlModule(model.model.layers[layer])

    def forward(self, *arguments, **options):
        return self.model(*arguments, **options)


@of_library("trl.models.modeling_base")
class PreTrainedModelWrapper(nn.Module):
    def __init__(self, pretrained_model):
        super().__init__()
        self.pretrained_model = pretrained_model


@of_library("trl.models.modeling_value_head")
class AutoModelForCausalLMWithValueHead(PreTrainedModelWrapper):
    def __init__(self, pretrained_model):
        super().__init__(pretrained_model)
        self.v_head = nn.Linear(WIDTH, 1)

    def forward(self, input_ids=None, **options):
        found = self.pretrained_model(input_ids=input_ids, output_hidden_states=True, **options)
        return found.logits.float(), None, self.v_head(found.hidden_states[-1]).squeeze(-1)


@of_library("pyvene.models.intervenable_base")
class BaseModel(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, base, sources=None):
        return base, self.model(**base)


@of_library("pytorch_lightning.core.module")
class LightningModule(nn.Module):
    def forward(self, *arguments, **options):
        return super().forward(*arguments, **options)


class Training(LightningModule):
    def __init__(self):
        super().__init__()
        self.language_model, self.metric = tiny_model("llama"), nn.Linear(2, 2)


class TrainingWithForward(Training):
    def forward(self, batch):
        return self.language_model(**batch)


@of_library("sentence_transformers.sentence_transformer.model")
class SentenceTransformer(nn.Sequential):
    pass


class TestWrappers:
    def test_what_repeng_adds_acts(self):
        model = ControlModel(tiny_model("llama"), [1])
        right = last_row(model, IDS)
        assert apart(bauklens.logit_lens(model, None, PROMPT, precision="exact"), right) < TOLERANCE
        assert np.abs(right - last_row(tiny_model("llama"), IDS)).max() > 0.01

    def test_a_value_head_is_left_out(self):
        model = AutoModelForCausalLMWithValueHead(tiny_model("llama"))
        lens = bauklens.logit_lens(model, None, PROMPT, precision="exact")
        assert apart(lens, last_row(model, IDS)) < TOLERANCE
        assert lens.provenance["model class"] == "LlamaForCausalLM"

    def test_a_module_of_lightning_without_a_forward_pass_of_its_own(self):
        model = Training()
        lens = bauklens.logit_lens(model, None, PROMPT, precision="exact")
        assert apart(lens, last_row(model.language_model, IDS)) < TOLERANCE

    def test_a_pipeline_brings_its_tokenizer(self):
        model = pipeline("text-generation", model=tiny_model("llama"), tokenizer=tiny_tokenizer())
        lens = bauklens.logit_lens(model, None, TEXT, targets=["the"])
        plain = bauklens.logit_lens(tiny_model("llama"), tiny_tokenizer(), TEXT, targets=["the"])
        assert lens.tokens == plain.tokens
        assert np.array_equal(lens.top_probs, plain.top_probs)
        assert torch.equal(
            bauklens.get_hidden_states(model, None, TEXT),
            bauklens.get_hidden_states(tiny_model("llama"), tiny_tokenizer(), TEXT),
        )

    def test_a_trainer_brings_its_tokenizer(self, tmp_path):
        arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[])
        trainer = Trainer(model=tiny_model("llama"), args=arguments, processing_class=tiny_tokenizer())
        assert bauklens.logit_lens(trainer, None, "the city").tokens == ("the", " city")

    def test_pyvene_is_refused(self):
        with pytest.raises(bauklens.LensError, match=r"changes its model only in its own forward pass.*pass \.model"):
            bauklens.logit_lens(BaseModel(tiny_model("gpt2")), None, PROMPT)

    def test_a_forward_pass_of_another_kind_is_refused_by_the_name_to_pass(self):
        with pytest.raises(
            bauklens.LensError, match=r"holds a LlamaForCausalLM as \.language_model, .*: pass \.language_m"
        ):
            bauklens.logit_lens(TrainingWithForward(), None, PROMPT)

    def test_an_object_that_may_steer_its_model_is_refused_by_the_name_to_pass(self):
        bot = SimpleNamespace(lm=torch.nn.DataParallel(tiny_model("llama")), generate=print)
        with pytest.raises(
            bauklens.LensError, match=r"SimpleNamespace holds a LlamaForCausalLM as \.lm, .*: pass \.lm$"
        ):
            bauklens.logit_lens(bot, None, PROMPT)

    def test_two_models_are_refused_by_both_names(self):
        both = SimpleNamespace(policy=tiny_model("llama"), reference=tiny_model("gpt2"), again=None)
        with pytest.raises(
            bauklens.LensError, match=r"holds 2 models as \.policy and \.reference.* pass \.policy or \.ref"
        ):
            bauklens.logit_lens(both, None, PROMPT)

    def test_embeddings_of_texts_have_no_head(self):
        with pytest.raises(
            bauklens.LensError, match="SentenceTransformer computes embeddings of texts: pass a language"
        ):
            bauklens.logit_lens(SentenceTransformer(tiny_model("llama").model), None, PROMPT)

    @pytest.mark.parametrize("name", ["llama", "gpt2"])
    def test_a_model_without_a_head(self, name):
        model = tiny_model(name).base_model
        with pytest.raises(bauklens.LensError, match=r"has no head: load it with \w+ \(AutoModelForCausalLM\)"):
            bauklens.logit_lens(model, None, PROMPT)

    def test_hooks_of_a_wrapper_would_not_act(self):
        model = AutoModelForCausalLMWithValueHead(tiny_model("llama"))
        model.register_forward_hook(lambda *_: None)
        with pytest.raises(bauklens.LensError, match="has hooks, which have no effect on the LlamaForCausalLM inside"):
            bauklens.logit_lens(model, None, PROMPT)

    @pytest.mark.parametrize("wrap", [ControlModel, AutoModelForCausalLMWithValueHead])
    def test_a_model_without_weights(self, wrap):
        with torch.device("meta"):
            model = LlamaForCausalLM(tiny_model("llama").config)
        wrapped = wrap(model, [0]) if wrap is ControlModel else wrap(model)
        with pytest.raises(bauklens.LensError, match="the model has no weights yet: model"):
            bauklens.logit_lens(wrapped, None, PROMPT)


class TestABridge:
    """A TransformerBridge of TransformerLens."""

    @pytest.fixture
    def bridge(self, tmp_path):
        bridges = pytest.importorskip("transformer_lens.model_bridge", reason="needs the extra peers")
        tiny_model("llama").save_pretrained(tmp_path)
        tiny_tokenizer().save_pretrained(tmp_path)
        return bridges.TransformerBridge.boot_transformers(str(tmp_path), device="cpu", dtype=torch.float32)

    def test_its_lens_is_that_of_its_model(self, bridge):
        lens = bauklens.logit_lens(bridge, None, PROMPT, precision="exact")
        plain = bauklens.logit_lens(tiny_model("llama"), None, PROMPT, precision="exact")
        assert lens.layers == plain.layers
        assert np.allclose(lens.top_probs, plain.top_probs, atol=TOLERANCE)
        assert apart(lens, last_row(bridge, IDS, return_type="logits")) < TOLERANCE

    @pytest.mark.parametrize("point", ["blocks.1.hook_out", "blocks.1.attn.hook_out", "ln_final.hook_normalized"])
    def test_its_hooks_act(self, bridge, point):
        plain = last_row(bridge, IDS, return_type="logits")
        bridge.add_hook(point, lambda value, hook: value * 0.5)
        right = last_row(bridge, IDS, return_type="logits")
        assert np.abs(right - plain).max() > 0.01
        assert apart(bauklens.logit_lens(bridge, None, PROMPT, precision="exact"), right) < TOLERANCE

    def test_its_weights_may_be_folded(self, bridge):
        bridge.enable_compatibility_mode()
        right = last_row(bridge, IDS, return_type="logits")
        assert apart(bauklens.logit_lens(bridge, None, PROMPT, precision="exact"), right) < TOLERANCE


class HookPoint(nn.Module):
    def forward(self, state):
        return state


class Embed(nn.Module):
    def __init__(self):
        super().__init__()
        self.W_E = nn.Parameter(torch.randn(VOCABULARY, WIDTH))

    def forward(self, ids):
        return self.W_E[ids]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix, self.hook_resid_post = nn.Linear(WIDTH, WIDTH), HookPoint()

    def forward(self, resid_pre):
        return self.hook_resid_post(resid_pre + torch.tanh(self.mix(resid_pre.cumsum(1))))


class Unembed(nn.Module):
    def __init__(self):
        super().__init__()
        self.W_U, self.b_U = nn.Parameter(torch.randn(WIDTH, VOCABULARY)), nn.Parameter(torch.randn(VOCABULARY))

    def forward(self, state):
        return state @ self.W_U + self.b_U


@of_library("transformer_lens.HookedTransformer")
class HookedTransformer(nn.Module):
    """What calls it is TransformerLens 2's: its modules are put together in the same way."""

    def __init__(self):
        super().__init__()
        self.cfg = SimpleNamespace(n_ctx=32, model_name="own-hooked")
        self.embed, self.blocks = Embed(), nn.ModuleList(Block() for _ in range(3))
        self.ln_final, self.unembed = nn.LayerNorm(WIDTH), Unembed()
        self.hook_dict = {f"blocks.{n}.hook_resid_post": block.hook_resid_post for n, block in enumerate(self.blocks)}

    def forward(self, ids, return_type="logits", prepend_bos=True):
        assert return_type == "logits"
        assert not prepend_bos
        state = self.embed(ids)
        for block in self.blocks:
            state = block(state)
        return self.unembed(self.ln_final(state))


class TestAHookedTransformer:
    @pytest.fixture
    def hooked(self):
        torch.manual_seed(0)
        return HookedTransformer().eval()

    def rows(self, model):
        """The right values of every row, by hand."""
        with torch.no_grad():
            states = [model.embed(IDS)]
            for block in model.blocks:
                states.append(block(states[-1]))
            return np.stack([model.unembed(model.ln_final(each))[0].softmax(-1).numpy() for each in states])

    def test_every_row_is_right(self, hooked):
        lens = bauklens.logit_lens(hooked, None, PROMPT, precision="exact")
        right = self.rows(hooked)
        assert lens.layers == ("embed", "0", "1", "2")
        assert lens.model == "own-hooked"
        assert np.abs(np.take_along_axis(right, lens.top_ids, -1) - lens.top_probs).max() < TOLERANCE

    def test_its_hooks_act_and_stay(self, hooked):
        plain = self.rows(hooked)
        hooked.blocks[1].hook_resid_post.register_forward_hook(lambda module, given, state: state * 0.5)
        right = self.rows(hooked)
        lens = bauklens.logit_lens(hooked, None, PROMPT, precision="exact")
        assert np.abs(np.take_along_axis(right, lens.top_ids, -1) - lens.top_probs).max() < TOLERANCE
        assert np.abs(right - plain).max() > 0.01
        assert np.array_equal(self.rows(hooked), right)

    def test_its_context_is_kept(self, hooked):
        with pytest.raises(bauklens.LensError, match="the model's context is 32"):
            bauklens.logit_lens(hooked, None, PROMPT * 4)

    def test_it_is_one_model_for_as_long_as_it_is_used(self, hooked):
        first = unwrapped(hooked)
        assert unwrapped(hooked) is first
        with pytest.raises(bauklens.LensError, match="the two models share modules"):
            bauklens.compare_models(hooked, hooked, None, PROMPT)


def processor():
    size = {"height": 28, "width": 28}
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=size)
    return LlavaProcessor(images, tiny_tokenizer(), patch_size=14, image_token="the")


def hollow_processor():
    """One whose tokenizer was lost."""
    hollow = processor()
    hollow.tokenizer = None
    return hollow


class Encoding:
    """As an encoding of tiktoken: bytes, the special token 300, and no other ids."""

    n_vocab, eot_token = 301, 300

    def encode(self, text, *, allowed_special=frozenset()):
        parts = text.split("<|end|>")
        if len(parts) > 1 and allowed_special != "all":
            raise ValueError("special token")
        return [each for part in parts for each in (*part.encode(), 300)][:-1]

    def decode(self, ids):
        return b"".join(map(self.decode_single_token_bytes, ids)).decode("utf-8", "replace")

    def decode_single_token_bytes(self, token_id):
        if token_id != 300 and not 0 <= token_id < 256:
            raise KeyError(token_id)
        return b"<|end|>" if token_id == 300 else bytes([token_id])


class Characters:
    """As of a lesson that trains a model on single characters."""

    def encode(self, text):
        return [ord(each) for each in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


class TestTokenizers:
    @pytest.fixture(scope="class")
    def model(self):
        return tiny_model("llama")

    @pytest.mark.parametrize("make", [processor, lambda: tiny_tokenizer().backend_tokenizer], ids=["processor", "rust"])
    def test_one_that_holds_or_is_a_part_of_one_of_transformers(self, model, make):
        lens = bauklens.logit_lens(model, make(), TEXT, targets=[" the"])
        plain = bauklens.logit_lens(model, tiny_tokenizer(), TEXT, targets=[" the"])
        assert (lens.tokens, lens.prompt, lens.vocabulary) == (plain.tokens, plain.prompt, plain.vocabulary)
        assert lens.targets[0].token_ids == plain.targets[0].token_ids
        ids = bauklens.logit_lens(model, make(), PROMPT, targets=["the"])
        assert ids.tokens == bauklens.logit_lens(model, tiny_tokenizer(), PROMPT).tokens

    def test_everywhere(self, model):
        texts = ["the tower in the city of the sea " * 40] * 2
        decoder = bauklens.fit_decoder(model, processor(), texts, method="ridge", length=32, tokens=96)
        assert bauklens.score_decoder(decoder, model, processor(), texts, length=32).layers
        assert bauklens.nearest_tokens(model, processor(), "the city").tokens == ("the", " city")
        assert bauklens.top_neurons(model, processor(), "the city", layer=0, position=0).token == "the"
        assert bauklens.get_hidden_states(model, processor(), "the city").shape[2] == 2
        other = tiny_model("llama", seed=1)
        assert bauklens.compare_models(model, other, processor(), "the city").one.tokens == ("the", " city")
        assert bauklens.summarize(["the city", "the sea"], model, processor()).lenses == 2

    def test_a_chat_with_the_template_of_the_processor(self, model):
        given = processor()
        given.chat_template = "{% for each in messages %}{{ each.content }} in the {% endfor %}"
        chat = [{"role": "user", "content": "the city"}]
        lens = bauklens.logit_lens(model, given, messages=chat)
        assert lens.prompt == "the city in the "
        assert given.tokenizer.chat_template is None

    def test_one_that_cuts_and_pads_does_neither(self, model):
        rust = Tokenizer.from_str(tiny_tokenizer().backend_tokenizer.to_str())
        rust.enable_truncation(2)
        rust.enable_padding(length=20)
        assert (
            bauklens.logit_lens(model, rust, TEXT).tokens == bauklens.logit_lens(model, tiny_tokenizer(), TEXT).tokens
        )

    def test_a_word_that_it_does_not_know_is_no_target(self, model):
        words = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "city": 2}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        assert bauklens.logit_lens(model, words, "the city").tokens == ("the", "city")
        with pytest.raises(bauklens.LensError, match="cannot be written in this model's tokens"):
            bauklens.logit_lens(model, words, "the city", targets=["sea"])

    def test_an_encoding_of_tiktoken(self, model):
        lens = bauklens.logit_lens(model, Encoding(), "aé<|end|>b", targets=["a", "é"], topk=VOCABULARY)
        assert lens.tokens == ("a", "⟨C3⟩", "⟨A9⟩", "<|end|>", "b")
        assert lens.prompt == "aé<|end|>b"
        assert lens.vocabulary[310] == "<310>"
        assert [each.token_ids for each in lens.targets] == [(97,), (195, 169)]

    def test_an_object_that_encodes_and_decodes(self, model):
        lens = bauklens.logit_lens(model, Characters(), "the sea", targets=["x"])
        assert "".join(lens.tokens) == lens.prompt == "the sea"
        assert lens.targets[0].token_ids == (120,)

    def test_ids_that_it_does_not_know(self, model):
        lens = bauklens.logit_lens(model, Encoding(), [97, 310, 98])
        assert lens.tokens == ("a", "<310>", "b")

    def test_what_it_returns_must_be_ids(self, model):
        class Pieces(Characters):
            def encode(self, text):
                return list(text)

        with pytest.raises(bauklens.LensError, match=r"encode\(\) of Pieces does not return a list of token ids"):
            bauklens.logit_lens(model, Pieces(), "the sea")

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (5, "the tokenizer is a int: pass a tokenizer or processor of transformers, a tokenizers.Tokenizer"),
            (PreTrainedTokenizerFast, r"the tokenizer is the class \w+: pass an instance"),
            ("gpt2", "the tokenizer is missing: got a text in its place"),
            (PROMPT, "the tokenizer is missing: got a list in its place"),
            (CLIPImageProcessor(), r"the processor, a CLIPImageProcessor\w*, holds no tokenizer: pass a complete one"),
            (WhisperFeatureExtractor(), "the processor, a WhisperFeatureExtractor, holds no tokenizer"),
            (hollow_processor(), "the processor, a LlavaProcessor, holds no tokenizer"),
            (len, "the tokenizer is a builtin_function_or_method: pass a tokenizer or processor"),
        ],
    )
    def test_what_is_none(self, model, given, message):
        with pytest.raises(bauklens.LensError, match=message):
            bauklens.logit_lens(model, given, "the city")

    def test_one_without_words(self, model):
        words = LlamaTokenizer()
        if words("the city")["input_ids"]:
            pytest.skip("this version of transformers adds a token to every text")
        with pytest.raises(
            bauklens.LensError, match=r"the tokenizer, a LlamaTokenizer of \d+ tokens, returns no token ids for"
        ):
            bauklens.logit_lens(model, words, "the city")


def test_sentencepiece(tmp_path):
    """A SentencePieceProcessor, with bytes for characters that it does not know."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="needs sentencepiece")
    (tmp_path / "texts").write_text("the tower in the city of the sea\nis in the\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "texts"), model_prefix=str(tmp_path / "own"), vocab_size=290, byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    words = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "own.model"))
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32
    )
    lens = bauklens.logit_lens(LlamaForCausalLM(config).eval(), words, "the city é")
    assert lens.token_ids.tolist() == words.encode("the city é")
    assert lens.prompt == "the city é"
    assert "".join(lens.tokens).startswith(" the")
    assert lens.tokens[-2:] == ("⟨C3⟩", "⟨A9⟩")


def test_no_other_library_is_imported():
    assert not {"repeng", "pyvene", "trl", "tiktoken", "sentence_transformers", "pytorch_lightning"} & set(sys.modules)

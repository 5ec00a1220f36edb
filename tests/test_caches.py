"""What models are on this machine, and which are near a name that is not."""

import pytest

import bauklens
from bauklens.model import caches
from tests.tiny import tiny_model


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the hub that holds three models, laid out as the hub's own library lays it out."""
    for name in ("gpt2-xl", "EleutherAI/gpt-j-6B", "meta-llama/Llama-3.2-1B"):
        folder = tmp_path / f"models--{name.replace('/', '--')}" / "snapshots" / "abc"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    (tmp_path / "models--half-fetched" / "blobs").mkdir(parents=True)
    (tmp_path / "datasets--some--data" / "snapshots" / "abc").mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_the_models_of_the_hubs_cache(hub):
    assert caches.cached_models() == ["EleutherAI/gpt-j-6B", "gpt2-xl", "meta-llama/Llama-3.2-1B"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt2-x", ["gpt2-xl"]),
        ("GPT2XL", ["gpt2-xl"]),
        ("gpt-j-6b", ["EleutherAI/gpt-j-6B"]),
        ("EleutherAI/gptj-6B", ["EleutherAI/gpt-j-6B"]),
        ("llama", ["meta-llama/Llama-3.2-1B"]),
        ("dem", ["demo"]),
        ("qwen", []),
        ("", []),
        ("ll", []),
        ("g" * 5000, []),
    ],
)
def test_near_names(hub, name, expected):
    assert caches.near(name) == expected


def test_names_that_several_owners_have_are_all_offered(hub):
    for owner in ("a", "b", "me"):
        for name in ("tiny", "demo"):
            folder = hub / f"models--{owner}--{name}" / "snapshots" / "abc"
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")
    assert caches.near("tiny") == ["a/tiny", "b/tiny", "me/tiny"]
    assert caches.near("demoo")[0] == "demo"
    assert len(caches.near("demoo")) == 3


def test_a_name_that_no_file_can_have(hub):
    with pytest.raises(bauklens.LensError, match="no local folder or file has that name"):
        bauklens.load("a" * 300)


def test_a_model_that_is_not_there_offers_those_that_are(hub):
    with pytest.raises(bauklens.LensError, match=r"cannot load 'gpt2-x': .*; did you mean 'gpt2-xl'\?"):
        bauklens.load("gpt2-x")
    with pytest.raises(bauklens.LensError, match=r"pass a hub id, a local folder, a \.gguf file, or 'demo'"):
        bauklens.load("qwen")


def test_the_layout_is_the_librarys_own(tmp_path, monkeypatch):
    """A model that huggingface_hub itself finds in the cache is one that we find."""
    from huggingface_hub import scan_cache_dir

    folder = tmp_path / "models--some--tiny"
    tiny_model("gpt2").save_pretrained(folder / "snapshots" / "0123456789abcdef")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123456789abcdef")
    (folder / "blobs").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert caches.cached_models() == [each.repo_id for each in scan_cache_dir(tmp_path).repos] == ["some/tiny"]

"""Files of decoders: our own, those of others, those of nobody's; and that layer l is the same layer in all of them."""

import copy
import io
import json
import os
import pickle
import struct
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import bauklens
from bauklens import JacobianLens, LensError, MeanLens, RidgeLens, TunedLens, load_decoder, logit_lens
from bauklens.decoders.fingerprint import fingerprint
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from tests.by_hand import MAPPED, assert_shows, logits_of, matrices, states_of, vectors
from tests.tiny import LAYERS, PROMPT, VOCABULARY, WIDTH, tiny_model, tiny_tokenizer

BLOCKS = ("0", "1")
"""The blocks of a tiny model that need a map."""

QUALITY = {"embed": {"kl": 7.25, "agreement": 0.125}, "1": {"kl": 2.5}}
ABOUT = {"model": "org/tiny", "method": "ridge", "prompts": 3, "list": [1, [2.5, None]], "nested": {"a": True}}

HEADER = "bauklens.decoder"

HUGE = pytest.param(10**400, id="beyond any float")
HUGER = pytest.param(10**600, id="as many digits as a file of torch may have")


def own_by_hand(path, *, maps=None, arrays=None, **changes):
    """A file of our own format, by safetensors alone."""
    told = {"format": HEADER, "version": 1, "kind": "jacobian", "name": "own", "stream": "hidden"} | changes
    found = {f"weight/{label}": each for label, each in (maps or matrices()).items()} if arrays is None else arrays
    header = {} if told["kind"] is None else {HEADER: json.dumps(told)}
    save_file({name: each.clone() for name, each in found.items()}, path, metadata=header)
    return path


def jlens_by_hand(path, maps, **more):
    """A file of the reference implementation."""
    halves = {int(label): each.half() for label, each in maps.items()}
    content = {"J": halves, "n_prompts": 4, "source_layers": sorted(halves), "d_model": WIDTH} | more
    torch.save({name: value for name, value in content.items() if value is not None}, path)
    return path


def checkpoint_by_hand(path, maps, **more):
    """What the reference implementation writes while it fits: the sum over five prompts."""
    sums = {int(label): 5 * each for label, each in maps.items()}
    layers = sorted(sums)
    told = {"n_done": 5, "next_idx": 5, "source_layers": layers, "target_layer": LAYERS - 1, "skip_first": 16}
    torch.save({"jacobian_sum": sums, **told} | more, path)
    return path


def tuned_by_hand(folder, weights, biases, **changes):
    """A folder of tuned-lens, translator i for the input of block i."""
    folder.mkdir(exist_ok=True)
    config = {
        "base_model_name_or_path": "org/tiny",
        "d_model": WIDTH,
        "num_hidden_layers": len(weights),
        "bias": bool(biases),
        "base_model_revision": None,
        "unembed_hash": "abc",
        "lens_type": "linear_tuned_lens",
    } | changes
    state = {f"{place}.weight": each for place, each in enumerate(weights)}
    state |= {f"{place}.bias": each for place, each in enumerate(biases)}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v != "left out"}))
    torch.save(state, folder / "params.pt")
    return folder


def as_state_after(states, label):
    """What the row of a label is decoded from, (position, hidden)."""
    return states[(*MAPPED, str(LAYERS - 1)).index(label)]


def saved(decoder, path):
    decoder.save(path)
    return path


SOURCES = {
    "own": lambda folder, maps: own_by_hand(folder / "a.safetensors", maps=maps),
    "jlens": lambda folder, maps: jlens_by_hand(folder / "a.pt", maps),
    "checkpoint": lambda folder, maps: checkpoint_by_hand(folder / "a.pt", maps),
    "saved": lambda folder, maps: saved(JacobianLens(maps), folder / "a.safetensors"),
    "saved as jlens": lambda folder, maps: saved(JacobianLens(maps), folder / "a.pt"),
}
"""Every way to a file of a Jacobian lens."""


class TestTheIndex:
    """A map is that of the output of block l, and an index off by one shows."""

    @staticmethod
    def exact(maps):
        """Maps that float16 holds as they are."""
        return {label: each.half().float() for label, each in maps.items()}

    @pytest.mark.parametrize("source", SOURCES)
    def test_layer_l_is_the_output_of_block_l(self, gpt2, tmp_path, source):
        maps, states = self.exact(matrices(layers=BLOCKS)), states_of(gpt2)
        decoder = load_decoder(SOURCES[source](tmp_path, maps))
        assert decoder.layers == BLOCKS
        lens = logit_lens(gpt2, None, PROMPT, decoder=decoder, topk=VOCABULARY)
        turned = [as_state_after(states, label).double() @ maps[label].double().T for label in BLOCKS]
        assert lens.layers == ("0", "1", "2")
        logits = logits_of("gpt2", gpt2, torch.stack([states[0].double(), *turned, states[-1].double()]))
        assert_shows(lens, logits[1:])

    @pytest.mark.parametrize("source", SOURCES)
    @pytest.mark.parametrize("by", [1, -1])
    def test_maps_that_are_shifted_by_one_show(self, gpt2, tmp_path, source, by):
        """Of the maps of three layers, those of the first two and of the last two, under the same numbers."""
        maps = self.exact(matrices(layers=("0", "1", "2")))
        right = {"0": maps["1"], "1": maps["2"]} if by == 1 else {"0": maps["0"], "1": maps["1"]}
        shifted = {"0": maps["0"], "1": maps["1"]} if by == 1 else {"0": maps["1"], "1": maps["2"]}
        each = []
        for number, one in enumerate((right, shifted)):
            (tmp_path / str(number)).mkdir()
            path = SOURCES[source](tmp_path / str(number), one)
            each.append(logit_lens(gpt2, None, PROMPT, decoder=path, topk=VOCABULARY))
        assert mean_kl(*each)[:2].min() > 0.5

    @pytest.mark.parametrize("source", SOURCES)
    def test_numbers_that_are_shifted_up_are_refused(self, gpt2, tmp_path, source):
        maps = dict(zip(("1", "2"), self.exact(matrices(layers=BLOCKS)).values(), strict=True))
        with pytest.raises(LensError, match="it has a map for the last of GPT2LMHeadModel, 2, which needs none"):
            logit_lens(gpt2, None, PROMPT, decoder=SOURCES[source](tmp_path, maps))

    def test_of_tuned_lens_translator_i_is_the_input_of_block_i(self, gpt2, tmp_path):
        weights, biases, states = list(matrices().values()), list(vectors().values()), states_of(gpt2).double()
        decoder = load_decoder(tuned_by_hand(tmp_path / "tuned", weights, biases))
        assert decoder.layers == MAPPED
        lens = logit_lens(gpt2, None, PROMPT, decoder=decoder, topk=VOCABULARY)
        turned = [
            states[place] + states[place] @ weights[place].double().T + biases[place].double()
            for place in range(LAYERS)
        ]
        assert_shows(lens, logits_of("gpt2", gpt2, torch.stack([*turned, states[-1]])))

    @pytest.mark.parametrize("by", [1, -1])
    def test_of_tuned_lens_translators_that_are_shifted_by_one_show(self, gpt2, tmp_path, by):
        weights, biases = ([*each(layers=range(4)).values()] for each in (matrices, vectors))
        right, shifted = (slice(1, 4), slice(0, 3)) if by == 1 else (slice(0, 3), slice(1, 4))
        each = [
            logit_lens(
                gpt2, None, PROMPT, decoder=tuned_by_hand(tmp_path / name, weights[some], biases[some]), topk=VOCABULARY
            )
            for name, some in (("right", right), ("shifted", shifted))
        ]
        assert mean_kl(*each)[:LAYERS].min() > 0.5

    @pytest.mark.parametrize("count", [LAYERS - 1, LAYERS + 1])
    def test_of_tuned_lens_one_translator_more_or_less_is_refused(self, gpt2, tmp_path, count):
        weights, biases = ([*each(layers=range(count)).values()] for each in (matrices, vectors))
        with pytest.raises(LensError, match=rf"a model with {count} blocks"):
            logit_lens(gpt2, None, PROMPT, decoder=tuned_by_hand(tmp_path / "tuned", weights, biases))


def mean_kl(one, other):
    """(layer,) of two lenses of all tokens, KL in nats, the mean over positions."""
    probabilities = []
    for lens in (one, other):
        whole = np.zeros(lens.top_probs.shape)
        np.put_along_axis(whole, lens.top_ids, lens.top_probs.astype(np.float64), axis=-1)
        probabilities.append(np.maximum(whole, 1e-30))
    p, q = probabilities
    return (p * (np.log(p) - np.log(q))).sum(-1).mean(-1)


DECODERS = {
    "jacobian": lambda **known: JacobianLens(matrices(), **known),
    "tuned": lambda **known: TunedLens(matrices(), vectors(), **known),
    "tuned without a bias": lambda **known: TunedLens(matrices(), **known),
    "ridge": lambda **known: RidgeLens(matrices(), vectors(), {"embed": 0.5, "1": 1 / 3}, **known),
    "ridge of some": lambda **known: RidgeLens(matrices(layers=("1", "embed")), {"1": torch.ones(WIDTH)}, **known),
    "mean": lambda **known: MeanLens(vectors(), **known),
}


class TestOurOwn:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("kind", DECODERS)
    def test_everything_comes_back(self, tmp_path, kind, dtype):
        decoder = DECODERS[kind](name="mine “ü”", quality=QUALITY, about=ABOUT)
        for label in decoder.layers:
            for part in (decoder.weight(label), decoder.bias(label)):
                if part is not None:
                    part.data = part.data.to(dtype)
        again = load_decoder(saved(decoder, tmp_path / "a.safetensors"))
        assert type(again) is type(decoder)
        for name in ("layers", "width", "target", "name", "stream", "kind", "is_linear", "is_residual"):
            assert getattr(again, name) == getattr(decoder, name)
        assert dict(again.temperatures) == dict(decoder.temperatures)
        assert {label: dict(each) for label, each in again.quality.items()} == QUALITY
        assert again.about == decoder.about
        for label in decoder.layers:
            for one, other in ((again.weight, decoder.weight), (again.bias, decoder.bias)):
                assert (one(label) is None) == (other(label) is None)
                if one(label) is not None:
                    assert one(label).dtype == dtype
                    assert torch.equal(one(label), other(label))

    @pytest.mark.parametrize("stream", ["hidden", "attention", "mlp"])
    def test_the_stream_comes_back(self, tmp_path, stream):
        assert load_decoder(saved(DECODERS["ridge"](stream=stream), tmp_path / "a.safetensors")).stream == stream

    def test_a_lens_through_what_was_saved_is_the_same(self, gpt2, tmp_path):
        decoder = DECODERS["ridge"](quality=QUALITY)
        path = saved(decoder, tmp_path / "a.safetensors")
        one, other = (logit_lens(gpt2, None, PROMPT, decoder=each) for each in (decoder, path))
        assert np.array_equal(one.top_probs, other.top_probs)
        assert np.array_equal(one.quality["kl"], other.quality["kl"], equal_nan=True)

    def test_maps_may_share_memory(self, tmp_path):
        whole = torch.randn(3, WIDTH, WIDTH)
        for maps in (dict(enumerate(whole)), dict.fromkeys(range(3), whole[0]), {0: whole[0].T, 1: whole[0]}):
            again = load_decoder(saved(JacobianLens(maps), tmp_path / "a.safetensors"))
            assert all(torch.equal(again.weight(layer), each) for layer, each in maps.items())

    def test_a_file_may_be_replaced_by_what_was_read_from_it(self, tmp_path):
        for path in (tmp_path / "a.safetensors", tmp_path / "a.pt"):
            maps = {layer: each.half() for layer, each in matrices(layers=BLOCKS).items()}
            saved(JacobianLens(maps), path)
            saved(load_decoder(path), path)
            again = load_decoder(path)
            assert all(torch.equal(again.weight(layer), each) for layer, each in maps.items())

    def test_the_header_is_json_that_anyone_can_read(self, tmp_path):
        path = saved(DECODERS["ridge"](quality=QUALITY, about=ABOUT), tmp_path / "a.safetensors")
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()[HEADER])
            assert {*file.keys()} == {f"{part}/{label}" for part in ("weight", "bias") for label in MAPPED}
        assert told["temperatures"] == {"embed": 0.5, "1": 1 / 3}
        assert told["quality"] == QUALITY
        assert told["about"] == ABOUT
        assert (told["kind"], told["version"], told["stream"]) == ("ridge", 1, "hidden")

    def test_keys_that_are_not_known_are_ignored(self, tmp_path):
        assert load_decoder(own_by_hand(tmp_path / "a.safetensors", later={"a": 1})).name == "own"

    def test_it_is_known_by_the_fingerprint_in_its_header(self, gpt2, tmp_path):
        about = {"fingerprint": fingerprint(gpt2, resolve(gpt2, Inputs(torch.tensor([PROMPT]))))}
        path = saved(DECODERS["jacobian"](about=about), tmp_path / "a.safetensors")
        assert logit_lens(gpt2, None, PROMPT, decoder=path).layers == (*MAPPED, "2")
        with pytest.raises(LensError, match="whose head has other weights"):
            logit_lens(tiny_model("gpt2", seed=1), None, PROMPT, decoder=path)

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"format": "other"}, "it holds no decoder: looked for format 'bauklens.decoder'"),
            ({"version": 2}, "it has version 2; this bauklens reads version 1"),
            ({"kind": "other"}, "it holds a decoder of kind 'other'; looked for jacobian, tuned, ridge, mean"),
            ({"kind": ["jacobian"]}, r"it holds a decoder of kind \['jacobian'\]"),
            ({"kind": None}, "it holds no decoder: looked for 'bauklens.decoder' in its header"),
            ({"kind": "mean"}, "a constant has no weights"),
            ({"temperatures": {"0": 2.0}}, "a Jacobian lens has no temperatures"),
            ({"kind": "ridge", "temperatures": {"7": 2.0}}, "layer 7 has a temperature, but no map"),
            ({"kind": "ridge", "temperatures": [1]}, "must be a mapping of layers; got list"),
            ({"quality": []}, "its header is damaged: about and quality must be objects"),
            ({"quality": {"0": {"kl": "x"}}}, "the kl of layer 0 is 'x'"),
            ({"about": "x"}, "its header is damaged"),
            ({"name": 5}, "the name of a decoder must be text"),
            ({"stream": "delta"}, "unknown stream 'delta' of a decoder"),
            ({"stream": {}}, r"unknown stream \{\} of a decoder"),
        ],
    )
    def test_a_header_that_is_not_ours_is_refused(self, tmp_path, changes, told):
        refused(own_by_hand(tmp_path / "a.safetensors", **changes), told)

    def test_a_header_that_is_nested_deeply_is_refused(self, tmp_path):
        nested = '{"a":' * 600 + "1" + "}" * 600
        for text in (nested, "[" * 100_000, "{", "[1]", "5"):
            save_file({"weight/0": torch.eye(2)}, tmp_path / "a.safetensors", metadata={HEADER: text})
            refused(tmp_path / "a.safetensors", "it is nested more than 100 deep|it is not JSON|it holds no decoder")
        told = json.dumps({"format": HEADER, "version": 1, "kind": "jacobian", "about": "HERE"})
        save_file(
            {"weight/0": torch.eye(2)},
            tmp_path / "a.safetensors",
            metadata={HEADER: told.replace('"HERE"', nested)},
        )
        refused(tmp_path / "a.safetensors", "it is nested more than 100 deep")

    @pytest.mark.parametrize(
        ("arrays", "told"),
        [
            ({}, "a decoder needs a map for at least one layer"),
            ({"weights/0": torch.eye(2)}, "it has an array 'weights/0', which is not part of a decoder"),
            ({"weight/": torch.eye(2)}, "it has an array 'weight/', which is not part of a decoder"),
            ({"weight/" + "0" * 5_000: torch.eye(2)}, "which is not a layer"),
            ({"weight/0": torch.eye(2).int()}, "must be a tensor of floating-point numbers"),
            ({"weight/0": torch.eye(2).to(torch.float8_e4m3fn)}, "must be a tensor of floating-point numbers"),
            ({"weight/0": torch.eye(2).to(torch.float8_e5m2)}, "must be a tensor of floating-point numbers"),
            ({"weight/0": torch.eye(2).to(torch.complex64)}, "must be a tensor of floating-point numbers"),
            ({"weight/0": torch.ones(2)}, r"has the shape \(target, source\); that of layer 0 has \(2,\)"),
            ({"weight/0": torch.ones(0, 2)}, r"that of layer 0 has \(0, 2\)"),
            ({"weight/0": torch.full((2, 2), torch.nan)}, "a map of layer 0 contains NaN or infinity"),
            ({"weight/0": torch.full((2, 2), torch.inf)}, "a map of layer 0 contains NaN or infinity"),
            ({"weight/0": torch.eye(2), "weight/1": torch.eye(3)}, "must all have one shape"),
            ({"bias/0": torch.ones(2)}, "a Jacobian lens has no biases"),
        ],
    )
    def test_arrays_that_are_no_maps_are_refused(self, tmp_path, arrays, told):
        refused(own_by_hand(tmp_path / "a.safetensors", arrays=arrays), told)

    @pytest.mark.parametrize("shape", [[10**9, 10**9], [2**40, 2**40], [10**30, 1], [-1, -4], "x"])
    def test_a_shape_that_the_file_does_not_hold_is_refused(self, tmp_path, shape):
        told = json.dumps({"format": HEADER, "version": 1, "kind": "jacobian"})
        header = {"__metadata__": {HEADER: told}, "weight/0": {"dtype": "F32", "shape": shape, "data_offsets": [0, 16]}}
        raw = json.dumps(header).encode()
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(16))
        refused(tmp_path / "a.safetensors", r"it is damaged, or not a \.safetensors file")

    def test_a_file_that_was_cut_short_is_refused(self, tmp_path):
        path = own_by_hand(tmp_path / "a.safetensors")
        raw = path.read_bytes()
        for size in (0, 1, 7, 8, 9, 100, len(raw) // 2, len(raw) - 1):
            path.write_bytes(raw[:size])
            refused(path, r"it is damaged, or not a \.safetensors file")
        path.write_bytes(struct.pack("<Q", 2**60) + raw[8:])
        refused(path, r"it is damaged, or not a \.safetensors file")

    @pytest.mark.slow
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_whatever_a_header_says_it_is_refused_in_a_line_or_read(self, tmp_path, data):
        about = {"blocks": 3, "target": "2", "prompts": 4, "fingerprint": {"kind": "gpt2", "hash": "", "sample": []}}
        changes = {"quality": QUALITY, "about": about, "temperatures": {}}
        keys = ["version", "kind", "name", "stream", "temperatures", "quality", "about"]
        for key in data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2)):
            changes[key] = data.draw(JSON)
        if isinstance(changes["about"], dict):
            for key in data.draw(st.lists(st.sampled_from(["blocks", "target", "prompts", "fingerprint", "model"]))):
                changes["about"][key] = data.draw(JSON)
        path = own_by_hand(tmp_path / "a.safetensors", maps=matrices(layers=BLOCKS), **changes)
        read_or_refused(path, tmp_path)


PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.sampled_from(["0", "2", "kl", "hash"])
)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["embed", "0", "1", "kl", "agreement", "kind", "sample", "x"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


def refused(path, told):
    """A file is refused in one line that names it."""
    with pytest.raises(LensError, match=told) as error:
        load_decoder(path)
    assert str(error.value).startswith(f"cannot read the decoder {path}: ")
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 600


def read_or_refused(path, folder):
    """Only a LensError in one line comes of it, or a result that can be kept and shown."""
    try:
        lens = logit_lens(tiny_model("gpt2"), None, PROMPT[:3], decoder=path, missing="plain", topk=2)
    except LensError as error:
        told = str(error)
    else:
        told = lens.mapped
        keep_and_show(lens, folder)
    assert len(told.splitlines()) == 1
    assert len(told) < 1000


def keep_and_show(lens, folder):
    for name in ("lens.json", "lens.safetensors"):
        lens.save(folder / name)
        assert bauklens.LensResult.load(folder / name) == lens
    assert "<table" in lens.to_html()


class TestWhereFilesAre:
    @pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
    def test_only_regular_files_are_read(self, tmp_path, name):
        os.mkfifo(tmp_path / name)
        refused(tmp_path / name, "it is not a regular file")
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        refused(tmp_path / name, r"it is a folder without config\.json and params\.pt, the files of a tuned lens")

    def test_a_folder_with_a_pipe_in_it(self, tmp_path):
        folder = tuned_by_hand(tmp_path / "tuned", list(matrices().values()), list(vectors().values()))
        for name in ("config.json", "params.pt"):
            (folder / name).rename(tmp_path / "kept")
            os.mkfifo(folder / name)
            refused(folder, "it is a folder without")
            (folder / name).unlink()
            (tmp_path / "kept").rename(folder / name)

    @pytest.mark.parametrize("kind", ["own", "jlens", "tuned"])
    def test_a_decoder_stays_as_it_was_read_when_its_file_is_changed_in_place(self, tmp_path, kind):
        maps = matrices(layers=BLOCKS)
        if kind == "own":
            path = file = own_by_hand(tmp_path / "a.safetensors", maps=maps)
        elif kind == "jlens":
            path = file = jlens_by_hand(tmp_path / "a.pt", maps)
        else:
            path = tuned_by_hand(tmp_path / "tuned", list(matrices().values()), list(vectors().values()))
            file = path / "params.pt"
        decoder, before = load_decoder(path), load_decoder(path)
        expected = {layer: before.matrix(layer).clone() for layer in before.layers}
        with file.open("r+b") as opened:
            opened.write(bytes(file.stat().st_size))
        for layer, matrix in expected.items():
            assert torch.equal(decoder.matrix(layer), matrix)

    def test_a_small_file_whose_maps_share_their_numbers_does_not_become_large(self, tmp_path):
        one = torch.eye(1024)
        for content in (
            {"J": dict.fromkeys(range(400), one)},
            {"jacobian_sum": dict.fromkeys(range(400), one), "n_done": 2},
        ):
            torch.save({**content, "source_layers": list(range(400)), "d_model": 1024}, tmp_path / "a.pt")
            assert (tmp_path / "a.pt").stat().st_size < 5_000_000
            refused(tmp_path / "a.pt", "its maps share their memory")
        torch.save({"J": {0: one, 1: one}}, tmp_path / "a.pt")
        assert load_decoder(tmp_path / "a.pt").layers == ("0", "1")

    def test_paths_may_be_text_or_of_the_home_folder(self, tmp_path, monkeypatch):
        own_by_hand(tmp_path / "a.safetensors")
        monkeypatch.setenv("HOME", str(tmp_path))
        for path in ("~/a.safetensors", str(tmp_path / "a.safetensors"), tmp_path / "a.safetensors"):
            assert load_decoder(path).name == "own"
        with pytest.raises(LensError, match=r"revision= is for decoders on the hub, but .* is on this machine"):
            load_decoder(tmp_path / "a.safetensors", revision="main")

    def test_a_folder_called_demo_is_read(self, tmp_path, monkeypatch):
        tuned_by_hand(tmp_path / "demo", list(matrices().values()), list(vectors().values()))
        monkeypatch.chdir(tmp_path)
        assert load_decoder("demo").kind == "tuned"

    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            ("tuned", "a.pt"),
            ("ridge", "a.pt"),
            ("jacobian", "a"),
            ("ridge", "a"),
            ("jacobian", "a.bin"),
            ("tuned", "a.json"),
        ],
    )
    def test_what_a_format_cannot_hold_is_not_written(self, tmp_path, kind, name):
        with pytest.raises(LensError, match=rf"cannot save <.*> as '{name}': pass a \.safetensors file"):
            DECODERS[kind]().save(tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_layers_that_a_format_has_no_place_for(self, tmp_path):
        with pytest.raises(LensError, match=r"holds numbered layers only: save it as \.safetensors"):
            DECODERS["jacobian"]().save(tmp_path / "a.pt")
        for layers in (BLOCKS, ("embed", "1"), ("0",)):
            with pytest.raises(LensError, match="holds a map for 'embed' and for every block but the last"):
                TunedLens(matrices(layers=layers)).save(tmp_path / "a")
        with pytest.raises(LensError, match=r"in float16, which this lens overflows: save it as \.safetensors"):
            JacobianLens({0: torch.full((2, 2), 1e6)}).save(tmp_path / "a.pt")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["no/a.safetensors", "no/a.pt", "no/a"])
    def test_where_nothing_can_be_written(self, tmp_path, name):
        kind = DECODERS["tuned"]() if name == "no/a" else JacobianLens(matrices(layers=BLOCKS))
        with pytest.raises(LensError, match="cannot write "):
            kind.save(tmp_path / name)
        (tmp_path / "a").write_text("")
        with pytest.raises(LensError, match="cannot write "):
            DECODERS["tuned"]().save(tmp_path / "a")


class TestJlens:
    def test_float16_is_as_good_as_float32(self, tmp_path):
        """Of a model whose head is as large as a real one's: KL below 1e-5 nats."""
        model = tiny_model("llama")
        model.lm_head.weight.div_(12)
        maps = matrices(layers=BLOCKS)
        files = [saved(JacobianLens(maps), tmp_path / name) for name in ("a.safetensors", "a.pt")]
        one, other = (logit_lens(model, None, PROMPT, decoder=path, topk=VOCABULARY) for path in files)
        assert load_decoder(files[0]).weight(0).dtype == torch.float32
        assert load_decoder(files[1]).weight(0).dtype == torch.float16
        assert 0 < mean_kl(one, other)[:2].max() < 1e-5

    def test_what_it_knows_of_itself_is_kept(self, tmp_path):
        path = jlens_by_hand(tmp_path / "lens of mine.pt", matrices(layers=BLOCKS))
        decoder = load_decoder(path)
        assert (decoder.name, decoder.stream, decoder.kind) == ("lens of mine", "hidden", "jacobian")
        assert decoder.about == {"prompts": 4, "method": "jacobian"}
        assert decoder.weight("1").dtype == torch.float16

    @pytest.mark.parametrize(
        ("more", "expected"),
        [
            (
                {"metadata": {"model_name": "org/tiny", "target_layer": 2, "fit_dtype": "bfloat16", "deep": {"a": 1}}},
                {"model": "org/tiny", "target": "2", "fit_dtype": "bfloat16", "method": "jacobian"},
            ),
            (
                {"provenance": {"model_id": "org/tiny", "dataset_id": "org/text", "skip_first": 16, "t_max": 128}},
                {"model": "org/tiny", "dataset_id": "org/text", "skip_first": 16, "t_max": 128, "method": "jacobian"},
            ),
            (
                {"provenance": {"config_json": json.dumps({"half_rule": True, "half_rule_beta": 0.5})}},
                {"half_rule": True, "half_rule_beta": 0.5, "method": "relevance (RelP)"},
            ),
            (
                {"provenance": {"config_json": json.dumps({"notes": "x" * 900, "ln_rule": True})}},
                {"notes": "x" * 500, "ln_rule": True, "method": "relevance (RelP)"},
            ),
            ({"provenance": {"config_json": "{"}}, {"method": "jacobian"}),
            ({"provenance": {"config_json": "[" * 10**5}}, {"method": "jacobian"}),
            ({"provenance": "x", "metadata": [1]}, {"method": "jacobian"}),
            ({"metadata": {"model_revision": "abc"}}, {"revision": "abc", "method": "jacobian"}),
            (
                {"model_name": "org/tiny", "corpus": "wiki"},
                {"model": "org/tiny", "corpus": "wiki", "method": "jacobian"},
            ),
        ],
    )
    def test_notes_in_any_of_their_places(self, tmp_path, more, expected):
        decoder = load_decoder(jlens_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS), **more))
        assert decoder.about == {**expected, "prompts": 4}

    def test_a_checkpoint_is_divided_by_its_prompts(self, tmp_path):
        maps = matrices(layers=BLOCKS)
        decoder = load_decoder(checkpoint_by_hand(tmp_path / "a.pt", maps))
        assert all(torch.allclose(decoder.weight(layer), each, atol=1e-6) for layer, each in maps.items())
        assert decoder.about == {"prompts": 5, "target": "2", "skip_first": 16, "method": "jacobian"}

    @pytest.mark.parametrize("done", [0, -1, None, "5", True, HUGE, HUGER, 2.0])
    def test_a_checkpoint_without_prompts_is_refused(self, tmp_path, done):
        path = checkpoint_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS), n_done=done)
        refused(path, "it is the checkpoint of a fit that has done no prompts yet")

    def test_a_target_before_the_last_block_has_an_identity(self, gpt2, tmp_path):
        """As workspace-lenses write it: its row is then that of the logit lens."""
        maps = {"0": matrices()["0"], "1": torch.eye(WIDTH)}
        path = jlens_by_hand(tmp_path / "a.pt", maps, provenance={"target_layer": 1})
        lens = logit_lens(gpt2, None, PROMPT, decoder=path)
        assert lens.layers == ("0", "1", "2")
        assert lens.provenance["decoder"]["target"] == "1"
        plain = logit_lens(gpt2, None, PROMPT)
        assert np.array_equal(lens.top_ids[1:], plain.top_ids[2:])
        assert np.allclose(lens.top_probs[1:], plain.top_probs[2:], atol=1e-6)

    def test_a_target_that_the_model_does_not_have(self, gpt2, tmp_path):
        path = jlens_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS), metadata={"target_layer": 28})
        with pytest.raises(LensError, match="was made for the output of block 28, which GPT2LMHeadModel does not have"):
            logit_lens(gpt2, None, PROMPT, decoder=path)

    def test_layers_that_are_those_of_another_model(self, gpt2, tmp_path):
        path = jlens_by_hand(tmp_path / "a.pt", matrices(layers=("0",)))
        with pytest.raises(LensError, match="was made for a model with 2 blocks, judging by its layers"):
            logit_lens(gpt2, None, PROMPT, decoder=path)
        lens = logit_lens(gpt2, None, PROMPT, decoder=load_decoder(path, force=True))
        assert "its use was forced" in lens.mapped
        some = jlens_by_hand(tmp_path / "some.pt", matrices(layers=("1",)))
        assert logit_lens(gpt2, None, PROMPT, decoder=some).layers == ("1", "2")

    @pytest.mark.parametrize(("name", "point"), [("gemma2", "attn_out"), ("gemma2", "mlp_out"), ("bloom", "attn_out")])
    def test_a_sublayers_output_that_a_block_changes_before_it_adds_it_is_refused(self, name, point, tmp_path):
        """Gemma 2 has a norm after each, and Bloom's modules add their own part."""
        path = jlens_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS), provenance={"capture_point": point})
        stream = {"attn_out": "attention", "mlp_out": "mlp"}[point]
        with pytest.raises(LensError, match=rf"maps what a module returns \({point}\), but this model adds"):
            logit_lens(tiny_model(name), None, PROMPT, decoder=path, stream=stream)

    @pytest.mark.parametrize(("point", "stream"), [("attn_out", "attention"), ("mlp_out", "mlp")])
    def test_a_sublayers_output_as_capture_point(self, gpt2, tmp_path, point, stream):
        maps = matrices(layers=BLOCKS)
        path = jlens_by_hand(tmp_path / "a.pt", maps, provenance={"capture_point": point})
        assert load_decoder(path).stream == stream
        lens = logit_lens(gpt2, None, PROMPT, decoder=path, stream=stream)
        halves = {layer: each.half() for layer, each in maps.items()}
        expected = logit_lens(gpt2, None, PROMPT, decoder=JacobianLens(halves), stream=stream)
        assert lens.layers == BLOCKS  # what the last block adds is no state in the final basis, and the file has no map
        assert np.array_equal(lens.top_probs, expected.part(BLOCKS, range(len(PROMPT))).top_probs)
        with pytest.raises(LensError, match=f"maps what the {stream} of a block adds, not stream 'hidden'"):
            logit_lens(gpt2, None, PROMPT, decoder=path)
        again = load_decoder(saved(load_decoder(path), tmp_path / "b.pt"))
        assert again.stream == stream

    @pytest.mark.parametrize(
        ("notes", "told"),
        [
            (
                {"capture_point": "attn_in"},
                "its maps are for 'attn_in', which is not a stream here: looked for block",
            ),
            ({"capture_point": "mlp_in"}, "its maps are for 'mlp_in'"),
            ({"capture_point": ["mlp_out"]}, "its maps are for "),
            (
                {**{f"note {number}": 1 for number in range(100)}, "capture_point": "mlp_in"},
                "its maps are for 'mlp_in'",
            ),
            ({"stream_reduce": "mean"}, "its maps are for one of several streams, or their mean"),
            ({"stream_index": 0}, "its maps are for one of several streams, or their mean"),
        ],
    )
    def test_what_was_captured_where_there_is_no_stream_is_refused(self, tmp_path, notes, told):
        refused(jlens_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS), provenance=notes), told)

    def test_a_capture_point_beside_the_maps_is_not_passed_over(self, tmp_path):
        path = jlens_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS), capture_point="mlp_out")
        assert load_decoder(path).stream == "mlp"

    def test_maps_that_are_not_square_are_read_and_do_not_fit(self, gpt2, tmp_path):
        maps = {layer: torch.ones(WIDTH, 4 * WIDTH) for layer in BLOCKS}
        path = jlens_by_hand(tmp_path / "a.pt", maps, d_source=4 * WIDTH)
        assert (load_decoder(path).width, load_decoder(path).target) == (4 * WIDTH, WIDTH)
        with pytest.raises(LensError, match="maps states of width 128 to 32, but those of GPT2LMHeadModel"):
            logit_lens(gpt2, None, PROMPT, decoder=path)

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            ({"J": torch.ones(2, 3, 3)}, "its J is not a mapping of the numbers of layers to maps"),
            ({"J": [torch.eye(2)]}, "its J is not a mapping"),
            ({"J": {"a": torch.eye(2)}}, "its J is not a mapping"),
            ({"J": {}, "source_layers": []}, "a decoder needs a map for at least one layer"),
            ({"J": {0: torch.ones(2, 3, 3)}}, r"that of layer 0 has \(2, 3, 3\)"),
            ({"J": {0: [1, 2]}}, "must be a tensor of floating-point numbers"),
            ({"J": {0: torch.eye(2).int()}}, "must be a tensor of floating-point numbers"),
            ({"J": {0: torch.eye(2).to(torch.float8_e4m3fn)}}, "must be a tensor of floating-point numbers"),
            ({"J": {0: torch.eye(2).to_sparse()}}, "must be a tensor of floating-point numbers"),
            ({"J": {0: torch.full((2, 2), torch.nan)}}, "a map of layer 0 contains NaN or infinity"),
            ({"J": {0: torch.ones(1, 1).expand(10**7, 10**7)}}, "but holds fewer numbers"),
            ({"J": {0: torch.ones(1).expand(10**7, 10**7)}}, "but holds fewer numbers"),
            ({"J": {-1: torch.eye(2)}}, "a decoder has a map for -1, which is not a layer"),
            ({"J": {True: torch.eye(2)}}, "its J is not a mapping"),
            ({"J": {10**600: torch.eye(2)}}, "a decoder has a map for a huge number, which is not a layer"),
            ({"J": None}, "looked for J or jacobian_sum in it"),
            ({"J": None, "0.weight": torch.eye(2)}, r"for a tuned lens, pass the folder with its config\.json"),
            ({"d_model": 31}, "its maps lead to states of width 32, but its d_model is another number"),
            ({"d_model": 10**600}, "its maps lead to states of width 32, but its d_model is another number"),
            ({"source_layers": [0]}, "its source_layers are not the layers that it has maps for"),
            ({"source_layers": [0, 10**600]}, "its source_layers are not the layers that it has maps for"),
        ],
    )
    def test_what_is_none_is_refused(self, tmp_path, more, told):
        refused(jlens_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS), **more), told)

    @pytest.mark.parametrize("content", [{10**600: 1}, {("a", 1): 2}, {None: torch.eye(2)}, {}, [1], 5, torch.eye(2)])
    def test_a_file_of_something_else_is_refused(self, tmp_path, content):
        torch.save(content, tmp_path / "a.pt")
        refused(tmp_path / "a.pt", "looked for J or jacobian_sum in it|looked for a mapping in it, and found")

    @pytest.mark.parametrize("prompts", [HUGER, -4, "x", None, 1.5, [1]])
    def test_a_number_of_prompts_that_is_none_is_forgotten(self, gpt2, tmp_path, prompts):
        path = jlens_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS), n_prompts=prompts)
        assert load_decoder(path).about == {"method": "jacobian"}
        logit_lens(gpt2, None, PROMPT, decoder=path).save(tmp_path / "lens.json")

    def test_what_is_written_is_what_the_reference_implementation_reads(self, tmp_path):
        """It loads with weights_only=True and takes J, n_prompts and d_model."""
        maps = matrices(layers=BLOCKS)
        known = {"about": {"prompts": 25, "model": "org/tiny", "target": "2", "tokens": 9}}
        content = torch.load(saved(JacobianLens(maps, **known), tmp_path / "a.pt"), weights_only=True)
        assert {layer: (each.dtype, each.shape) for layer, each in content["J"].items()} == dict.fromkeys(
            (0, 1), (torch.float16, (WIDTH, WIDTH))
        )
        assert (content["n_prompts"], content["source_layers"], content["d_model"]) == (25, [0, 1], WIDTH)
        assert content["metadata"] == {"model_name": "org/tiny", "target_layer": 2, "tokens": 9}
        again = load_decoder(tmp_path / "a.pt")
        assert again.about == {"prompts": 25, "model": "org/tiny", "target": "2", "tokens": 9, "method": "jacobian"}


class Bomb:
    """Leaves a file behind if it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class TestPickles:
    @pytest.fixture
    def left(self, tmp_path):
        """The file that must not be there afterwards."""
        path = tmp_path / "left behind"
        yield path
        assert not path.exists()

    @pytest.mark.parametrize("where", ["J", "metadata", "alone"])
    def test_code_is_not_run(self, tmp_path, left, where):
        bomb = Bomb(left)
        torch.save(bomb if where == "alone" else {"J": {0: torch.eye(2)}} | {where: bomb}, tmp_path / "a.pt")
        refused(tmp_path / "a.pt", "its pickle holds more than tensors and plain values, .* could run code")

    @pytest.mark.parametrize("protocol", range(6))
    def test_a_bare_pickle_is_refused(self, tmp_path, left, protocol):
        content = {"J": {0: [1.0]}, "bomb": Bomb(left)}
        (tmp_path / "a.pt").write_bytes(pickle.dumps(content, protocol=protocol))
        refused(tmp_path / "a.pt", "it is a pickle, which could run code: if you trust it, convert it")

    def test_torchs_older_format_is_a_pickle(self, tmp_path):
        torch.save({"J": {0: torch.eye(2)}}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
        refused(tmp_path / "a.pt", "it is a pickle, which could run code")

    def test_code_in_a_tuned_lens_is_not_run(self, tmp_path, left):
        folder = tuned_by_hand(tmp_path / "tuned", list(matrices().values()), list(vectors().values()))
        torch.save({"0.weight": Bomb(left)}, folder / "params.pt")
        refused(folder, "its pickle holds more than tensors and plain values")
        (folder / "params.pt").write_bytes(pickle.dumps({"0.weight": Bomb(left)}))
        refused(folder, "it is a pickle, which could run code")

    def test_a_packed_archive_is_refused(self, tmp_path):
        """A map of zeros of a gigabyte would be a megabyte of it."""
        path = jlens_by_hand(tmp_path / "a.pt", {"0": torch.zeros(500, 500)}, d_model=500)
        assert load_decoder(path).width == 500
        packed = io.BytesIO()
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
            for part in old.infolist():
                new.writestr(part.filename, old.read(part))
        path.write_bytes(packed.getvalue())
        refused(path, r"its parts are compressed, as torch\.save never does")

    def test_parts_that_are_larger_than_the_file_are_refused(self, tmp_path):
        path = jlens_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS))
        raw = bytearray(path.read_bytes())
        entry = raw.index(b"PK\x01\x02")
        raw[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
        path.write_bytes(raw)
        refused(path, "it is damaged")

    def test_a_file_that_was_cut_short_or_scrambled_is_refused(self, tmp_path):
        path = jlens_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS))
        raw = path.read_bytes()
        for size in (0, 1, 4, 100, len(raw) // 2, len(raw) - 30):
            path.write_bytes(raw[:size])
            refused(path, "it is not a file of torch.save, or is damaged")
        random, told = np.random.default_rng(0), []
        for _ in range(40):
            changed = bytearray(raw)
            for place in random.integers(0, len(raw), 20):
                changed[place] = random.integers(256)
            path.write_bytes(changed)
            try:
                load_decoder(path)
            except LensError as error:
                told.append(str(error))
        assert told
        assert all(len(each.splitlines()) == 1 for each in told)

    @pytest.mark.slow
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_whatever_it_holds_it_is_refused_in_a_line_or_read(self, tmp_path, data):
        values = st.one_of(JSON, st.integers(10**300, 10**310), st.just(10**600), st.just(torch.eye(WIDTH)))
        keys = ["J", "n_prompts", "source_layers", "d_model", "metadata", "provenance", "jacobian_sum", "model_name"]
        notes = ["config_json", "target_layer", "capture_point", "stream_index", "model_id", "blocks", "fingerprint"]
        changes = {key: data.draw(values) for key in data.draw(st.lists(st.sampled_from(keys), max_size=2))}
        where = data.draw(st.sampled_from(["metadata", "provenance"]))
        changes[where] = {key: data.draw(values) for key in data.draw(st.lists(st.sampled_from(notes), max_size=3))}
        read_or_refused(jlens_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS), **changes), tmp_path)


class TestTunedLens:
    @pytest.fixture
    def parts(self):
        return list(matrices().values()), list(vectors().values())

    def test_what_it_knows_of_itself_is_kept(self, tmp_path, parts):
        decoder = load_decoder(tuned_by_hand(tmp_path / "gpt2-small", *parts, base_model_revision="abc"))
        assert (decoder.name, decoder.kind) == ("gpt2-small", "tuned")
        about = {"method": "tuned", "blocks": 3, "model": "org/tiny", "revision": "abc", "unembed_hash": "abc"}
        assert decoder.about == about
        assert not decoder.is_linear

    @pytest.mark.parametrize("spelling", ["unembed_hash", "unemebd_hash"])
    def test_the_hash_in_both_its_spellings(self, tmp_path, parts, spelling):
        changes = {"unembed_hash": "left out"} | {spelling: "d41d8c"}
        assert load_decoder(tuned_by_hand(tmp_path / "a", *parts, **changes)).about["unembed_hash"] == "d41d8c"

    def test_its_file_of_parameters_stands_for_the_folder(self, tmp_path, parts):
        folder = tuned_by_hand(tmp_path / "a", *parts)
        assert load_decoder(folder / "params.pt").layers == load_decoder(folder).layers == MAPPED

    def test_without_a_bias_it_is_linear(self, gpt2, tmp_path, parts):
        decoder = load_decoder(tuned_by_hand(tmp_path / "a", parts[0], []))
        assert decoder.is_linear
        assert logit_lens(gpt2, None, PROMPT, decoder=decoder, stream="delta").stream == "delta"

    def test_the_older_format_is_refused(self, tmp_path, parts):
        folder = tuned_by_hand(tmp_path / "a", *parts)
        older = {"d_model": WIDTH, "include_input": True, "num_layers": 3, "vocab_size": VOCABULARY, "bias": True}
        (folder / "config.json").write_text(json.dumps(older))
        refused(folder, "it has the older format of tuned-lens, with a norm and a head of its own: fit it again")

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"d_model": "left out"}, r"its config\.json is not that of a tuned lens: looked for d_model"),
            ({"d_model": 31}, r"its translators are not 31 x 31, as its config\.json states"),
            ({"d_model": "32"}, r"its config\.json has no valid d_model and num_hidden_layers"),
            ({"d_model": True}, "has no valid d_model"),
            ({"num_hidden_layers": 0}, "has no valid d_model"),
            ({"num_hidden_layers": 10**9}, "has no valid d_model"),
            ({"num_hidden_layers": 2}, r"its params\.pt does not hold the 2 translators that its config\.json states"),
            ({"num_hidden_layers": 4}, r"its params\.pt does not hold the 4 translators"),
            ({"lens_type": "mlp"}, "its lens_type is 'mlp'; looked for 'linear_tuned_lens'"),
            ({"lens_type": {}}, "its lens_type is {}"),
        ],
    )
    def test_a_configuration_that_does_not_fit_is_refused(self, tmp_path, parts, changes, told):
        refused(tuned_by_hand(tmp_path / "a", *parts, **changes), told)

    @pytest.mark.parametrize("text", ["", "{", "[]", "5", '{"a":' * 600 + "1" + "}" * 600, "\udcff"])
    def test_a_configuration_that_is_none_is_refused(self, tmp_path, parts, text):
        folder = tuned_by_hand(tmp_path / "a", *parts)
        (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        refused(folder, "it is not JSON|it is nested more than 100 deep|is not that of a tuned lens")

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda state: state | {"3.weight": torch.eye(WIDTH)}, "does not hold the 3 translators"),
            (lambda state: state | {"more": 1}, "does not hold the 3 translators"),
            (
                lambda state: {key: each for key, each in state.items() if key != "1.bias"},
                "its translator 1 has no bias",
            ),
            (lambda state: state | {"1.weight": 5}, "a map of a decoder must be a tensor"),
            (lambda state: dict.fromkeys(state, 5), "its translators are not 32 x 32"),
            (lambda state: state | {"1.weight": torch.eye(3)}, "its translators are not 32 x 32"),
            (lambda state: state | {"1.bias": torch.ones(3)}, "must all have one shape"),
            (lambda state: state | {"1.bias": torch.ones(WIDTH, 1)}, r"a bias of a decoder has the shape \(target,\)"),
            (lambda state: state | {"0.bias": torch.full((WIDTH,), torch.nan)}, "a bias of layer embed contains NaN"),
            (lambda state: state | {"0.weight": torch.ones(1, 1).expand(WIDTH, WIDTH)}, "but holds fewer numbers"),
            (lambda state: list(state), "looked for a mapping in it, and found list"),
        ],
    )
    def test_parameters_that_do_not_fit_are_refused(self, tmp_path, parts, change, told):
        folder = tuned_by_hand(tmp_path / "a", *parts)
        torch.save(change(torch.load(folder / "params.pt")), folder / "params.pt")
        refused(folder, told)

    @pytest.mark.parametrize("bias", [True, False])
    def test_what_is_written_is_read_again(self, tmp_path, bias):
        decoder = TunedLens(matrices(), vectors() if bias else None, about={"model": "org/tiny", "revision": "abc"})
        again = load_decoder(saved(decoder, tmp_path / "a"))
        for label in MAPPED:
            assert torch.equal(again.weight(label), decoder.weight(label))
            assert torch.equal(again.bias(label), decoder.bias(label) if bias else torch.zeros(WIDTH))
        assert again.about == {"method": "tuned", "blocks": 3, "model": "org/tiny", "revision": "abc"}
        config = json.loads((tmp_path / "a" / "config.json").read_text())
        assert config["bias"] is True  # their own loader fails without
        assert (config["d_model"], config["num_hidden_layers"]) == (WIDTH, LAYERS)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub's cache without a hub: ``put(kind, repository, file)`` -> where to write the file."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def put(kind, repository, file, *, revision="main", commit="a" * 40):
        folder = tmp_path / "cache" / f"{kind}s--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / revision).write_text(commit)
        path = folder / "snapshots" / commit / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    return put


class TestTheHub:
    KINDS = ("model", "dataset", "space")

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("file", ["decoder.safetensors", "lens.safetensors", "lens.pt"])
    def test_a_repository_of_any_kind_with_one_decoder(self, hub, kind, file):
        path = hub(kind, "org/repo", file)
        own_by_hand(path) if path.suffix == ".safetensors" else jlens_by_hand(path, matrices(layers=BLOCKS))
        decoder = load_decoder("org/repo")
        assert decoder.kind == "jacobian"
        assert decoder.name == "repo"

    @pytest.mark.parametrize("kind", KINDS)
    def test_one_of_several_files(self, hub, kind):
        jlens_by_hand(hub(kind, "org/repo", "gpt2/a lens.pt"), matrices(layers=BLOCKS))
        own_by_hand(hub(kind, "org/repo", "other.safetensors"))
        assert load_decoder("org/repo:gpt2/a lens.pt").name == "a lens"
        assert load_decoder("org/repo:other.safetensors").layers == MAPPED

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_folder_of_tuned_lens(self, hub, kind):
        """Theirs are in a space, under lens/<model>."""
        parts = list(matrices().values()), list(vectors().values())
        tuned_by_hand(hub(kind, "org/tuned-lens", "lens/gpt2/params.pt").parent, *parts)
        decoder = load_decoder("org/tuned-lens:lens/gpt2")
        assert (decoder.kind, decoder.name) == ("tuned", "gpt2")
        tuned_by_hand(hub(kind, "org/alone", "params.pt").parent, *parts)
        assert load_decoder("org/alone").kind == "tuned"

    def test_a_revision(self, hub):
        own_by_hand(hub("model", "org/repo", "decoder.safetensors"), about={"which": "new"})
        own_by_hand(
            hub("model", "org/repo", "decoder.safetensors", revision="v1", commit="b" * 40), about={"which": "old"}
        )
        assert load_decoder("org/repo").about["which"] == "new"
        for revision in ("v1", "b" * 40):
            assert load_decoder("org/repo", revision=revision).about["which"] == "old"

    def test_a_file_of_a_cache_is_a_link(self, hub, tmp_path):
        own_by_hand(tmp_path / "blob")
        hub("model", "org/repo", "decoder.safetensors").symlink_to(tmp_path / "blob")
        assert load_decoder("org/repo").name == "repo"

    def test_a_lens_through_a_name(self, gpt2, hub):
        own_by_hand(hub("model", "org/repo", "decoder.safetensors"))
        lens = logit_lens(gpt2, None, PROMPT, decoder="org/repo")
        assert lens.decoder == "repo"
        expected = logit_lens(gpt2, None, PROMPT, decoder=DECODERS["jacobian"]())
        assert np.array_equal(lens.top_probs, expected.top_probs)

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            (
                "org/none",
                r"no repository org/none with one of decoder\.safetensors, lens\.safetensors, lens\.pt, config",
            ),
            (
                "org/none:a.pt",
                r"no repository org/none with the file a\.pt was found in its cache \(the hub cannot be reached\)",
            ),
            (
                "org/repo:a.pt",
                r"no file or folder here has that name, and no repository org/repo with the file",
            ),
            ("a/b/c", "the file 'a/b/c' does not exist; pass 'logit', 'demo', a file, a folder, or a hub"),
            ("org/", "cannot load the decoder 'org/'"),
            ("-x/..", r"cannot load the decoder '-x/\.\.'"),
            ("org/repo:../../a.pt", r"cannot load the decoder 'org/repo:\.\./\.\./a\.pt'"),
            ("org/repo:/etc/passwd", "cannot load the decoder 'org/repo:/etc/passwd'"),
            ("~nobody-of-this-name/a.pt", "the file or folder ~nobody-of-this-name/a.pt does not exist"),
        ],
    )
    def test_what_is_not_there_is_one_line(self, hub, name, told):
        own_by_hand(hub("model", "org/repo", "decoder.safetensors"))
        with pytest.raises(LensError, match=told) as error:
            load_decoder(name)
        assert len(str(error.value).splitlines()) == 1

    def test_what_is_damaged_there_is_one_line(self, hub):
        hub("model", "org/repo", "decoder.safetensors").write_bytes(b"no")
        with pytest.raises(LensError, match=r"cannot read the decoder org/repo: it is damaged"):
            load_decoder("org/repo")


PEERS = "pip install -c constraints.txt '.[peers]'"


def imported(name, package):
    """A module of another package, or a skip that says how to install it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"needs {package}: {PEERS}")


@pytest.fixture(scope="module")
def theirs():
    """tuned-lens 0.2, which must not see transformer-lens: it asks that for a class that version 4 no longer has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "transformer_lens", None)
        return imported("tuned_lens.nn.lenses", "tuned-lens")


@pytest.mark.filterwarnings("default")
class TestTheRealTunedLens:
    @staticmethod
    def hidden(model):
        with torch.no_grad():
            return model(input_ids=torch.tensor([PROMPT]), output_hidden_states=True).hidden_states

    @pytest.mark.parametrize("name", ["gpt2", "llama", "gptj", "bloom", "opt"])
    def test_it_reads_what_is_written_and_says_the_same(self, theirs, tmp_path, name):
        model, decoder = tiny_model(name), DECODERS["tuned"]()
        lens = logit_lens(model, None, PROMPT, decoder=decoder, topk=VOCABULARY)
        read = theirs.TunedLens.from_model_and_pretrained(model, str(saved(decoder, tmp_path / "a")))
        states = self.hidden(model)
        with torch.no_grad():
            logits = torch.stack([read(states[place], place)[0] for place in range(LAYERS)])
        assert_shows(lens.part(MAPPED, range(len(PROMPT))), logits)

    @pytest.mark.parametrize("name", ["gpt2", "llama"])
    def test_what_it_writes_is_read_and_says_the_same(self, theirs, tmp_path, name):
        model = tiny_model(name)
        written = theirs.TunedLens.from_model(model)
        for place, translator in enumerate(written):
            translator.weight.data.copy_(list(matrices().values())[place])
            translator.bias.data.copy_(list(vectors().values())[place])
        written.save(tmp_path / "a")
        decoder = load_decoder(tmp_path / "a")
        assert decoder.layers == MAPPED
        assert decoder.about["unembed_hash"] == written.config.unembed_hash
        lens = logit_lens(model, None, PROMPT, decoder=decoder, topk=VOCABULARY)
        states = self.hidden(model)
        with torch.no_grad():
            logits = torch.stack([written(states[place], place)[0] for place in range(LAYERS)])
            shifted = torch.stack([written(states[place], (place + 1) % LAYERS)[0] for place in range(LAYERS)])
        assert_shows(lens.part(MAPPED, range(len(PROMPT))), logits)
        with pytest.raises(AssertionError):
            assert_shows(lens.part(MAPPED, range(len(PROMPT))), shifted)

    def test_a_folder_goes_through_both_and_comes_back(self, theirs, tmp_path):
        model, decoder = tiny_model("gpt2"), DECODERS["tuned"](about={"model": "org/tiny"})
        read = theirs.TunedLens.from_model_and_pretrained(model, str(saved(decoder, tmp_path / "a")))
        read.save(tmp_path / "b")
        again = load_decoder(tmp_path / "b")
        assert again.about["model"] == "org/tiny"
        for label in MAPPED:
            assert torch.equal(again.weight(label), decoder.weight(label))
            assert torch.equal(again.bias(label), decoder.bias(label))


@pytest.fixture(scope="module")
def analysis():
    """What TransformerLens 4 analyses with."""
    return imported("transformer_lens.tools.analysis", "transformer-lens")


@pytest.fixture
def bridge(analysis):
    """A tiny GPT-2 as TransformerLens has it."""
    from transformer_lens.model_bridge import TransformerBridge

    own = copy.deepcopy(tiny_tokenizer())  # it adds tokens to what it is given
    return TransformerBridge.boot_transformers("gpt2", hf_model=tiny_model("gpt2"), tokenizer=own, device="cpu")


@pytest.mark.filterwarnings("default")
class TestTheRealTransformerLens:
    def test_it_reads_what_is_written_and_says_the_same(self, analysis, bridge, gpt2, tmp_path):
        maps = {layer: each.half() for layer, each in matrices(layers=BLOCKS).items()}
        path = saved(JacobianLens(maps, about={"prompts": 3, "target": "2", "model": "demo"}), tmp_path / "a.pt")
        read = analysis.JacobianLens.from_pretrained(str(path), model=bridge)
        assert (read.source_layers, read.n_prompts, read.d_model) == ([0, 1], 3, WIDTH)
        assert all(torch.equal(read.jacobians[int(layer)], each.float()) for layer, each in maps.items())
        logits = read.readout(bridge, torch.tensor([PROMPT]), return_full_logits=True).lens_logits
        lens = logit_lens(gpt2, None, PROMPT, decoder=path, topk=VOCABULARY)
        assert_shows(lens, torch.stack([logits[layer] for layer in range(LAYERS)]))

    def test_what_it_fits_and_writes_is_read_and_says_the_same(self, analysis, bridge, gpt2, tmp_path):
        text = "the tower in the city of the sea is in the city"
        fitted = analysis.JacobianLens.fit(bridge, [text], corpus="a line", skip_first_positions=1, show_progress=False)
        fitted.save(str(tmp_path / "a.pt"))
        decoder = load_decoder(tmp_path / "a.pt")
        assert decoder.layers == BLOCKS
        assert (decoder.about["prompts"], decoder.about["target"], decoder.about["model"]) == (1, "2", "gpt2")
        lens = logit_lens(gpt2, None, PROMPT, decoder=decoder, topk=VOCABULARY)
        read = analysis.JacobianLens.load(str(tmp_path / "a.pt"))
        logits = read.readout(bridge, torch.tensor([PROMPT]), return_full_logits=True).lens_logits
        assert_shows(lens, torch.stack([logits[layer] for layer in range(LAYERS)]))
        swapped = torch.stack([logits[layer] for layer in (1, 0, 2)])
        with pytest.raises(AssertionError):
            assert_shows(lens, swapped)

    def test_a_checkpoint_is_the_same_to_both(self, analysis, tmp_path):
        path = checkpoint_by_hand(tmp_path / "a.pt", matrices(layers=BLOCKS))
        read, decoder = analysis.JacobianLens.load(str(path)), load_decoder(path)
        assert all(torch.allclose(read.jacobians[int(layer)], decoder.weight(layer)) for layer in BLOCKS)

    def test_a_target_before_the_last_block_is_refused_by_it_when_written_by_either(self, analysis, bridge, tmp_path):
        decoder = JacobianLens({0: matrices()["0"], 1: torch.eye(WIDTH)}, about={"target": "1"})
        with pytest.raises(ValueError, match="lens targets layer 1"):
            analysis.JacobianLens.from_pretrained(str(saved(decoder, tmp_path / "a.pt")), model=bridge)

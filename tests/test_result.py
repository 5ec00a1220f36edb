"""Results: frozen, saved and loaded without loss, and without torch."""

import copy
import json
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import bauklens
from bauklens import LensError, LensResult
from tests.made import HOSTILE, made
from tests.tiny import PROMPT, TEXT


@pytest.fixture
def result(gpt2, tokenizer):
    return bauklens.logit_lens(gpt2, tokenizer, PROMPT, layers=["embed", 2], positions=range(1, 5), topk=3)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_measures_keep_their_order(gpt2, tmp_path, suffix):
    sets = {"second": [3, 4], "b": [44], "a": [5, 6, 7], "first": [8]}
    lens = bauklens.logit_lens(gpt2, None, PROMPT, mass=sets)
    lens.save(tmp_path / f"lens{suffix}")
    again = LensResult.load(tmp_path / f"lens{suffix}")
    assert list(again.measures) == list(lens.measures)
    assert list(again.mass) == list(sets)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_what_was_saved_loads_equal(result, tmp_path, suffix):
    path = tmp_path / f"lens{suffix}"
    result.save(path)
    loaded = LensResult.load(path)
    assert loaded == result
    for name in ("token_ids", "positions", "top_ids", "top_probs", "magnitude"):
        before, after = getattr(result, name), getattr(loaded, name)
        assert before.dtype == after.dtype
        assert before.tobytes() == after.tobytes()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "options",
    [{"track": 0, "measures": []}, {"targets": [5]}, {"track": 3, "mass": {"a/b": [1, 2]}, "attention": True}],
)
def test_the_header_of_a_file_of_arrays_is_to_dict_without_them(gpt2, tmp_path, options):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, **options)
    lens.save(tmp_path / "lens.safetensors")
    with safe_open(tmp_path / "lens.safetensors", "numpy") as file:
        header, names = file.metadata()["bauklens.lens"], set(file.keys())
    whole = lens.to_dict()
    rest = {name: value for name, value in whole.items() if name not in names}
    for name in {each.partition("/")[0] for each in names} - names:
        rest[name] = {part: value for part, value in whole[name].items() if f"{name}/{part}" not in names}
        if name == "measures":
            assert not rest.pop(name)
    assert header == json.dumps(rest)


def test_a_loaded_result_does_not_change_with_its_file(result, tmp_path):
    path = tmp_path / "lens.safetensors"
    result.save(path)
    loaded, size = LensResult.load(path), path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 2))
    assert loaded == result


@given(hnp.arrays(np.float32, (2, 3), elements=st.floats(0, 2.0**100, width=32)))
def test_every_float_survives_json(magnitude):
    result = made(2, 3, magnitude=magnitude)
    assert LensResult.from_dict(json.loads(result.to_json())).magnitude.tobytes() == result.magnitude.tobytes()


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_hostile_texts_survive(tmp_path, suffix):
    result = made(texts=HOSTILE, columns=len(HOSTILE))
    result.save(tmp_path / f"lens{suffix}")
    assert LensResult.load(tmp_path / f"lens{suffix}") == result


def test_the_documented_format(result):
    data = result.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert {key: data[key] for key in ("format", "version", "stream", "decoder", "norm", "layers", "positions")} == {
        "format": "bauklens.lens",
        "version": 1,
        "stream": "hidden",
        "decoder": "logit",
        "norm": "own",
        "layers": ["embed", "2"],
        "positions": [1, 2, 3, 4],
    }
    assert np.shape(data["top_ids"]) == np.shape(data["top_probs"]) == (2, 4, 3)
    assert np.shape(data["magnitude"]) == (2, 4)
    assert data["vocabulary"][str(data["top_ids"][0][0][0])] == result.vocabulary[data["top_ids"][0][0][0]]
    assert data["check"]["max_abs_logit_difference"] < 1e-4


def test_a_result_is_frozen(result):
    with pytest.raises(ValueError, match="read-only"):
        result.top_probs[0, 0, 0] = 1
    with pytest.raises(AttributeError):
        result.model = "other"
    with pytest.raises(TypeError):
        result.vocabulary[0] = "other"


def test_provenance_is_frozen_all_the_way_down(result):
    with pytest.raises(TypeError):
        result.provenance["arguments"]["topk"] = 99


def test_a_result_can_be_copied_and_pickled(result):
    assert copy.deepcopy(result) == pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize("lines", [1, 1_000])
def test_json_may_begin_with_line_ends(result, tmp_path, lines):
    (tmp_path / "lens.json").write_text("\n" * lines + result.to_json(), encoding="utf-8")
    assert LensResult.load(tmp_path / "lens.json") == result


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_half_a_surrogate_pair_survives(tmp_path, suffix):
    result = made(texts=["\udc80"], prompt="\ud800")
    result.save(tmp_path / f"lens{suffix}")
    assert LensResult.load(tmp_path / f"lens{suffix}") == result
    assert "⟨U+DC80⟩" in result.to_html(tmp_path / "lens.html")


def test_a_result_does_not_change_with_the_array_it_was_made_of():
    magnitude = np.ones((3, 4), dtype=np.float32)
    result = made(magnitude=magnitude)
    magnitude[0, 0] = 7
    assert result.magnitude[0, 0] == 1


def test_the_frame_is_tidy(result):
    frame = result.to_frame()
    assert list(frame.columns)[:8] == [
        "layer",
        "position",
        "token",
        "generated",
        "rank",
        "predicted",
        "probability",
        "magnitude",
    ]
    assert len(frame) == 2 * 4 * 3
    cell = frame[(frame["layer"] == "2") & (frame["position"] == 3)]
    assert cell["rank"].tolist() == [1, 2, 3]
    assert cell["predicted_id"].tolist() == result.top_ids[1, 2].tolist()
    assert cell["predicted"].tolist() == [result.vocabulary[each] for each in result.top_ids[1, 2].tolist()]
    assert cell["probability"].tolist() == result.top_probs[1, 2].tolist()
    assert set(cell["magnitude"]) == {result.magnitude[1, 2]}
    assert set(cell["token"]) == {result.tokens[2]}
    assert frame["layer"].min() == "embed"


NUMBERS = {name: [[0.5] * 4] * 3 for name in ("probability", "logit", "rank")}


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"{}",
            b"\x00" * 100,
            b'{"a":' * 100_000,
            b'{"format": "other"}',
            b'{"format": "bauklens.lens", "version": 1}',
            b"\xff\xfe garbage",
            b"\x10\x00\x00\x00\x00\x00\x00\x00{not a header   ",
        ],
    )
    def test_a_damaged_file_is_one_clear_error(self, tmp_path, content):
        path = tmp_path / "lens.json"
        path.write_bytes(content)
        with pytest.raises(LensError, match=r"cannot read .*lens\.json: "):
            LensResult.load(path)

    @pytest.mark.parametrize("suffix", [".json", ".safetensors"])
    def test_a_file_cut_off_anywhere_is_one_clear_error(self, result, tmp_path, suffix):
        path = tmp_path / f"lens{suffix}"
        result.save(path)
        whole = path.read_bytes()
        for size in range(0, len(whole), max(1, len(whole) // 40)):
            path.write_bytes(whole[:size])
            with pytest.raises(LensError, match="cannot read"):
                LensResult.load(path)

    @pytest.mark.parametrize("kind", ["F8_E4M3", "BF16", "E8M0", "BOOL", "F64"])
    def test_an_array_of_another_type_is_one_clear_error(self, tmp_path, kind):
        made().save(tmp_path / "lens.safetensors")
        raw = (tmp_path / "lens.safetensors").read_bytes()
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size])
        start, end = header["top_ids"]["data_offsets"]
        header["top_ids"] |= {"dtype": kind, "shape": [(end - start) // {"F64": 8, "BF16": 2}.get(kind, 1)]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (tmp_path / "lens.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])
        with pytest.raises(LensError, match=r"cannot read .*lens\.safetensors: ") as error:
            LensResult.load(tmp_path / "lens.safetensors")
        assert len(str(error.value).splitlines()) == 1

    def test_a_newer_version_is_named(self):
        with pytest.raises(LensError, match="version 2; this bauklens reads version 1"):
            LensResult.from_dict(made().to_dict() | {"version": 2})

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("top_probs", [[[0.5]]]),
            ("tokens", ["a"]),
            ("magnitude", [[1.0]]),
            ("positions", [0]),
            ("top_ids", [[0]]),
            ("vocabulary", {}),
            ("vocabulary", {"x": "y"}),
            ("vocabulary", []),
            ("layers", None),
            ("layers", "012"),
            ("layers", ["0", "0", "1"]),
            ("check", {}),
            ("check", "abc"),
            ("tokens", [1, 2, 3, 4]),
            ("vocabulary", {str(n): None for n in range(4)}),
            ("norm", []),
            ("stream", []),
            ("prompt", 5),
            ("provenance", None),
            ("top_ids", [[[]] * 4] * 3),
            ("top_ids", [[[0.7, 0.2]] * 4] * 3),
            ("top_ids", [[[10**30, 0]] * 4] * 3),
            ("top_ids", [[[2**62, 0]] * 4] * 3),
            ("top_ids", [[[-1, 0]] * 4] * 3),
            ("top_ids", [[[4, 0]] * 4] * 3),
            ("top_probs", [[[25, 0]] * 4] * 3),
            ("magnitude", [[float("nan")] * 4] * 3),
            ("positions", [-1, 0, 1, 2]),
            ("generated_from", True),
            ("check", {"max_abs_logit_difference": True}),
            ("targets", [NUMBERS | {"text": "a", "token_ids": [True], "part": "token"}]),
        ],
    )
    def test_parts_that_do_not_match_are_refused(self, name, value):
        with pytest.raises(LensError):
            LensResult.from_dict(made().to_dict() | {name: value})

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(LensError, match=r"cannot read .*No such file"):
            LensResult.load(tmp_path / "none.json")
        with pytest.raises(LensError, match=r"cannot read .*null"):
            LensResult.load(tmp_path / "a\0b.json")
        with pytest.raises(LensError, match=r"cannot read .*File name too long"):
            LensResult.load(tmp_path / f"{'x' * 999}.json")

    def test_places_that_cannot_be_written(self, tmp_path):
        for path in (tmp_path, tmp_path / "none" / "lens.json", tmp_path / "a\0b.json", tmp_path / f"{'x' * 999}.json"):
            with pytest.raises(LensError, match=r"cannot write|saved as"):
                made().save(path)
        with pytest.raises(LensError, match=r"saved as a \.safetensors or \.json file; got 'lens\.txt'"):
            made().save(tmp_path / "lens.txt")
        assert list(tmp_path.iterdir()) == []


def test_a_saved_result_loads_and_renders_without_torch(result, tmp_path):
    result.save(tmp_path / "lens.safetensors")
    program = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from bauklens import LensResult\n"
        f"lens = LensResult.load({str(tmp_path / 'lens.safetensors')!r})\n"
        f"lens.to_html({str(tmp_path / 'lens.html')!r}); assert '<table' in lens._repr_html_()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert "<table" in (tmp_path / "lens.html").read_text(encoding="utf-8")


class TestDataOut:
    @pytest.fixture
    def lens(self, gpt2, tokenizer):
        return bauklens.logit_lens(gpt2, tokenizer, TEXT, topk=2, targets=[" the"], measures="all")

    def test_csv(self, lens, tmp_path):
        import pandas

        text = lens.to_csv(tmp_path / "lens.csv")
        assert (tmp_path / "lens.csv").read_text("utf-8") == text
        read = pandas.read_csv(tmp_path / "lens.csv", dtype={"layer": str}, keep_default_na=False, na_values=[""])
        assert len(read) == lens.top_ids.size
        assert np.allclose(read["probability"], lens.top_probs.ravel(), rtol=1e-6)
        assert list(read["token"][::2]) == list(lens.tokens) * len(lens.layers)

    def test_parquet(self, lens, tmp_path):
        import pandas

        lens.to_parquet(tmp_path / "lens.parquet")
        read = pandas.read_parquet(tmp_path / "lens.parquet")
        pandas.testing.assert_frame_equal(read, lens.to_frame(), check_dtype=False, check_categorical=False)

    def test_xarray(self, lens):
        data = lens.to_xarray()
        assert dict(data.sizes) == {"layer": 4, "position": len(lens.tokens), "rank": 2, "target": 1}
        assert data["kl"].attrs["units"] == "nats"
        assert np.array_equal(data["top_probability"].sel(layer="1").values, lens.top_probs[2])
        assert np.array_equal(data["target_logit"].sel(target=" the").values, lens.target(" the").logit)
        assert np.array_equal(data["entropy"], lens.measures["entropy"])
        assert data["token"].values.tolist() == list(lens.tokens)
        assert data.attrs["prompt"] == TEXT

    @pytest.mark.parametrize(
        ("package", "method"), [("pandas", "to_frame"), ("pyarrow", "to_parquet"), ("xarray", "to_xarray")]
    )
    def test_without_the_package_it_says_what_to_install(self, lens, package, method, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, package, None)
        arguments = [tmp_path / "x"] if method == "to_parquet" else []
        with pytest.raises(LensError, match=f"needs {package}: pip install {package}"):
            getattr(lens, method)(*arguments)


@pytest.mark.parametrize(
    "decoding", [{"precision": "x"}, 5, None, {"precision": "x", "rows": "many", "decoded again": 1}]
)
def test_a_damaged_provenance_can_be_shown(decoding):
    assert "<table" in made(provenance={"decoding": decoding, "dtype": "float32"}).to_html()


class TestOfFiles:
    """What a file claims, and values that no lens gives."""

    def test_the_check_of_a_file_is_its_own_claim(self, tmp_path):
        check = {"max_abs_logit_difference": 3e-5}
        fresh = made(check=check)
        fresh.save(tmp_path / "shared.json")
        loaded = LensResult.load(tmp_path / "shared.json")
        assert "claimed" not in fresh.checked
        assert loaded.checked.startswith(
            "Check, as claimed by the file shared.json and not repeated here: decoding the last block's output gives"
        )
        assert loaded.read_from == "the file shared.json"
        assert loaded == fresh
        for made_of_it in (loaded.part(["0"], [1, 2]), pickle.loads(pickle.dumps(loaded)), copy.deepcopy(loaded)):
            assert made_of_it.checked == loaded.checked
        assert "claimed by the file shared.json" in bauklens.compare(loaded, fresh).to_html()
        assert "read_from" not in loaded.to_dict()
        assert LensResult.from_dict(fresh.to_dict() | {"read_from": None}).read_from == "the data it was read from"
        assert pickle.loads(pickle.dumps(fresh)).read_from is None

    @pytest.mark.parametrize("difference", [float("nan"), float("inf"), -1e-9, 10**400, False, "0", [0.0]])
    def test_a_check_is_a_finite_number_from_0_on_or_none(self, difference):
        with pytest.raises(LensError, match=r"max_abs_logit_difference|too many digits") as error:
            made(check={"max_abs_logit_difference": difference})
        assert "\n" not in str(error.value)

    def test_provenance_may_hold_what_json_has_no_number_for(self, tmp_path):
        result = made(provenance={"a": [float("inf"), {"b": float("nan")}]})
        assert json.loads(result.to_json())["provenance"] == {"a": ["Infinity", {"b": None}]}
        for suffix in (".json", ".safetensors"):
            result.save(tmp_path / f"lens{suffix}")
            assert LensResult.load(tmp_path / f"lens{suffix}") == result

    @pytest.mark.parametrize("count", [91, 700, 30_000])
    def test_provenance_has_a_depth(self, count):
        deep = {}
        for _ in range(count):
            deep = {"in": [deep]}
        with pytest.raises(LensError, match="nested more than 90 deep"):
            made(provenance=deep)

    def test_the_deepest_provenance_can_be_read_again(self, tmp_path):
        deep = 1
        for _ in range(89):
            deep = [deep]
        result = made(provenance={"a": deep})
        for suffix in (".json", ".safetensors"):
            result.save(tmp_path / f"lens{suffix}")
            assert LensResult.load(tmp_path / f"lens{suffix}") == result

    @pytest.mark.parametrize("name", ["magnitude", "top_probs", "positions", "top_ids"])
    def test_numbers_of_500_digits_are_refused(self, name):
        data = made().to_dict()
        data[name] = np.full(np.shape(data[name]), 10**500, object).tolist()
        with pytest.raises(LensError, match=name):
            LensResult.from_dict(data)

    @pytest.mark.parametrize(
        "arrays",
        [
            {"prompt": np.zeros(2)},
            {"check/max_abs_logit_difference": np.zeros(1)},
            {"tokens/0": np.zeros(1)},
            {"targets": np.zeros((3, 4))},
        ],
    )
    def test_arrays_that_do_not_fit_their_header_are_one_clear_error(self, tmp_path, arrays):
        path = tmp_path / "lens.safetensors"
        made().save(path)
        with safe_open(path, "numpy") as file:
            header = file.metadata()
        save_file(load_file(path) | arrays, path, metadata=header)
        with pytest.raises(LensError, match=r"cannot read .*its header does not fit its array"):
            LensResult.load(path)

    def test_half_a_surrogate_is_an_escape_in_frames(self, tmp_path):
        import pandas

        result = made(texts=["\udfff", "b"])
        result.to_parquet(tmp_path / "lens.parquet")
        for read in (result.to_frame(), pandas.read_parquet(tmp_path / "lens.parquet")):
            assert set(read["predicted"]) == {"\\udfff", "b"}
        assert result.to_xarray()["token"].values[0] == "\\udfff"
        assert "\\udfff" in result.to_csv(tmp_path / "lens.csv")

    def test_no_text_of_csv_is_a_formula_and_each_can_be_read_back(self, tmp_path):
        import csv
        import io

        texts = ["=cmd|' /C calc'!A0", "-2+3", "+x", "@SUM(1)", "\t=1", "\r=1", "'=1", "'s", " =1", "plain"]
        result = made(1, len(texts), 1, texts=texts, layers=["-1"], measures={"=m": [[-1.0] * len(texts)]})
        heads, *lines = csv.reader(io.StringIO(result.to_csv(tmp_path / "lens.csv"), newline=""))
        assert heads[-1] == "'=m"
        for line, text in zip(lines, texts, strict=True):
            assert line[0] == "'-1"
            assert line[2] == line[5] == (f"'{text}" if text not in ("'s", " =1", "plain") else text)
            assert re.sub(r"^'(?='*[=+\-@\t\r])", "", line[5]) == text
            assert line[-1] == "-1.0"  # a number is a number

    def test_measures_called_like_columns_are_told_apart(self):
        names = ["layer", "token", "rank", "top_id", "target", "target_logit", "probability"]
        result = made(measures={name: np.full((3, 4), 7.0) for name in names})
        frame, data = result.to_frame(), result.to_xarray()
        assert set(frame["measure layer"]) == set(frame["measure probability"]) == {7}
        assert frame["probability"].max() == 0.5
        assert float(data["measure top_id"].max()) == 7
        assert data["top_id"].dtype == np.int64

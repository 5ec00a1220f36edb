"""Sweeps: a corpus through a model in shards, whoever makes them and whatever happens to them."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas
import pyarrow.parquet
import pytest

import bauklens
from bauklens import LensError
from bauklens.cli.commands import main
from bauklens.corpus.models import named_models
from bauklens.corpus.shards import Sweeper
from bauklens.corpus.workers import Worker, this_worker
from tests.processes import ROOT, python
from tests.sweeps import digests, prompts_of, write_model, write_prompts
from tests.tiny import PROMPT, tiny_model, tiny_tokenizer

PROMPTS = prompts_of(50)
TARGETS = [" city", {"places": [" sea", " tower"]}]


@pytest.fixture(scope="module")
def model():
    return tiny_model("gpt2")


@pytest.fixture(scope="module")
def swept(model, tmp_path_factory):
    """A sweep with one prompt that fails."""
    rows = [dict(each) for each in PROMPTS]
    rows[7]["prompt"] = ""
    options = {"per": 20, "targets": TARGETS, "words": "first"}
    return bauklens.sweep(rows, tmp_path_factory.mktemp("swept") / "out", model, tiny_tokenizer(), **options)


def sweep(model, folder, prompts=PROMPTS, **options):
    return bauklens.sweep(prompts, folder / "out", model, tiny_tokenizer(), **{"per": 20, **options})


class TestWhatIsWritten:
    def test_each_row_is_that_of_the_lens_of_its_prompt(self, model, swept):
        frame = swept.to_frame()
        for number in (0, 19, 20, 49):
            options = {"targets": TARGETS, "words": "first", "positions": [-1], "track": 0}
            lens = bauklens.logit_lens(model, tiny_tokenizer(), PROMPTS[number]["prompt"], **options)
            mine = frame[frame.prompt == number].sort_values("row")
            assert mine.layer.tolist() == list(lens.layers)
            assert (mine.position == lens.positions[0]).all()
            assert (mine.token_id == lens.token_ids[0]).all()
            assert (mine.token == lens.tokens[0]).all()
            assert np.array_equal(np.stack(mine.top_ids), lens.top_ids[:, 0])
            assert np.allclose(np.stack(mine.top_probabilities), lens.top_probs[:, 0], atol=1e-6)
            assert [list(each) for each in mine.top_tokens] == [
                [lens.vocabulary[token] for token in each] for each in lens.top_ids[:, 0].tolist()
            ]
            assert np.allclose(mine.magnitude, lens.magnitude[:, 0], rtol=1e-5)
            for name in ("entropy", "kl", "max_logit", "cosine_to_final"):
                assert np.allclose(mine[name], lens.measures[name][:, 0], rtol=1e-4, atol=1e-5), name
            for name, target in zip((" city", "places"), lens.targets, strict=True):
                assert np.allclose(mine[f"probability of {name}"], target.probability[:, 0], atol=1e-6)
                assert np.array_equal(mine[f"rank of {name}"], target.rank[:, 0])
            assert (
                mine.language.isna()
                if PROMPTS[number]["language"] is None
                else mine.language == PROMPTS[number]["language"]
            ).all()
            assert np.allclose(mine.score, PROMPTS[number]["score"])

    def test_a_prompt_that_fails_is_a_row_with_its_error(self, swept):
        failed = swept.failed()
        assert failed.prompt.tolist() == [7]
        assert failed.error[0] == "the prompt is empty: pass at least one token"
        frame = swept.to_frame()
        mine = frame[frame.prompt == 7]
        assert len(mine) == 1
        assert mine.top_ids.isna().all()
        assert sorted(set(frame.prompt)) == list(range(50))

    def test_or_ends_the_sweep(self, model, tmp_path):
        with pytest.raises(LensError, match="prompt 2: the prompt is empty"):
            sweep(model, tmp_path, ["the city", "", "the sea"], on_error="raise")

    def test_shards_are_whole_files_and_the_manifest_says_what_they_depend_on(self, swept):
        assert [path.name for path in swept.files] == [f"part-000000{number}.parquet" for number in range(3)]
        assert {path.name for path in swept.folder.iterdir()} == {
            *(path.name for path in swept.files),
            "_manifest.json",
            "_runs",
        }
        about = json.loads((swept.folder / "_manifest.json").read_text())
        assert about["input"]["prompts"] == 50
        assert about["options"]["targets"] == TARGETS
        assert about["layout"] == {
            "per": 20,
            "rows": "layer",
            "positions": "last",
            "on_error": "row",
            "threads": about["layout"]["threads"],
        }
        (run,) = swept.runs
        assert run["prompts"] == 50
        assert run["prompts_per_second"] == pytest.approx(50 / run["seconds"], rel=0.01)

    def test_every_column_says_its_unit_and_what_it_holds(self, swept):
        schema = pyarrow.parquet.read_schema(swept.files[0])
        for field in schema:
            assert field.metadata[b"about"], field.name
        assert schema.field("entropy").metadata[b"unit"] == b"nats"
        assert schema.field("probability of places").metadata[b"unit"] == b"0..1"

    def test_rows_of_layers_take_few_bytes(self, model, tmp_path):
        """The figure in the guide is the demo model's."""
        found = sweep(model, tmp_path, prompts_of(200), per=200, keep=[])
        rows = pyarrow.parquet.read_metadata(found.files[0]).num_rows
        assert found.files[0].stat().st_size / rows < 120

    def test_of_cells(self, model, tmp_path):
        found = sweep(model, tmp_path, [each["prompt"] for each in PROMPTS[:3]], rows="cell", topk=2)
        frame = found.to_frame()
        for number, each in enumerate(PROMPTS[:3]):
            lens = bauklens.logit_lens(model, tiny_tokenizer(), each["prompt"], topk=2, track=0)
            mine = frame[frame.prompt == number]
            shape = len(lens.layers), len(lens.tokens)
            assert mine.layer.tolist() == list(np.repeat(lens.layers, shape[1]))
            assert mine.token.tolist() == list(lens.tokens) * shape[0]
            assert np.array_equal(np.stack(mine.top_ids).reshape(*shape, 2), lens.top_ids)
            assert np.allclose(
                mine.surprisal.to_numpy().reshape(shape), lens.measures["surprisal"], equal_nan=True, atol=1e-5
            )

    def test_several_streams_and_decoders(self, model, tmp_path):
        found = sweep(model, tmp_path, stream=["hidden", "delta"], decoder=["logit", doubled])
        frame = found.to_frame()
        assert sorted(set(zip(frame.stream, frame.decoder, strict=True))) == [
            (stream, decoder) for stream in ("delta", "hidden") for decoder in ("doubled", "logit")
        ]
        with pytest.raises(LensError, match="there are several streams: pass stream= with one of 'delta', 'hidden'"):
            found.summary()
        some = found.summary(stream="delta", decoder="logit", skip_first=0)
        lenses = bauklens.logit_lens(
            model, tiny_tokenizer(), [each["prompt"] for each in PROMPTS], stream="delta", positions=[-1], track=0
        )
        assert np.allclose(some.mean["entropy"], np.mean([each.measures["entropy"][:, 0] for each in lenses], axis=0))

    def test_other_packages_read_it(self, swept):
        import datasets
        import duckdb
        import polars

        count = len(swept.to_frame())
        pattern = str(swept.folder / "part-*.parquet")
        read = polars.read_parquet(pattern)
        assert read.height == count
        means = read.drop_nulls("layer").group_by("layer").agg(polars.col("entropy").mean()).sort("layer")
        ours = pandas.read_parquet(swept.files).groupby("layer").entropy.mean().sort_index()
        assert np.allclose(means["entropy"], ours)
        asked = f"select layer, avg(entropy) from '{pattern}' where error is null group by layer order by layer"
        assert np.allclose([mean for _, mean in duckdb.sql(asked).fetchall()], ours)
        assert len(datasets.load_dataset("parquet", data_files=pattern, split="train")) == count


def doubled(states, layers):
    return 2 * states


doubled.is_linear = True


class TestSummaries:
    def test_of_cells_is_that_of_the_prompts(self, model, tmp_path):
        rows = [{"prompt": PROMPT[: 1 + place % 8], "half": place < 20} for place in range(41)]
        found = sweep(model, tmp_path, rows, rows="cell", per=15)
        expected = bauklens.summarize([each["prompt"] for each in rows], model)
        assert_alike(found.summary(), expected)
        halves = found.summary("half")
        assert list(halves) == ["False", "True"]
        assert_alike(halves["True"], bauklens.summarize([each["prompt"] for each in rows[:20]], model))
        assert_alike(halves["False"], bauklens.summarize([each["prompt"] for each in rows[20:]], model))
        assert_alike(halves["False"].merge(halves["True"]), expected)

    def test_targets_are_averaged_too(self, swept):
        frame = swept.to_frame().query("error.isna()")
        mean = frame.groupby("row")["probability of places"].mean().to_numpy()
        assert np.allclose(swept.summary(skip_first=0).mean["probability of places"], mean, rtol=1e-5)

    def test_of_last_positions_has_nothing_that_is_of_the_next_token(self, swept):
        found = swept.summary()
        assert not {"accuracy", "surprisal"} & set(found.mean)
        assert {"entropy", "kl", "cosine_to_previous"} <= set(found.mean)

    def test_by_a_column_with_nothing_in_it(self, swept):
        found = swept.summary("language")
        assert list(found) == ["en", "fr", "null"]
        assert sum(each.lenses for each in found.values()) == 49

    def test_a_column_that_is_not_there_or_has_too_many_values(self, model, swept, tmp_path):
        with pytest.raises(
            LensError, match=r"no column is named 'colour': pass one of the input's columns \(language, score"
        ):
            swept.summary("colour")
        many = sweep(model, tmp_path, [{"prompt": "the", "id": number} for number in range(1_001)], per=2_000)
        with pytest.raises(LensError, match="'id' has more than 1,000 values"):
            many.summary("id")

    def test_every_value_is_a_group_of_its_own(self, model, tmp_path):
        values = [1.0, float("nan"), float("nan"), None, 0.0, -0.0]
        rows = [{"prompt": each["prompt"], "value": value} for each, value in zip(PROMPTS, values, strict=False)]
        found = sweep(model, tmp_path, rows, per=4).summary("value", skip_first=0)
        assert {name: each.lenses for name, each in found.items()} == {"0.0": 2, "1.0": 1, "nan": 2, "null": 1}

    def test_nothing_and_the_text_null_are_not_taken_together(self, model, tmp_path):
        rows = [{"prompt": "the city", "language": value} for value in (None, "null", "en")]
        with pytest.raises(LensError, match="'language' is null in some rows and the text 'null' in others"):
            sweep(model, tmp_path, rows).summary("language", skip_first=0)

    def test_a_group_of_which_nothing_counts_is_left_out(self, model, tmp_path):
        rows = [{"prompt": [5, 6], "kind": "long"}, {"prompt": [5], "kind": "short"}]
        found = sweep(model, tmp_path, rows)
        with pytest.warns(UserWarning, match=r"1 of 2 values of 'kind' are left out \('short'\)"):
            assert list(found.summary("kind")) == ["long"]
        assert list(found.summary("kind", skip_first=0)) == ["long", "short"]

    def test_groups_are_of_columns_of_the_input(self, model, tmp_path):
        rows = [{"prompt": "the city", "model": "a", "list": [1]}, {"prompt": "the sea", "model": "b", "list": [2]}]
        found = sweep(model, tmp_path, rows, keep=["model", "list"])
        assert list(found.summary("model")) == ["a", "b"]
        with pytest.raises(
            LensError, match=r"'entropy' is not a column of the input: pass one of the input's columns \(model, list"
        ):
            found.summary("entropy")
        with pytest.raises(LensError, match="'list' holds lists"):
            found.summary("list")
        with pytest.raises(LensError, match="no column is named 'entropies'"):
            found.summary("entropies")

    def test_a_file_of_something_else_is_named(self, model, tmp_path):
        found = sweep(model, tmp_path)
        pandas.DataFrame({"x": [1]}).to_parquet(found.files[1])
        with pytest.raises(
            LensError, match=r"part-0000001.parquet has no column 'stream', so it does not belong to this sweep"
        ):
            found.summary()

    def test_before_all_is_written_it_says_so(self, model, tmp_path):
        found = sweep(model, tmp_path, worker=1, workers=3)
        assert (found.done, found.shards, found.is_complete) == (1, 3, False)
        with pytest.warns(UserWarning, match="2 of 3 shards are not written yet"):
            assert found.summary().lenses == 20
        sweep(model, tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert found.summary().lenses == 50

    def test_over_checkpoints(self, tmp_path):
        for step, seed in ((100, 1), (20, 2), (3, 3)):
            write_model(tmp_path / "run" / f"checkpoint-{step}", seed=seed)
        found = bauklens.sweep(PROMPTS, tmp_path / "out", str(tmp_path / "run" / "checkpoint-*"), per=20)
        assert list(found.manifests) == ["checkpoint-3", "checkpoint-20", "checkpoint-100"]
        series = found.summary()
        assert list(series) == ["checkpoint-3", "checkpoint-20", "checkpoint-100"]
        one = bauklens.open_sweep(tmp_path / "out" / "model=checkpoint-20").summary()
        assert_alike(series["checkpoint-20"], one)
        assert_alike(one, sweep(tiny_model("gpt2", seed=2), tmp_path / "apart").summary())
        frame = found.to_frame()
        assert frame.groupby("model").size().to_dict() == dict.fromkeys(found.manifests, 200)
        with pytest.raises(LensError, match="no folder is named"):
            bauklens.sweep(PROMPTS, tmp_path / "other", str(tmp_path / "run" / "step-*"))

    def test_needs_no_torch(self, swept):
        code = (
            f"import sys, bauklens; found = bauklens.open_sweep({str(swept.folder)!r}); found.summary(); "
            "found.to_frame(); print('torch' in sys.modules)"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        assert ran.stdout.strip() == "False"


def assert_alike(one, other):
    assert (one.lenses, one.tokens, one.layers) == (other.lenses, other.tokens, other.layers)
    assert set(one.mean) == set(other.mean)
    for name in one.mean:
        assert np.array_equal(one.count[name], other.count[name]), name
        assert np.allclose(one.mean[name], other.mean[name], equal_nan=True, rtol=1e-5, atol=1e-6), name
        assert np.allclose(one.spread[name], other.spread[name], equal_nan=True, rtol=1e-4, atol=1e-5), name


class TestGoingOn:
    def test_with_another_tokenizer_is_refused(self, model, tmp_path):
        sweep(model, tmp_path, worker=0, workers=2)
        other = tiny_tokenizer()
        other.add_tokens([" lighthouse"])
        with pytest.raises(LensError, match="was begun with the tokenizer of the input"):
            bauklens.sweep(PROMPTS, tmp_path / "out", model, other, per=20)

    def test_a_folder_in_the_place_of_a_shard_is_not_one(self, model, tmp_path):
        found = sweep(model, tmp_path)
        found.files[1].unlink()
        (tmp_path / "out" / "part-0000001.parquet").mkdir()
        assert found.done == 2
        with pytest.raises(LensError, match=r"cannot write .*part-0000001.parquet"):
            sweep(model, tmp_path)

    def test_numbers_of_a_manifest_that_cannot_be(self, model, tmp_path):
        found = sweep(model, tmp_path)
        path = found.folder / "_manifest.json"
        about = json.loads(path.read_text())
        for part, name in (("input", "prompts"), ("layout", "per"), ("layout", "threads")):
            path.write_text(json.dumps({**about, part: {**about[part], name: 10**18}}))
            with pytest.raises(LensError, match=f"_manifest.json is damaged: {name} is 1000000000000000000"):
                bauklens.open_sweep(found.folder)
        path.write_text(json.dumps({**about, "input": {**about["input"], "prompts": 2**31 - 1}}))
        assert bauklens.open_sweep(found.folder).done == 3

    def test_a_shard_that_another_process_has_written_meanwhile_is_no_error(self, model, tmp_path, monkeypatch):
        expected = digests(sweep(model, tmp_path, PROMPTS[:3], per=2).folder)
        write = Sweeper.write

        def overtaken(self, to, manifest, shard, tell, *, followed=False):
            """The other one writes it, and removes what it takes for left over, while this one is at it."""
            write(self, to, manifest, shard, lambda _: None)

            def told(count):
                for each in to.glob(".bauklens-*"):
                    each.unlink()

            write(self, to, manifest, shard, told)

        monkeypatch.setattr(Sweeper, "write", overtaken)
        assert digests(sweep(model, tmp_path / "again", PROMPTS[:3], per=2).folder) == expected

    def test_only_what_is_missing_is_made_again(self, model, tmp_path):
        found = sweep(model, tmp_path)
        before = digests(found.folder)
        times = {path.name: path.stat().st_mtime_ns for path in found.files}
        found.files[1].unlink()
        (found.folder / ".bauklens-0123").write_text("left by one that was killed")
        again = sweep(model, tmp_path)
        assert digests(found.folder) == before
        assert [path.name for path in again.files if path.stat().st_mtime_ns != times[path.name]] == [
            "part-0000001.parquet"
        ]
        assert not list(found.folder.glob(".bauklens-*"))

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"topk": 3}, "topk = 5, but now it is 3"),
            ({"stream": "delta"}, r'stream = \["hidden"\], but now it is \["delta"\]'),
            ({"targets": [5]}, r"targets = null, but now it is \[5\]"),
            ({"per": 10}, "per = 20, but now it is 10"),
            ({"positions": 0}, 'positions = "last", but now it is 0'),
            ({"rows": "cell"}, "rows = "),
            ({"keep": ["score"]}, r'the kept of the input = \["language", "score"\], but now it is \["score"\]'),
            ({"limit": 40}, "the prompts of the input = 50, but now it is 40"),
            ({"prompts": [*PROMPTS[1:], PROMPTS[0]]}, "the hash of the input = "),
            ({"model": tiny_model("gpt2", seed=1)}, "the weights of the model = "),
        ],
    )
    def test_with_something_else_is_refused(self, model, tmp_path, change, said):
        found = sweep(model, tmp_path)
        before = digests(found.folder)
        with pytest.raises(LensError, match=rf"was begun with {said}") as caught:
            sweep(**{"model": model, "folder": tmp_path, **change})
        assert "use the same, or pass another folder" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert digests(found.folder) == before

    def test_the_same_prompts_from_another_file_go_on(self, model, tmp_path):
        path = write_prompts(tmp_path / "prompts.jsonl", PROMPTS)
        sweep(model, tmp_path, path, worker=0, workers=2)
        found = sweep(model, tmp_path)
        assert found.is_complete
        assert digests(found.folder) == digests(sweep(model, tmp_path / "apart").folder)

    def test_a_folder_with_shards_and_no_manifest(self, model, tmp_path):
        found = sweep(model, tmp_path)
        (found.folder / "_manifest.json").unlink()
        with pytest.raises(LensError, match=r"holds shards but no _manifest\.json: pass another folder"):
            sweep(model, tmp_path)

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "bauklens.sweep", "version": 1}', "\0", "[" * 999])
    def test_a_manifest_that_is_none(self, model, tmp_path, content):
        found = sweep(model, tmp_path)
        (found.folder / "_manifest.json").write_text(content)
        for again in (lambda: sweep(model, tmp_path), lambda: bauklens.open_sweep(found.folder)):
            with pytest.raises(LensError, match=r"manifest\.json") as caught:
                again()
            assert "\n" not in str(caught.value)

    def test_a_shard_that_was_cut_off(self, model, tmp_path):
        found = sweep(model, tmp_path)
        found.files[1].write_bytes(found.files[1].read_bytes()[:-100])
        for read in (found.summary, found.to_frame, found.failed):
            with pytest.raises(LensError, match=r"cannot be read .*: remove its file and run") as caught:
                read()
            assert "\n" not in str(caught.value)


class TestInputs:
    def test_files_of_every_kind_hold_the_same_prompts(self, model, tmp_path):
        import datasets

        rows = [{"prompt": each["prompt"]} for each in PROMPTS]
        frame = pandas.DataFrame(rows)
        write_prompts(tmp_path / "p.jsonl", rows)
        frame.to_parquet(tmp_path / "p.parquet")
        frame.to_csv(tmp_path / "p.csv", index=False)
        data = datasets.Dataset.from_list(rows)
        data.save_to_disk(tmp_path / "saved")
        inputs = [tmp_path / "p.jsonl", tmp_path / "p.parquet", tmp_path / "p.csv", tmp_path / "saved", data, rows]
        inputs += [str(tmp_path / "p.jsonl"), [each["prompt"] for each in rows]]
        inputs += [data.to_iterable_dataset()]
        expected = digests(sweep(model, tmp_path / "first", rows).folder)
        for number, each in enumerate(inputs):
            limit = {"limit": 50} if number == len(inputs) - 1 else {}
            assert digests(sweep(model, tmp_path / str(number), each, **limit).folder) == expected

    def test_a_text_file_has_one_prompt_per_line_and_blank_lines_are_none(self, model, tmp_path):
        (tmp_path / "p.txt").write_text("the city\n\nthe sea\n   \nthe tower\n\n")
        frame = sweep(model, tmp_path, tmp_path / "p.txt").to_frame()
        assert sorted(set(frame.prompt)) == [0, 2, 4]
        assert frame.error.isna().all()

    def test_prompts_are_read_as_they_are_written(self, model, tmp_path):
        (tmp_path / "p.txt").write_bytes(b"\xef\xbb\xbfthe city\nthe sea")  # as Windows marks its files
        marked = sweep(model, tmp_path / "txt", tmp_path / "p.txt")
        (tmp_path / "p.csv").write_text("prompt,language\nNA,NA\nnull,de\nthe city,\n")
        table = sweep(model, tmp_path / "csv", tmp_path / "p.csv")
        expected = sweep(model, tmp_path / "list", ["the city", "the sea", "NA", "null"]).to_frame()
        rows = len(expected) // 4
        assert np.allclose(marked.to_frame().entropy, expected.entropy[: 2 * rows], atol=1e-5)
        assert table.failed().empty
        frame = table.to_frame()
        assert np.allclose(frame.entropy[frame.prompt < 2], expected.entropy[2 * rows :], atol=1e-5)
        assert frame.groupby("prompt").language.first().tolist()[:2] == ["NA", "de"]
        assert frame.language[frame.prompt == 2].isna().all()

    def test_an_address_at_which_no_cluster_answers(self, tmp_path):
        for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"):
            with pytest.raises(LensError, match=f"no Ray cluster answers at '{address}': "):
                bauklens.sweep(PROMPTS, tmp_path / "out", "tiny", ray=address)

    def test_a_model_that_is_named_twice_is_swept_once(self):
        assert named_models(["run/a", "run/a", "b"]) == {"run/a": "model=a", "b": "model=b"}

    def test_a_name_is_no_pattern(self, model, tmp_path):
        write_prompts(tmp_path / "p1.jsonl", PROMPTS[:3])
        write_prompts(tmp_path / "p[12].jsonl", PROMPTS[:5])
        assert sweep(model, tmp_path, tmp_path / "p[12].jsonl").manifest.prompts == 5

    def test_columns_that_only_some_rows_have_are_kept(self, model, tmp_path):
        found = sweep(model, tmp_path, ["the city", {"prompt": "the sea", "kind": "x"}]).to_frame()
        assert found.kind[found.prompt == 0].isna().all()
        assert (found.kind[found.prompt == 1] == "x").all()

    def test_dates_are_kept(self, model, tmp_path):
        rows = [{"prompt": "the city", "day": "2026-11-02"}, {"prompt": "the sea", "day": "2026-11-03"}]
        found = sweep(model, tmp_path, write_prompts(tmp_path / "p.jsonl", rows))
        assert list(found.summary("day", skip_first=0)) == ["2026-11-02 00:00:00", "2026-11-03 00:00:00"]

    def test_a_name_of_half_a_pair(self, model, tmp_path):
        for _ in range(2):
            found = sweep(model, tmp_path, targets=[{"\ud800": [" sea"]}])
            assert "probability of \\ud800" in found.dataset.schema.names
        with pytest.raises(LensError, match=r"the text 'a\\ud800' of the prompts is not valid Unicode"):
            sweep(model, tmp_path / "prompts", ["the city", "a\ud800"])

    def test_a_column_called_model_has_no_place_beside_several_models(self, tmp_path):
        write_model(tmp_path / "run" / "a")
        with pytest.raises(LensError, match="both the list and the output have a column 'model'"):
            bauklens.sweep([{"prompt": "x", "model": "y"}], tmp_path / "out", str(tmp_path / "run" / "*"))

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"limit": -1}, "limit is -1: pass 1 or more"),
            ({"limit": "a"}, "limit is 'a': pass a whole number"),
            ({"per": 10**18}, "per is 1000000000000000000: pass less than 2,147,483,648"),
            ({"worker": "1", "workers": 2}, "worker is '1': pass a whole number"),
            ({"worker": 0, "workers": 0}, "workers is 0: pass 1 or more"),
            ({"prompts": []}, "the list has no prompts"),
        ],
    )
    def test_numbers_that_cannot_be(self, model, tmp_path, options, said):
        with pytest.raises(LensError, match=said):
            sweep(model, tmp_path, **options)
        assert not (tmp_path / "out").exists()

    def test_ids_and_chats(self, model, tmp_path):
        ids = sweep(model, tmp_path / "ids", [PROMPT[:4], PROMPT[:6]]).to_frame()
        assert ids.token_id.unique().tolist() == [PROMPT[3], PROMPT[5]]
        tokenizer = tiny_tokenizer()
        template, tokenizer.chat_template = (
            tokenizer.chat_template,
            "{% for m in messages %}{{ m.content }}{% endfor %}",
        )
        try:
            chats = [{"messages": [{"role": "user", "content": "the city"}]}]
            frame = bauklens.sweep(chats, tmp_path / "chats", model, tokenizer).to_frame()
        finally:
            tokenizer.chat_template = template
        assert frame.error.isna().all()
        assert frame.token_id[0] == tokenizer("the city")["input_ids"][-1]

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("p.jsonl", None, "the file does not exist"),
            ("p.jsonl", "{", "cannot read .*p.jsonl"),
            ("p.jsonl", '{"question": "x"}\n', "p.jsonl has no column prompt, text or messages: it has question"),
            ("p.parquet", "no parquet", "cannot read .*p.parquet"),
            ("p.md", "# x", "it is not a file of prompts: pass .jsonl, .json, .parquet, .txt, .csv"),
            ("p.txt", "\n\n", "p.txt has no prompts"),
            ("p.jsonl", "", "p.jsonl: the file is empty"),
            ("p.jsonl", '{"prompt": "x", "layer": 3}\n', "p.jsonl and the output have a column 'layer'"),
            ("p.jsonl", '{"prompt": 5}\n', "none of the first 100 prompts can be read: a prompt must be a text"),
        ],
    )
    def test_a_file_that_is_none(self, model, tmp_path, name, content, said):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(LensError, match=said) as caught:
            sweep(model, tmp_path, tmp_path / name)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    def test_a_model_in_the_place_of_the_prompts(self, model, tmp_path):
        """As the shell writes out run/checkpoint-* before the prompts."""
        with pytest.raises(LensError, match=r"cannot read .*: it is a model: name the prompts first"):
            sweep(model, tmp_path, write_model(tmp_path / "checkpoint-2"))

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"positions": "all", "rows": "layer"}, "one row per layer needs one position"),
            ({"positions": "middle"}, "positions is 'middle': pass 'last', 'all' or a number"),
            ({"per": 0}, "per is 0: pass 1 or more"),
            ({"rows": "token"}, "unknown rows 'token'"),
            ({"on_error": "skip"}, "unknown on_error 'skip': pass one of 'row', 'raise'"),
            ({"keep": ["x"]}, "the list has no column 'x' to keep: it has prompt, language, score"),
            ({"column": "x"}, "the list has no column 'x': it has prompt, language, score; pass column= with one"),
            ({"prompts": []}, "the list has no"),
            ({"prompts": ["the", [5]]}, "the prompts are not all of one type"),
            ({"layers": [9]}, "layer 9"),
            ({"worker": 2, "workers": 2}, "worker 2 of 2 does not exist"),
            ({"worker": 2}, "worker=2 needs workers="),
            ({"ray": ""}, "Ray workers load the model themselves: pass its name"),
        ],
    )
    def test_options_that_make_no_sense(self, model, tmp_path, options, said):
        with pytest.raises(LensError, match=said):
            sweep(**{"model": model, "folder": tmp_path, **options})

    def test_an_option_that_a_sweep_does_not_take(self, model, tmp_path):
        with pytest.raises(TypeError, match="unexpected keyword argument 'track'"):
            sweep(model, tmp_path, track=5)


class TestWorkers:
    @pytest.mark.parametrize(
        ("environment", "found"),
        [
            ({}, Worker()),
            ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, Worker(3, 8, 1)),
            ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "6", "SLURM_LOCALID": "1"}, Worker(5, 6, 1)),
            ({"SLURM_PROCID": "0", "SLURM_NTASKS": "6"}, Worker()),  # the script of a job, outside of srun
            (
                {
                    "SLURM_ARRAY_TASK_ID": "12",
                    "SLURM_ARRAY_TASK_MIN": "10",
                    "SLURM_ARRAY_TASK_STEP": "1",
                    "SLURM_ARRAY_TASK_COUNT": "4",
                },
                Worker(2, 4),
            ),
            ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, Worker(1, 2)),
        ],
    )
    def test_what_launchers_say(self, environment, found):
        assert this_worker(environment=environment) == found

    def test_a_job_of_kubernetes_has_to_be_told_how_many_there_are(self):
        with pytest.raises(LensError, match="workers=2, but the launcher has started 3: leave workers= out"):
            this_worker(of=2, environment={"RANK": "1", "WORLD_SIZE": "3"})
        assert this_worker(of=4, environment={"JOB_COMPLETION_INDEX": "3"}) == Worker(3, 4)
        with pytest.raises(LensError, match="does not report how many workers it has: pass workers="):
            this_worker(environment={"JOB_COMPLETION_INDEX": "3"})

    @pytest.mark.parametrize("number", ["", "x", "-1", "²"])
    def test_a_number_that_is_none(self, number):
        with pytest.raises(LensError, match=r"RANK is .*, which is not a number"):
            this_worker(environment={"RANK": number, "WORLD_SIZE": "2"})

    def test_workers_of_slurm_make_the_files_that_one_process_makes(self, model, tmp_path, monkeypatch):
        expected = digests(sweep(model, tmp_path / "one").folder)
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
        for number in (2, 0, 1):
            monkeypatch.setenv("SLURM_PROCID", str(number))
            found = sweep(model, tmp_path / "three")
        assert digests(found.folder) == expected
        assert [run["worker"] for run in found.runs] == [2, 0, 1] or len(found.runs) == 3


@pytest.mark.slow
class TestCommand:
    def test_a_position_that_is_no_number(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main(["sweep", "p.jsonl", "--model", "tiny", "--positions=--5", "-o", "out"])
        assert ended.value.code == 2
        assert "is '--5': pass 'last', 'all' or a number" in capsys.readouterr().err

    def test_a_part_of_a_fit_to_other_texts_is_not_merged(self, tmp_path, monkeypatch):
        write_model(tmp_path / "tiny")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("WORLD_SIZE", "2")
        words = ["fit", "--texts", "t.jsonl", "--model", "tiny", "--length", "16", "--skip-first", "2"]
        words += ["--tokens", "60"]
        for rank, seed in (("0", 0), ("1", 1)):
            texts = [" ".join(each["prompt"] for each in prompts_of(6, seed=seed + number)) for number in range(25)]
            write_prompts(tmp_path / "t.jsonl", [{"text": each} for each in texts])
            monkeypatch.setenv("RANK", rank)
            with pytest.raises(SystemExit) as ended:
                main([*words, "--method", "ridge", "-o", "lens.safetensors"])
            assert ended.value.code == 0
        assert len(list(tmp_path.glob("lens.part-*"))) == 2
        assert not (tmp_path / "lens.safetensors").exists()

    def test_writes_what_python_writes(self, model, tmp_path):
        write_model(tmp_path / "tiny")
        write_prompts(tmp_path / "p.jsonl", PROMPTS)
        words = ["--model", "tiny", "-o", "out", "--per", 20, "--target", " city", "--words", "first"]
        ran = python("-m", "bauklens", "sweep", "p.jsonl", *words, "--measure", "entropy", cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr.splitlines()[-1] == "3 of 3 files are in out"
        assert "1 of 3 shards: " in ran.stderr
        options = {"targets": [" city"], "words": "first", "measures": ["entropy"]}
        assert digests(tmp_path / "out") == digests(sweep(model, tmp_path / "apart", **options).folder)
        again = python("-m", "bauklens", "sweep", "p.jsonl", *words, "--measure", "kl", cwd=tmp_path)
        assert again.returncode == 2
        assert again.stderr.splitlines()[-1].startswith('Error: out was begun with measures = ["entropy"]')
        for shell in (["--model", "tiny", "tiny"], ["--model", "tin*"]):
            ran = python("-m", "bauklens", "sweep", "p.jsonl", *shell, "-o", "two", "--limit", 5, cwd=tmp_path)
            assert ran.returncode == 0, ran.stderr

    def test_a_full_disk_is_said_in_a_line_and_what_was_finished_stays(self, tmp_path):
        """On a file system of 200 KB of its own."""
        write_model(tmp_path / "tiny")
        write_prompts(tmp_path / "p.jsonl", prompts_of(2_000))
        (tmp_path / "full").mkdir()
        sweep = f"{sys.executable} -m bauklens sweep p.jsonl --model tiny --per 200 -o full/out"
        script = f"mount -t tmpfs -o size=200k tmpfs full && {sweep}; echo status $?; ls -a full/out"
        probe = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
        if probe.returncode:
            pytest.skip("no file system of its own can be mounted here")
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        ran = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert "status 2" in ran.stdout
        said = [line for line in ran.stderr.splitlines() if line.startswith("Error")]
        assert said == [
            "Error: the disk of full/out is full: free some space, and run the same command again, which "
            "continues after the finished shards"
        ]
        there = ran.stdout.splitlines()
        assert "part-0000000.parquet" in there
        assert not [name for name in there if name.startswith(".bauklens")]

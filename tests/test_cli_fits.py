"""The commands fit and merge: tiny models in folders, texts in files of every kind."""

import json
import os

import pandas
import pytest
import torch
from click.testing import CliRunner

import bauklens
from bauklens.cli import main
from tests.processes import python
from tests.tiny import tiny_model, tiny_tokenizer

BOOK = "the tower in the city of the sea\n" * 1600
RATE = ("--learning-rate", "0.01")
SMALL = ("--model", "model", "--length", "40", "--tokens", "600")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny GPT-2 with its tokenizer, saved as a user would have it."""
    folder = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    tiny_model("gpt2").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def files(model, tmp_path, monkeypatch):
    """The folder in which the command runs: a model and texts."""
    (tmp_path / "model").symlink_to(model)
    (tmp_path / "book.txt").write_text(BOOK)
    (tmp_path / "held-out.txt").write_text(BOOK[:2_000])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return CliRunner().invoke(main, [*words])


def refused(*words):
    """What the command says when it refuses: one line, status 2."""
    ran = run(*words)
    assert ran.exit_code == 2, ran.output
    assert ran.stdout == ""
    lines = ran.stderr.strip().splitlines()
    assert len(lines) == 1, ran.stderr
    assert lines[0].startswith("Error: ")
    return lines[0]


def with_texts(folder, suffix):
    """A file of texts, as one of the kinds that the command takes."""
    path, texts = folder / f"texts{suffix}", [BOOK[:8_000]] * 7
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": each}) + "\n" for each in texts))
    elif suffix == ".parquet":
        pandas.DataFrame({"text": texts}).to_parquet(path)
    else:
        path.write_text("".join(texts))
    return path


class TestFit:
    @pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
    def test_it_prints_a_table_and_writes_a_file_that_decodes(self, files, suffix):
        texts = with_texts(files, suffix)
        ran = run("fit", "--method", "ridge", "--texts", texts.name, *SMALL, "-o", "ridge.safetensors")
        assert ran.exit_code == 0, ran.output
        assert "wrote ridge.safetensors" in ran.stderr
        decoder = bauklens.load_decoder("ridge.safetensors")
        lines = ran.stdout.splitlines()
        tokens = decoder.about["tokens"]
        assert lines[0] == f"ridge lens of model, fitted on {decoder.about['prompts']} prompts, {tokens} tokens"
        assert 600 <= tokens < 600 + 23
        table = {words[0]: words[1:] for words in map(str.split, lines) if words and words[0] in decoder.layers}
        assert table == {
            label: [f"{each['kl']:.2f}", f"{each['agreement']:.0%}"] for label, each in decoder.quality.items()
        }
        lens = bauklens.logit_lens(tiny_model("gpt2"), tiny_tokenizer(), "the city", decoder=decoder)
        assert (lens.layers, lens.decoder) == (("0", "1", "2"), "ridge")

    @pytest.mark.slow
    def test_as_a_process_it_reads_standard_input_and_lens_score_and_evaluate_take_the_file(self, files):
        (files / "items.json").write_text(json.dumps([{"prompt": "the city of the ", "intermediates": ["tower"]}]))
        own = ("--decoder", "ridge.safetensors", "--model", "model")
        for words, given in (
            (("fit", "--method", "ridge", "--texts", "-", *SMALL, "-o", "ridge.safetensors"), BOOK),
            (("lens", "the city", *own, "-o", "lens.html"), ""),
            (("score", "--texts", "held-out.txt", "--length", "40", *own, "-o", "scores.html"), ""),
            (("evaluate", "items.json", *own, "-o", "evaluation.html"), ""),
        ):
            ran = python("-m", "bauklens", *words, stdin=given)
            assert ran.returncode == 0, ran.stderr
            assert ran.stderr == f"wrote {words[-1]}\n"
        assert "ridge" in (files / "lens.html").read_text("utf-8")

    def test_standard_input_is_not_read_twice(self, files):
        words = ("--method", "ridge", "--texts", "-", *SMALL, "--memory", "1e-5", "-o", "ridge.safetensors")
        ran = CliRunner().invoke(main, ["fit", *words], input=BOOK)
        assert ran.exit_code == 2
        assert "these can be read only once: pass a list, a dataset or a file" in ran.stderr
        assert ran.stderr.count("\n") == 1

    def test_the_other_methods_and_all_their_options(self, files, tmp_path):
        tiny_model("llama").save_pretrained(tmp_path / "llama")
        tiny_tokenizer().save_pretrained(tmp_path / "llama")
        few = ("--texts", "book.txt", "--model", "llama", "--length", "40", "--seed", "3")
        for method, name, options in (
            ("jacobian", "a.pt", ("--dim-batch", "8", "--normalize", "--tolerance", "0.5", "--tokens", "40")),
            ("jacobian-mean-field", "b.safetensors", ("--tokens", "100", "--name", "closed")),
            (
                "tuned",
                "c.safetensors",
                ("--tokens", "200", "--steps", "2", "--rows-per-step", "50", "--optimizer", "sgd", *RATE),
            ),
        ):
            ran = run("fit", "--method", method, *few, *options, "-o", name)
            assert ran.exit_code == 0, ran.output
        told = bauklens.load_decoder("c.safetensors").about["options"]
        assert dict(told) == {"steps": 2, "rows_per_step": 50, "optimizer": "sgd", "learning_rate": 0.01}
        assert bauklens.load_decoder("c.safetensors").name == "c"
        closed = bauklens.load_decoder("b.safetensors")
        assert (closed.name, closed.about["seed"], closed.about["method"]) == ("closed", 3, "jacobian-mean-field")
        assert bauklens.load_decoder("a.pt").layers == ("0", "1")

    def test_without_texts_the_model_writes_them(self, files):
        few = ("--model", "model", "--length", "24", "--tokens", "60", "--map-dtype", "float32")
        ran = run("fit", "--method", "ridge", *few, "--layer", "1", "-o", "r.safetensors")
        assert ran.exit_code == 0, ran.output
        decoder = bauklens.load_decoder("r.safetensors")
        assert decoder.about["texts"] == "written by the model itself"
        assert decoder.layers == ("1",)
        assert decoder.weight(1).dtype == torch.float32

    def test_with_a_checkpoint_it_goes_on(self, files):
        few = ("fit", "--method", "ridge", "--texts", "book.txt", "--model", "model", "--length", "40")
        kept = ("--checkpoint", "fit.safetensors", "-o", "r.safetensors")
        for tokens in ("300", "900"):
            ran = run(*few, "--tokens", tokens, *kept)
            assert ran.exit_code == 0, ran.output
            assert os.path.exists("fit.safetensors")
        found = bauklens.load_decoder("r.safetensors")
        assert 900 <= found.about["tokens"] < 900 + 23
        said = refused(*few, "--tokens", "900", "--seed", "1", *kept)
        assert "the checkpoint fit.safetensors was begun with --seed 0, but now it is 1" in said

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--method", "ridge", "-o", "r.pt"], "cannot save a decoder as 'r.pt': its name must end in .safetensors"),
            (["-o", "jacobian.bin"], "its name must end in .safetensors or .pt"),
            (["-o", "none/r.pt"], "the folder none does not exist"),
            (["--checkpoint", "none/c.safetensors", "-o", "r.pt"], "the folder none does not exist"),
            (["--texts", "none.txt", "-o", "r.pt"], "cannot read none.txt: No such file"),
            (["--texts", ".", "-o", "r.pt"], "cannot read .: it is a folder"),
            (["--method", "lasso", "-o", "r.pt"], "'lasso' is not one of"),
            (["--tokens", "0", "-o", "r.pt"], "--tokens"),
            ([], "'-o'"),
        ],
    )
    def test_what_is_wrong_is_told_before_the_model_loads(self, tmp_path, monkeypatch, words, message):
        monkeypatch.chdir(tmp_path)
        assert message in refused("fit", *words, "--model", "./there-is-no-such-model")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--texts", "empty.txt"], "empty.txt contains no texts"),
            (["--texts", "short.txt"], "fewer than 18 tokens, of which the first 16 and the last are left out"),
            (["--texts", "few.txt", "--method", "ridge"], "needs 33 or more: pass more texts"),
            (["--texts", "bad.jsonl"], 'bad.jsonl, line 2: looked for an object with a "text"'),
            (["--texts", "book.txt", "--layer", "9"], "unknown layer '9'"),
            (["--texts", "book.txt", "--layer", "2"], "layer 2 does not come before the target 2"),
            (["--texts", "book.txt", "--target-layer", "x"], "unknown layer 'x'"),
            (
                ["--texts", "book.txt", "--steps", "3"],
                "--steps is not an option of --method jacobian, which takes --anchors",
            ),
            (["--texts", "book.txt", "--method", "jacobian-mean-field"], "not made of attention and a gated MLP"),
            (["--texts", "book.txt", "--checkpoint", "book.txt"], "a checkpoint is a .safetensors file"),
            (["--texts", "book.txt", "--length", "17"], "a window of 17 tokens has no position that counts"),
            (["--texts", "book.txt", "--tolerance", "-1"], "tolerance is -1.0: pass a positive number"),
        ],
    )
    def test_what_cannot_be_fitted_is_one_line_and_writes_nothing(self, files, words, message):
        (files / "empty.txt").write_text(" \n")
        (files / "short.txt").write_text("the tower\n")
        (files / "few.txt").write_text("the tower in the city of the sea\n" * 4)
        (files / "bad.jsonl").write_text(json.dumps({"text": "the"}) + '\n{"content": "the"}\n')
        before = sorted(files.iterdir())
        assert message in refused("fit", "--model", "model", "-o", "d.safetensors", *words)
        assert sorted(files.iterdir()) == before


class TestMerge:
    @pytest.fixture
    def parts(self, files):
        """Two parts, of different texts."""
        texts = tiny_tokenizer()(BOOK)["input_ids"]
        generator = torch.Generator().manual_seed(0)
        for name in ("one", "two"):
            order = torch.randperm(len(texts), generator=generator).tolist()
            own = [[texts[place] for place in order[start : start + 40]] for start in range(0, 2_000, 40)]
            decoder = bauklens.fit_decoder(
                tiny_model("gpt2"), None, own, method="ridge", length=40, tokens=600, dtype="float32"
            )
            decoder.save(f"{name}.safetensors")
        return "one.safetensors", "two.safetensors"

    def test_the_mean_is_written_and_measured_on_texts(self, parts):
        measured = ("--texts", "held-out.txt", "--model", "model")
        ran = run("merge", *parts, *measured, "-o", "whole.safetensors")
        assert ran.exit_code == 0, ran.output
        one, two, whole = (bauklens.load_decoder(name) for name in (*parts, "whole.safetensors"))
        tokens = [each.about["tokens"] for each in (one, two)]
        expected = (one.weight(1) * tokens[0] + two.weight(1) * tokens[1]) / sum(tokens)
        assert torch.allclose(whole.weight(1), expected, atol=1e-6)
        assert ran.stdout.splitlines()[0].endswith(f"{sum(tokens):,} tokens")
        assert f"{whole.quality['1']['kl']:.2f}" in ran.stdout
        assert "windows given when the parts were merged" in " ".join(ran.stdout.split())

    def test_without_texts_no_model_is_needed_and_nothing_is_measured(self, parts):
        ran = run("merge", *parts, "--model", "./there-is-no-such-model", "-o", "whole.safetensors")
        assert ran.exit_code == 0, ran.output
        assert ran.stdout.strip().count("\n") == 0
        assert not bauklens.load_decoder("whole.safetensors").quality

    def test_what_does_not_belong_together_is_one_line(self, parts):
        to = ("-o", "whole.safetensors")
        assert "merge needs two or more decoders" in refused("merge", parts[0], *to)
        assert "was fitted on the same texts as another" in refused("merge", parts[0], parts[0], *to)
        assert "the file none.safetensors does not exist" in refused("merge", parts[0], "none.safetensors", *to)
        assert "as 'whole.pt': its name must end in .safetensors" in refused("merge", *parts, "-o", "whole.pt")
        bauklens.MeanLens({0: torch.zeros(32), 1: torch.zeros(32)}, about={"tokens": 5}).save("mean.safetensors")
        assert "merge like with like" in refused("merge", parts[0], "mean.safetensors", *to)
        assert not os.path.exists("whole.safetensors")
        assert not os.path.exists("whole.pt")


def test_one_file_for_the_decoder_and_the_checkpoint_is_refused():
    said = refused(
        "fit", "--model", "none", "--method", "ridge", "-o", "a.safetensors", "--checkpoint", "a.safetensors"
    )
    assert "--checkpoint and -o are both a.safetensors: pass two names" in said


@pytest.mark.parametrize("command", ["fit", "merge"])
def test_the_help_has_an_example_and_names_every_option(command):
    ran = run(command, "--help")
    assert ran.exit_code == 0
    assert f"Example: bauklens {command}" in ran.stdout
    for option in main.commands[command].params:
        assert option.opts[-1] in ran.stdout or option.opts[-1] == "files"

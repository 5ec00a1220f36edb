"""The scripts that people run."""

import json
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.start_imports import large_imports
from tests.processes import python
from tests.sweeps import write_model
from tests.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow  # each starts a process

SCRIPTS = Path(__file__).parent.parent / "scripts"
DOCS = SCRIPTS.parent / "docs"


def test_export_report(tmp_path):
    tiny_model("gptj").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    arguments = ["--model", str(tmp_path / "tiny"), "--topk", "3", "-o", str(tmp_path / "report.html"), "the", "city"]
    ran = python(SCRIPTS / "export_report.py", *arguments)
    assert ran.returncode == 0, ran.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('<table class="lens') == 4
    assert "tiny, layer by layer" in page


def test_export_report_says_what_is_wrong(tmp_path):
    arguments = ["--model", "./none", "-o", str(tmp_path / "report.html")]
    ran = python(SCRIPTS / "export_report.py", *arguments)
    assert ran.returncode == 2
    assert "the folder ./none does not exist" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_how_much_anchors_steady_an_exact_jacobian(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    words = ("--model", tmp_path / "tiny", "--windows", 3, "--length", 24, "--layer", 0, "--layer", 1)
    ran = python(SCRIPTS / "anchored_jacobian.py", *words)
    assert ran.returncode == 0, ran.stderr
    rows = [[*map(float, re.findall(r"[\d.]+(?:e-?\d+)?", line))] for line in ran.stdout.splitlines() if "│" in line]
    assert [row[0] for row in rows] == [0, 1]
    for _, exact, apart, ratio in rows:
        assert ratio == pytest.approx(exact / apart, rel=0.05)


def test_a_page_of_an_image(tmp_path):
    ran = python(SCRIPTS / "image_page.py", "-o", tmp_path / "image.html")
    assert ran.returncode == 0, ran.stderr
    page = (tmp_path / "image.html").read_text(encoding="utf-8")
    assert "tiny LLaVA with random weights" in page
    assert "data:image/" in page
    assert "gives the model&#39;s own logits at all 42 positions shown" in page


def test_benchmark(tmp_path):
    tiny_model("gpt2").save_pretrained(tmp_path / "tiny")
    figures = tmp_path / "figures.json"
    arguments = ["--model", str(tmp_path / "tiny"), "--tokens", "16", "--rounds", "1", "--json", str(figures)]
    ran = python(SCRIPTS / "benchmark.py", *arguments)
    assert ran.returncode == 0, ran.stderr
    (run,) = json.loads(figures.read_text(encoding="utf-8"))
    assert run["tokens"] == 16
    assert set(run["seconds"]) >= {"forward pass", "bauklens, with its measures", "exact, top-k only"}
    assert "bauklens, through a decoder" in run["seconds"]
    assert any(name.startswith("notebook") for name in run["seconds"])
    assert all(each > 0 for each in run["seconds"].values())
    assert "bauklens" in ran.stdout
    assert run["decoding"] == {"precision": "float32", "by": "product", "rows": 64, "decoded again": 0}


@pytest.mark.long
def test_benchmark_of_sweeps(tmp_path):
    write_model(tmp_path / "tiny")
    figures = tmp_path / "figures.json"
    arguments = [
        "--model",
        str(tmp_path / "tiny"),
        "--sweep",
        "--prompts",
        "70",
        "--rounds",
        "1",
        "--json",
        str(figures),
    ]
    ran = python(SCRIPTS / "benchmark.py", *arguments)
    assert ran.returncode == 0, ran.stderr
    (run,) = json.loads(figures.read_text(encoding="utf-8"))
    assert run["prompts"] == 70
    assert len(run["prompts a second"]) == 5
    assert all(each > 0 for each in run["prompts a second"].values())
    assert "| sweep, 2 workers, every cell |" in ran.stdout


def test_benchmark_of_paths(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    figures = tmp_path / "figures.json"
    words = ["--model", tmp_path / "tiny", "--paths", "--tokens", 12, "--rounds", 1, "--json", figures]
    ran = python(SCRIPTS / "benchmark.py", *words)
    assert ran.returncode == 0, ran.stderr
    (run,) = json.loads(figures.read_text(encoding="utf-8"))
    assert len(run["paths"]) >= 17
    assert all(each["seconds"] > 0 and each["least"] > 0 for each in run["paths"].values())
    assert "| save 49 x 1,024 |" in ran.stdout
    assert "--paths --tokens 12" in ran.stdout


def test_benchmark_of_the_start(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    figures = tmp_path / "figures.json"
    cases = ["--case", "bauklens --help", "--case", "parts"]
    words = ["--model", tmp_path / "tiny", "--prompt", "the city of", "--rounds", 0, *cases, "--json", figures]
    ran = python(SCRIPTS / "benchmark_start.py", *words)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert list(found["commands"]) == ["bauklens --help", found["bare"]]
    assert all(each["seconds"] > 0 for each in found["commands"].values())
    parts = list(found["parts"])
    assert (parts[0], parts[-1]) == ("Python and the command's options", "end the process")
    for text in ("| bauklens --help |", "| write the page |"):
        assert text in ran.stdout


def test_benchmark_of_the_live_page(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    words = ["--model", tmp_path / "tiny", "--tokens", 9, "--rounds", 1, "--looks", 4, "--pages", 2]
    ran = python(SCRIPTS / "benchmark_serve.py", *words)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"^\| 9 \| [\d.]+ s \| [\d.]+ s \| [\d.]+ \| [\d.]+ s \|$", ran.stdout, re.MULTILINE), ran.stdout
    assert "2 pages asked at once, for" in ran.stdout
    assert re.search(
        r"^If 32 tokens are generated after \d+, the first row comes after [\d.]+ forward", ran.stdout, re.MULTILINE
    )


def test_who_imports_a_large_package():
    """As Python tells it: a module below what it imports, which is indented more."""
    told = (("torch._dynamo.a", 3, 50), ("torch.b", 2, 60), ("transformers.c", 1, 90), ("scipy", 2, 7), ("ours", 1, 9))
    lines = [f"import time: {1:9} | {spent:10} | {'  ' * depth}{name}\n" for name, depth, spent in told]
    assert large_imports("".join(lines)) == {
        "torch._dynamo": ("transformers.c", 50e-6),
        "scipy": ("ours", 7e-6),
    }


@pytest.mark.long
def test_benchmark_of_a_model_over_ranks():
    pytest.importorskip("transformers.distributed", reason="this version of transformers has no DistributedConfig")
    words = [SCRIPTS / "benchmark_ranks.py", "--tokens", "12", "--vocabulary", "300", "--rounds", "1"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ran = subprocess.run([*launcher, *map(str, words)], capture_output=True, text=True, cwd=SCRIPTS.parent)
    assert ran.returncode == 0, ran.stderr
    ways = [line.split(" | ")[1] for line in ran.stdout.splitlines()[2:]]
    assert ways == ["product in shards", "product in shards", "replay"]


def test_benchmark_of_effects(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    arguments = ["--model", tmp_path / "tiny", "--tokens", 50, "--rounds", 1, "--where", "hidden", "--where", "mlp"]
    ran = python(SCRIPTS / "benchmark_effects.py", *arguments)
    assert ran.returncode == 0, ran.stderr
    assert re.findall(r", (hidden|mlp), 50 tokens: .* ratio [\d.]+;", ran.stdout) == ["hidden", "mlp"]


@pytest.mark.long
def test_benchmark_of_peers(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    (tmp_path / "docs").mkdir()
    kept = ("--json", tmp_path / "figures.json", "--docs", tmp_path / "docs")
    ways = ("--way", "NNsight, its recipe", "--way", "nnterp")
    words = ("--model", tmp_path / "tiny", "--tokens", 12, "--rounds", 1, *ways, "--cache", tmp_path / "cache", *kept)
    ran = python(SCRIPTS / "benchmark_peers.py", *words, "--no-install")
    assert ran.returncode == 0, ran.stderr
    (run,) = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    measured = [name for name, each in run["ways"].items() if "reason" not in each]
    installed = bool(find_spec("nnsight")) and version("nnsight") == "0.8.1"
    assert measured[:2] == ["floor: plus one bfloat16 product per layer", "bauklens"]
    assert measured[2:] == (["NNsight, its recipe"] if installed else [])
    assert run["ways"]["nnterp"] == {"reason": "not installed: nnterp, nnsight"}
    assert "nnterp: not installed: nnterp, nnsight" in ran.stdout
    assert not (tmp_path / "cache").exists()
    for name in measured:
        assert run["ways"][name]["seconds"] > 0
    for name in measured[1:]:  # all 3 blocks; bauklens has the embedding too
        assert run["ways"][name]["same"] == run["ways"][name]["of"] == 12 * (4 if name == "bauklens" else 3)
        assert run["versions"][name]["torch"] == torch.__version__
    page = (tmp_path / "docs" / "PERFORMANCE.md").read_text(encoding="utf-8")
    assert "## Other tools" in page
    assert "- nnterp: not installed: nnterp, nnsight" in page
    assert json.loads((tmp_path / "docs" / "performance_peers.json").read_text(encoding="utf-8")) == [run]


def test_the_tools_are_measured_in_the_versions_that_are_tested(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    named = {wanted for way in import_module("peers.ways").WAYS for wanted in way.packages}
    pinned = (SCRIPTS.parent / "constraints.txt").read_text(encoding="utf-8").split()
    assert named.difference(pinned) == {"nnterp==1.3.0", "nnsight==0.7.0"}  # in an environment of their own


class TestComparedPeers:
    """What benchmark_peers.py does with an answer."""

    @pytest.fixture
    def peers(self, monkeypatch):
        monkeypatch.syspath_prepend(SCRIPTS)
        return import_module("peers.measuring"), import_module("peers.prompts").Told

    @staticmethod
    def answer(told, layers, shift=0, positions=50):
        ids = np.arange(len(layers) * positions * 5).reshape(len(layers), positions, 5) + shift
        return told(layers, ids, np.full(ids.shape, 0.1, dtype=np.float32))

    def test_rows_are_matched_by_their_layers(self, peers):
        measuring, told = peers
        ours = self.answer(told, ["embed", "0", "1"])
        theirs = told(["1", "0"], ours.top_ids[[2, 1]], ours.top_probs[[2, 1]] + np.float32(0.02))
        found = measuring.compared(theirs, ours)
        assert (found["same"], found["of"]) == (100, 100)
        assert found["difference"] == pytest.approx(0.02, abs=1e-6)

    def test_another_answer_is_not_measured(self, peers):
        measuring, told = peers
        ours = self.answer(told, ["0", "1"])
        with pytest.raises(measuring.NotMeasuredError, match="is that of bauklens in 0 of 100 rows"):
            measuring.compared(self.answer(told, ["0", "1"], shift=1), ours)

    def test_layers_that_are_off_by_one_are_not_measured(self, peers):
        measuring, told = peers
        ours = self.answer(told, ["embed", "0", "1"])
        with pytest.raises(measuring.NotMeasuredError, match="in 0 of 100 rows"):
            measuring.compared(told(["0", "1"], ours.top_ids[:2], ours.top_probs[:2]), ours)

    def test_other_tokens_are_not_measured(self, peers):
        measuring, told = peers
        with pytest.raises(measuring.NotMeasuredError, match=r"reads 51 tokens .* where bauklens reads 50"):
            measuring.compared(self.answer(told, ["0"], positions=51), self.answer(told, ["0"]))


class TestBenchmarkOfDecoders:
    """On a tiny model: every part, the pages, and what is kept of a run."""

    QUICK = (
        *("--length", "24", "--layer", "0", "--layer", "1", "--eval-layer", "1", "--causal-layer", "1"),
        *("--ridge", "100", "--ridge", "300", "--tuned", "100", "--steps", "2", "--closed", "60"),
        *("--windows", "1", "--held-out", "4", "--causal-texts", "2", "--causal-tokens", "2"),
    )

    @pytest.fixture
    def folder(self, tmp_path):
        tiny_model("llama").save_pretrained(tmp_path / "tiny")
        tiny_tokenizer().save_pretrained(tmp_path / "tiny")
        (tmp_path / "evals").mkdir()
        items = [{"prompt": "the city of the ", "intermediates": ["tower", "sea"], "target": "city"}] * 2
        (tmp_path / "evals" / "lens-eval-tiny.json").write_text(json.dumps({"items": items}))
        (tmp_path / "docs" / "guide").mkdir(parents=True)
        for page in ("DECODERS.md", "guide/decoders.md"):
            (tmp_path / "docs" / page).write_text((DOCS / page).read_text(encoding="utf-8"), encoding="utf-8")
        return tmp_path

    def run(self, folder, *options):
        """The figures of a run, which says nothing if it fails."""
        kept = ("--cache", folder / "cache", "--json", folder / "figures.json", "--docs", folder / "docs")
        words = ("--model", folder / "tiny", "--evals", folder / "evals", *self.QUICK, *kept, *options)
        ran = python(SCRIPTS / "benchmark_decoders.py", *words, cwd=folder)
        return ran, json.loads((folder / "figures.json").read_text("utf-8")) if ran.returncode == 0 else None

    def test_every_part_is_measured_written_and_kept(self, folder):
        ran, found = self.run(folder)
        assert ran.returncode == 0, ran.stderr
        assert list(found) == ["quality", "evaluation", "causal", "cost"]
        kl = {
            row["name"]: {label: value for label, (value, *_) in row["kl"].items()} for row in found["quality"]["rows"]
        }
        lenses = ["ridge, 100 tokens", "ridge, 300 tokens", "tuned, 100 tokens, 2 steps"]
        lenses += ["Jacobian, exact, 1 window", "Jacobian, closed form, 60 tokens"]
        assert list(kl) == ["logit", "logit, temperatures", "mean final state", *lenses]
        for label in ("0", "1"):
            assert kl["ridge, 300 tokens"][label] < kl["mean final state"][label]
            assert kl["logit, temperatures"][label] < kl["logit"][label]
        assert kl["mean final state"]["0"] == kl["mean final state"]["1"]
        assert [row["name"] for row in found["causal"]["rows"]] == ["random direction", "logit", *lenses]
        assert all(len(row["passed"]["5"]["mean"]) == 3 for row in found["evaluation"]["rows"])
        fits = {each["name"]: each for each in found["cost"]["fits"]}
        assert list(fits) == lenses
        assert fits["ridge, 300 tokens"]["tokens"] >= 300
        jacobian = found["cost"]["jacobian"]
        assert jacobian["differ by"] < 1e-4
        assert jacobian["rows"] == jacobian["width"] == 32  # of a tiny model, all rows are timed
        assert str(folder) not in json.dumps(found)
        pages = [(folder / "docs" / name).read_text("utf-8") for name in ("DECODERS.md", "guide/decoders.md")]
        for label in ("0", "1"):
            assert f"{kl['ridge, 300 tokens'][label]:.2f} (" in pages[0]
        assert f"| logit | {kl['logit']['0']:.2f} / " in pages[1]
        assert "Not measured yet" not in pages[0]

        kept = {path.name: path.stat().st_mtime_ns for path in (folder / "cache").glob("*.safetensors")}
        (folder / "cache" / "quality.json").unlink()  # as if the run had been cut off there
        (folder / "cache" / "ridge-300.safetensors").unlink()
        again, repeated = self.run(folder, "--no-cost", "--no-causal", "--no-evaluation")
        assert again.returncode == 0, again.stderr
        assert list(repeated) == ["quality"]
        assert repeated["quality"]["rows"] == found["quality"]["rows"]
        assert "Not measured yet" not in (folder / "docs" / "DECODERS.md").read_text("utf-8")
        for name, time in kept.items():
            assert ((folder / "cache" / name).stat().st_mtime_ns == time) == (name != "ridge-300.safetensors")

        other, _ = self.run(folder, "--seed", "5")
        assert other.returncode == 2
        assert "belongs to a run with other seed: pass another --cache" in other.stderr

    def test_texts_of_a_file_and_a_model_without_a_closed_form(self, folder):
        tiny_model("gpt2").save_pretrained(folder / "tiny")
        (folder / "book.txt").write_text("the tower in the city of the sea is in the\n" * 3_000)
        off = ("--no-evaluation", "--no-causal", "--no-cost", "--windows", "0", "--tuned", "0")
        ran, found = self.run(folder, "--texts", folder / "book.txt", *off)
        assert ran.returncode == 0, ran.stderr
        assert "left out: Jacobian, closed form, 60 tokens: " in ran.stderr
        assert found["quality"]["about"]["texts"] == "of book.txt"
        assert "--texts book.txt" in found["quality"]["about"]["command"]

"""The scripts that people run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow  # each starts a process

SCRIPTS = Path(__file__).parent.parent / "scripts"


def test_export_report(tmp_path):
    tiny_model("gptj").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    arguments = ["--model", str(tmp_path / "tiny"), "--topk", "3", "-o", str(tmp_path / "report.html"), "the", "city"]
    ran = subprocess.run([sys.executable, SCRIPTS / "export_report.py", *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<table") == 4
    assert "tiny, layer by layer" in page


def test_export_report_says_what_is_wrong(tmp_path):
    arguments = ["--model", "./none", "-o", str(tmp_path / "report.html")]
    ran = subprocess.run([sys.executable, SCRIPTS / "export_report.py", *arguments], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "there is no folder ./none" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_benchmark(tmp_path):
    tiny_model("gpt2").save_pretrained(tmp_path / "tiny")
    figures = tmp_path / "figures.json"
    arguments = ["--model", str(tmp_path / "tiny"), "--tokens", "16", "--rounds", "1", "--json", str(figures)]
    ran = subprocess.run([sys.executable, SCRIPTS / "benchmark.py", *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    (run,) = json.loads(figures.read_text(encoding="utf-8"))
    assert run["tokens"] == 16
    assert set(run["seconds"]) >= {"forward pass", "bauklens, with its measures", "exact, top-k alone"}
    assert "bauklens, through a decoder" in run["seconds"]
    assert any(name.startswith("notebook") for name in run["seconds"])
    assert all(each > 0 for each in run["seconds"].values())
    assert "bauklens" in ran.stdout
    assert run["decoding"] == {"precision": "float32", "by": "product", "rows": 64, "decoded again": 0}


def test_benchmark_of_decoders(tmp_path):
    tiny_model("gpt2").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    figures = tmp_path / "figures.json"
    arguments = ["--model", str(tmp_path / "tiny"), "--length", "24", "--layer", "0", "--layer", "1"]
    arguments += ["--tokens", "300", "--tokens", "600", "--json", str(figures)]
    ran = subprocess.run(
        [sys.executable, SCRIPTS / "benchmark_decoders.py", *arguments], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    run = json.loads(figures.read_text(encoding="utf-8"))
    found = {row["lens"]: row["quality"] for row in run["rows"]}
    assert "ridge, 600 tokens, temperatures" in ran.stdout
    for layer in ("0", "1"):
        assert found["logit, temperatures"][layer]["agreement"] == found["logit"][layer]["agreement"]
        assert found["ridge, 600 tokens"][layer]["kl"] < found["mean final state"][layer]["kl"]
    assert found["mean final state"]["0"] == found["mean final state"]["1"]

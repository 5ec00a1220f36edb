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
    assert any(name.startswith("notebook") for name in run["seconds"])
    assert all(each > 0 for each in run["seconds"].values())
    assert "bauklens" in ran.stdout
    assert run["decoding"] == {"precision": "float32", "by": "product", "rows": 64, "decoded again": 0}

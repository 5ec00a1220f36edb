"""The scripts that people run."""

import subprocess
import sys
from pathlib import Path

from tests.tiny import tiny_model, tiny_tokenizer

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
    arguments = ["--model", str(tmp_path / "tiny"), "--tokens", "16", "--rounds", "1"]
    ran = subprocess.run([sys.executable, SCRIPTS / "benchmark.py", *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    rows = [line.split("│")[1:4] for line in ran.stdout.splitlines() if "│" in line]
    assert [row[0].strip() for row in rows][:2] == ["forward pass", "resolve, the first time"]
    assert all(float(row[1]) > 0 for row in rows)
    assert float(rows[0][2]) == 1

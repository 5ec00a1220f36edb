"""Every block of code in README.md and docs/ runs, and prints what stands under it."""

import contextlib
import fnmatch
import io
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from bauklens.cli import main
from tests.tiny import tiny_model, tiny_tokenizer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").rglob("*.md"))

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

NOT_RUN_HERE = (
    "pip install ",  # tests/test_release.py installs for real
    "scripts/",  # what CI runs, or tests/test_scripts.py and tests/test_site.py
    ".venv/bin/python ",
    "eval ",  # tests/test_cli.py has bash take the completion
)


def blocks(page):
    """(language, code) of every block of a page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def hub(request):
    """In the hub's cache, tiny models stand for the large ones of those names; with --hub they are the real ones."""
    cache = Path(os.environ.get("HF_HUB_CACHE", ""))
    standing = {} if request.config.getoption("--hub") else {"gpt2-xl": "gpt2", "EleutherAI/gpt-j-6B": "gptj"}
    places = [cache / f"models--{name.replace('/', '--')}" for name in standing]
    for place, kind in zip(places, standing.values(), strict=True):
        saved_model(kind, place / "snapshots" / "0123456789")
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("0123456789")
    yield
    for place in places:
        shutil.rmtree(place)


def saved_model(kind, folder):
    tiny_model(kind).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A folder with what the pages speak of: a model of the reader's own, and a file of prompts."""
    saved_model("gpt2", tmp_path / "my-model")
    (tmp_path / "prompts.txt").write_text("The tower is in\nThe needle is in\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_runs_and_prints_what_is_shown(page, reader):
    names, printed = {}, ""
    for number, (language, code) in enumerate(blocks(page), 1):
        if language == "python":
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile(code, f"{page.name}, block {number}", "exec"), names)
            printed = said.getvalue()
        elif language == "text":
            shown = code.replace("[", "[[]")
            assert fnmatch.fnmatchcase(printed.strip(), shown.strip()), f"block {number} printed:\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_shell_run(page, reader, capfd):
    for language, code in blocks(page):
        for line in code.splitlines() if language == "sh" else []:
            words = shlex.split(line, comments=True)
            if not words or line.startswith(NOT_RUN_HERE):
                continue
            assert words[0] == "bauklens", f"nothing here runs {line!r}"
            with pytest.raises(SystemExit) as ended:
                main(words[1:])
            assert ended.value.code == 0, f"{line}\n{capfd.readouterr().err}"
            named = [words[place + 1] for place, word in enumerate(words[:-1]) if word in {"-o", "--json", "--csv"}]
            assert {reader / name for name in named} <= set(reader.iterdir()), line
            capfd.readouterr()


def test_every_block_says_its_language():
    for page in PAGES:
        fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert fences.count("") == len(fences) / 2, page
        assert {*fences} <= {"", "python", "sh", "text"}, page


def test_every_file_that_is_named_is_there():
    for page in PAGES:
        for name in re.findall(
            r"`((?:bauklens|scripts|tests|docs|notebooks)/[\w./-]+)`", page.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).exists(), f"{page.name} names {name}"

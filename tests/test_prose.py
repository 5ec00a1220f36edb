"""The prose of the project reads as a native reader would write it: documentation, docstrings, messages, the viewer."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.prose import ROOT, patterns, pieces, sources, stumbles

HERE = Path(__file__).parent
CHECKED = sources()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with the prose of each file, without its code, in lines with the same numbers where that is possible."""
    folder = tmp_path_factory.mktemp("prose")
    for path in CHECKED:
        copy = folder / path.relative_to(ROOT).with_suffix(f"{path.suffix}.md")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("\n\n".join(text for _, text in pieces(path)), encoding="utf-8")
    return folder


def test_all_kinds_of_prose_are_read():
    assert {path.suffix for path in CHECKED} == {".md", ".py", ".js", ".html", ".ipynb"}
    assert sum(len(text.split()) for path in CHECKED for _, text in pieces(path)) > 50_000


@pytest.mark.parametrize(
    ("text", "stumbles_over"),
    [
        ("Where a model turns, it fails.", True),
        ("a place where a model turns", False),
        ("a row a layer", True),
        ("one row per layer", False),
        ("it is no token", True),
        ("it is no longer a token", False),
        ("early layers alone", True),
        ("left alone", False),
        ("this is vouched for", True),
    ],
)
def test_patterns_find_what_they_are_for(text, stumbles_over):
    assert any(pattern.search(text) for pattern, _ in patterns()) == stumbles_over


def test_no_sentence_has_a_pattern_that_readers_stumble_over():
    found = [line for path in CHECKED for line in stumbles(path)]
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_words_are_spelt_as_they_should_be(written):
    words = HERE / "words.txt"
    command = [sys.executable, "-m", "codespell_lib", "--ignore-words", str(words), str(written)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.slow
def test_a_linter_of_prose_has_nothing_to_say(written):
    command = [sys.executable, "-m", "proselint", "check", "--config", str(HERE / "proselint.json"), str(written)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr

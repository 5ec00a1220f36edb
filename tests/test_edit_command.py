"""`bauklens lens` with edits."""

import json

import pytest
from click.testing import CliRunner

import bauklens
from bauklens import edits
from bauklens.cli.commands import main
from tests.tiny import tiny_model, tiny_tokenizer

PROMPT = "the city of the sea"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def ran(folder, *arguments):
    return CliRunner().invoke(main, ["-q", "lens", PROMPT, "--model", str(folder), *arguments])


def test_edits_are_those_of_python(folder, tmp_path):
    written = tmp_path / "lens.json"
    options = ["--swap", "the=> city", "--ablate", " of", "--edit-layers", "0-1", "--edit-positions", "2,-1"]
    found = ran(folder, *options, "--edit-strength", "2", "--json", str(written))
    assert found.exit_code == 0, found.output
    both = edits.swap(None, "the", " city", layers=[0, 1], positions=[2, -1], strength=2)
    both += edits.ablate(None, " of", layers=[0, 1], positions=[2, -1], strength=2)
    right = bauklens.logit_lens(tiny_model("llama"), tiny_tokenizer(), PROMPT, edits=both)
    lens = bauklens.LensResult.load(written)
    assert (lens.top_ids == right.top_ids).all()
    assert lens.edited == right.edited
    assert json.loads(written.read_text())["provenance"]["edits"][0]["layers"] == ["0", "1"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--swap", "the"], "pass 'A=>B'"),
        (["--edit-layers", "1"], "nothing to edit"),
        (["--steer", "the", "--edit-layers", "9"], "unknown layer '9'"),
        (["--steer", "the", "--edit-positions", "last"], "--edit-positions is 'last'"),
    ],
)
def test_what_cannot_be_is_one_line(folder, options, said):
    found = ran(folder, *options)
    assert found.exit_code == 2
    assert said in found.output
    assert len(found.output.strip().splitlines()) == 1

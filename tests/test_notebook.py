"""show_logit_lens() in a real IPython, and against a plain computation."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import bauklens
from bauklens import get_hidden_state_deltas, get_hidden_states, show_logit_lens
from tests.made import made
from tests.tiny import LAYERS, PROMPT, tiny_model, tiny_tokenizer

ROOT = Path(__file__).parents[1]


def plain_lens(model, states, k):
    """The notebook's own way: final norm, head, softmax of everything, top-k."""
    with torch.no_grad():
        return torch.softmax(model.lm_head(model.transformer.ln_f(states[:, 0])), dim=-1).topk(k)


@pytest.mark.parametrize("hs", [None, get_hidden_states, get_hidden_state_deltas], ids=["none", "states", "deltas"])
@pytest.mark.parametrize("name", ["gpt2", "gptj"])
def test_against_a_plain_computation(name, hs):
    model = tiny_model(name)
    states = (hs or get_hidden_states)(model, None, PROMPT)
    expected = plain_lens(model, states, 4)
    for given in (hs, hs and states, hs and states[:, 0], hs and (lambda *_: states[:, 0])):
        lens = show_logit_lens(model, None, PROMPT, 4, None, given)
        assert lens.layers == ("0", "1", "2")
        assert np.array_equal(lens.top_ids, expected.indices)
        assert np.allclose(lens.top_probs, expected.values, atol=1e-6)
        assert np.allclose(lens.magnitude, states[:, 0].norm(dim=-1), rtol=1e-5)
        assert lens.check["max_abs_logit_difference"] < 1e-4
        assert lens.stream == ("hidden" if hs is None else "given")


def test_the_notebooks_arguments(gpt2, tokenizer):
    lens = show_logit_lens(gpt2, tokenizer, "the city", topk=3, color=[200, 20, 20], hs=get_hidden_state_deltas)
    assert lens.topk == 3
    given = {"topk": 3, "color": (200, 20, 20), "hs": "get_hidden_state_deltas", "decoder": "logit"}
    assert lens.provenance["arguments"] == given


def test_the_result_is_a_result_like_any_other(gpt2, tokenizer, tmp_path):
    lens = show_logit_lens(gpt2, tokenizer, "the city")
    lens.save(tmp_path / "lens.json")
    assert bauklens.LensResult.load(tmp_path / "lens.json") == lens
    assert "<table" in lens._repr_html_()


@pytest.fixture(scope="module")
def shell():
    shell = InteractiveShell.instance()
    shell.run_cell("import bauklens; from bauklens import *; from IPython.display import display")
    shell.user_ns.update(model=tiny_model("gpt2"), tokenizer=tiny_tokenizer())
    yield shell
    InteractiveShell.clear_instance()


def tables(shell, code):
    """How many lens tables a cell shows, displayed and as its value."""
    ran = shell.run_cell(f"%%capture shown\n{code}", store_history=True)
    assert ran.success
    displayed = [output.data.get("text/html", "") for output in shell.user_ns["shown"].outputs]
    return sum(html.count("<table") for html in displayed), displayed


PLOTS = ["lens.plot()", "lens.plot(kind='trajectory')", "summarize([lens]).plot()"]


def pictures(shell, code):
    """How many pictures a cell shows, displayed and as its value."""
    assert shell.run_cell(f"%%capture shown\n{code}").success
    return sum("image/png" in output.data for output in shell.user_ns["shown"].outputs)


@pytest.fixture
def inline(shell, monkeypatch):
    """Pyplot as it is in a notebook: a figure of its own is shown when its cell ends."""
    monkeypatch.setattr(shell, "enable_gui", lambda _: None)  # what a kernel has, and a bare shell has not
    assert shell.run_cell("%matplotlib inline").success
    from matplotlib import pyplot

    assert "inline" in pyplot.get_backend()
    yield pyplot
    pyplot.close("all")
    assert shell.run_cell("%matplotlib agg").success
    pyplot.ioff()


@pytest.mark.parametrize("code", PLOTS)
def test_a_plot_is_shown_once_where_pyplot_shows_its_own_figures(shell, inline, code):
    shell.user_ns["lens"] = made()
    assert pictures(shell, "from matplotlib import pyplot; kept = pyplot.plot([1, 2])") == 1
    assert pictures(shell, code) == 1
    assert inline.get_fignums() == []


def test_a_plot_that_is_kept_is_not_shown(shell, inline):
    shell.user_ns["lens"] = made()
    assert pictures(shell, "figure = lens.plot()") == 0
    assert inline.get_fignums() == []


@pytest.mark.slow  # each starts a process
@pytest.mark.parametrize("code", PLOTS)
def test_a_plot_is_shown_once_where_pyplot_was_never_imported(code):
    cell = f"""
import sys
from IPython.core.interactiveshell import InteractiveShell
from bauklens import summarize
from tests.made import made
shell = InteractiveShell.instance()
shell.user_ns.update(lens=made(), summarize=summarize)
assert shell.run_cell({f"%%capture shown{chr(10)}{code}"!r}).success
print([sorted(output.data) for output in shell.user_ns["shown"].outputs], "matplotlib.pyplot" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", cell], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.splitlines()[-1] == "[['image/png', 'text/plain']] False"


def test_a_result_shows_itself(shell):
    count, displayed = tables(shell, "logit_lens(model, tokenizer, 'the city')")
    assert count == 1
    assert "<style>" in displayed[0]


def test_show_shows_once_also_as_the_last_line_of_a_cell(shell):
    count, displayed = tables(shell, "kept = show_logit_lens(model, tokenizer, 'the city', color='#088')")
    assert count == 1
    assert re.search(r'class="bauklens classic" data-viewer="\w+" style="--classic:#088"', displayed[0])
    assert tables(shell, "show_logit_lens(model, tokenizer, 'the city')")[0] == 1
    assert tables(shell, "for each in ('the', 'city'): show_logit_lens(model, tokenizer, each)")[0] == 2
    assert tables(shell, "kept")[0] == 1
    assert tables(shell, "display(kept)")[0] == 1


@pytest.mark.parametrize(
    ("hs", "message"),
    [
        (
            torch.zeros(LAYERS, 1, 4, 32),
            r"hs must be a torch tensor \(layer, 10, 32\) or \(layer, 1, 10, 32\).*got shape \(3, 1, 4, 32\)",
        ),
        (torch.zeros(LAYERS, len(PROMPT) - 1, 32), r"got shape \(3, 9, 32\)"),
        (torch.zeros(LAYERS, len(PROMPT), 31), r"got shape \(3, 10, 31\)"),  # [:, :, 1:], after the batch axis was lost
        (torch.zeros(LAYERS, 2, len(PROMPT), 32), "got shape"),
        (torch.zeros(len(PROMPT), 32), r"got shape \(10, 32\)"),
        (torch.zeros(0, 1, len(PROMPT), 32), "got shape"),
        (torch.zeros(0, len(PROMPT), 32), "got shape"),
        (torch.tensor(1.0), r"got shape \(\)"),
        (lambda model, tokenizer, prompt: None, "got NoneType"),
        (torch.full((1, 1, len(PROMPT), 32), torch.nan), "hs contains NaN or infinity"),
    ],
)
def test_states_of_another_shape(gpt2, hs, message):
    with pytest.raises(bauklens.LensError, match=message):
        show_logit_lens(gpt2, None, PROMPT, hs=hs)

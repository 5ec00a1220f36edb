"""show_logit_lens() in a real IPython, and against a plain computation."""

import re
import subprocess
import sys
from pathlib import Path

import bleach
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from playwright.sync_api import expect

import bauklens
from bauklens import get_hidden_state_deltas, get_hidden_states, show_logit_lens
from bauklens.show import payload
from bauklens.show.page import fragment
from tests.made import made, unpacked
from tests.tiny import LAYERS, PROMPT, tiny_model, tiny_tokenizer

ROOT = Path(__file__).parents[1]
GITHUB = frozenset(
    [
        "h1",
        "h2",
        "h3",
        "b",
        "i",
        "strong",
        "em",
        "a",
        "pre",
        "code",
        "img",
        "div",
        "ins",
        "del",
        "p",
        "ol",
        "ul",
        "li",
        "table",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "td",
        "th",
        "dl",
        "dt",
        "dd",
        "br",
        "hr",
        "s",
        "strike",
        "summary",
        "details",
        "caption",
        "figure",
        "figcaption",
        "small",
        "span",
        "sub",
        "sup",
        "bdo",
        "mark",
        "time",
        "wbr",
    ]
)
"""Elements that GitHub leaves in an output, as its documentation of Markdown lists them."""


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

    pyplot.close("all")  # a figure of another test would be drawn in, and is not shown
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
from bauklens.show.page import fragment
from tests.made import made, unpacked
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
    assert "<style" in displayed[0]


def test_show_shows_once_also_as_the_last_line_of_a_cell(shell):
    count, displayed = tables(shell, "kept = show_logit_lens(model, tokenizer, 'the city', color='#088')")
    assert count == 1
    assert re.search(r'class="bauklens classic" data-viewer="\w+" style="--classic:#088"', displayed[0])
    assert tables(shell, "show_logit_lens(model, tokenizer, 'the city')")[0] == 1
    assert tables(shell, "for each in ('the', 'city'): show_logit_lens(model, tokenizer, each)")[0] == 2
    assert tables(shell, "kept")[0] == 1
    assert tables(shell, "display(kept)")[0] == 1


class TestLists:
    def test_a_list_of_results_is_one_viewer(self, shell):
        _, displayed = tables(
            shell, "results = [logit_lens(model, tokenizer, each) for each in ('the city', 'a sea')]; results"
        )
        assert [html.count("<figure") for html in displayed] == [1]
        assert displayed[0].count("<table") == 2
        assert "<b><bdi>a sea</bdi></b>: hidden states of" in displayed[0]
        assert tables(shell, "display(results)")[0] == 2

    def test_other_lists_are_shown_as_ever(self, shell):
        for code in ("[1, 2]", "[]", "[logit_lens(model, tokenizer, 'the'), 1]"):
            assert tables(shell, code)[0] == 0

    def test_a_formatter_of_the_users_own_goes_on(self, shell):
        html = shell.display_formatter.formatters["text/html"]
        before = html.for_type(list)
        html.for_type(list, lambda items: f"<b>{len(items)}</b>")
        try:
            _, displayed = tables(shell, "results = [logit_lens(model, tokenizer, 'the')]; display([1, 2]); results")
            assert displayed[0] == "<b>2</b>"
            assert displayed[1].count("<table") == 1
        finally:
            html.for_type(list, before)

    def test_of_very_many_the_first_are_shown_and_a_sentence_says_so(self, shell):
        shell.user_ns["lens"] = made()
        _, displayed = tables(shell, "[lens] * 40")
        assert displayed[0].count("<table") == 12
        assert "These are the first 12 of 40 results; bauklens.save_report(results, path) writes all." in displayed[0]

    def test_what_a_cell_has_shown_is_not_shown_again_as_its_value(self, shell):
        code = "show_logit_lens(model, tokenizer, 'the city', decoder=['logit', lambda states, layers: states])"
        assert tables(shell, f"kept = {code}")[0] == 2
        assert tables(shell, code)[0] == 2
        assert tables(shell, "kept")[0] == 2


def test_in_a_script_a_line_says_that_nothing_is_shown(gpt2, tokenizer, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", None)
    show_logit_lens(gpt2, tokenizer, "the city")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "show_logit_lens: this is not a notebook, so nothing is shown; to write a page, keep what it returns and call "
        'lens.to_html("lens.html", look="classic")\n'
    )


USED = set()
"""Ids of cells of earlier tests."""


class TestOutputs:
    """What a notebook holds of them."""

    @pytest.fixture
    def cells(self, shell, monkeypatch):
        """Runs code as one cell of a notebook after another, in a frontend that tells their ids -> HTML of each."""
        running = {"deletedCells": [*USED]}  # so that the next cell is the first
        monkeypatch.setattr(type(shell), "get_parent", lambda _: {"metadata": running}, raising=False)

        def run(code, cell):
            running["cellId"] = cell
            USED.add(cell)
            return tables(shell, code)[1]

        return run

    @pytest.mark.slow
    def test_ten_outputs_of_ten_tokens_are_below_1_2_mb(self, shell, cells, eiffel):
        shell.user_ns["eiffel"] = eiffel
        outputs = [html for cell in "abcdefghij" for html in cells("eiffel", cell)]
        assert len(eiffel.tokens) == len(outputs) == 10
        assert sum(len(html.encode()) for html in outputs) < 1_200_000
        assert [("function mount(" in html, "<style" in html) for html in outputs[:2]] == [(True, True), (False, False)]

    def test_outputs_after_the_first_work_and_look_alike_also_when_it_is_gone(self, shell, cells, opening):
        shell.user_ns["lens"] = made()
        first, second = (cells("lens", cell)[0] for cell in ("one", "two"))
        assert len(second) < len(first) / 4
        page, _, complaints = opening(f"<!doctype html><meta charset=utf-8><div id=a>{first}</div><div id=b></div>")
        page.locator("#a figure.mounted").wait_for()
        page.evaluate("document.getElementById('a').remove()")
        page.evaluate(
            "(html) => document.getElementById('b').append(document.createRange().createContextualFragment(html))",
            second,
        )
        page.locator("#b figure.mounted").wait_for()
        assert page.locator(".panel").evaluate("(panel) => getComputedStyle(panel).display") == "grid"
        expect(page.locator("head style.bauklens-style")).to_have_count(1)
        assert complaints == []

    @pytest.mark.parametrize("look", ["default", "classic"])
    def test_what_remains_on_github_reads(self, opening, look):
        html = sanitised(fragment(made(3, 4, 2, texts=["The", " city", " of", "Paris"]), look=look))
        assert not re.search("style=|class=|<style|<script", html)
        page, _, _ = opening(f"<!doctype html><meta charset=utf-8>{html}")
        assert page.locator("thead th").all_inner_texts() == ["layer", "0\nThe", "1\n␣city", "2\n␣of", "3\nParis"]
        assert page.locator("tbody tr").first.locator("td").all_inner_texts() == ["The 0.50", "␣of 0.50"] * 2
        assert (
            page.locator("p").first.inner_text().startswith("Each cell: the most probable token and its probability.")
        )
        assert "aaa" not in page.inner_text("body")

    def test_numbers_are_those_of_the_result_to_five_digits(self):
        lens = made(probabilities=np.random.default_rng(0).uniform(0.1, 0.2, (3, 4, 2)))
        held = unpacked(fragment(lens))["probability"]
        assert np.abs(held / lens.top_probs.ravel() - 1).max() < 2e-5
        assert np.array_equal(unpacked(lens.to_html())["probability"], lens.top_probs.ravel())

    @pytest.mark.parametrize(("limit", "digits"), [("", 5), ("LOSSLESS", 4), ("MANY", 3)])
    def test_the_smallest_and_the_largest_numbers_stay_as_they_are(self, limit, digits, monkeypatch):
        if limit:
            monkeypatch.setattr(payload, "LOSSLESS", 0)
            monkeypatch.setattr(payload, limit, 0)
        values = [
            0.0,
            -0.0,
            1e-45,
            3e-45,
            -3e-40,
            1.17e-38,
            1.18e-38,
            -3.4028235e38,
            3.4028235e38,
            np.inf,
            -np.inf,
            np.nan,
        ]
        values = np.float32(values).reshape(3, 4)
        probabilities = np.resize(np.float32([1, 1.17e-38, 3e-40, 1e-45, 1, 0]), (3, 4, 2))
        lens = made(probabilities=probabilities, measures={"max_logit": values})
        held = unpacked(lens.to_html() if limit else fragment(lens))
        within = {"rtol": 10 ** (1 - digits), "atol": 0, "equal_nan": True}
        assert np.allclose(held["measure max_logit"].astype(float), values.ravel().astype(float), **within)
        assert np.allclose(held["probability"].astype(float), probabilities.ravel().astype(float), **within)


def sanitised(html):
    """What GitHub leaves of an output: neither style nor script, no class and no colour."""
    html = re.sub(r"<(style|script)\b.*?</\1>", "", html, flags=re.DOTALL)
    return bleach.clean(html, tags=GITHUB, attributes={"*": ["title", "scope", "colspan", "rowspan"]}, strip=True)


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

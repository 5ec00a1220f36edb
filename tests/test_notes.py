"""Notes: what a reader should know of a prompt, a model or a reading, under the table and in files."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bauklens.errors import LensError
from bauklens.lens.options import Options
from bauklens.lens.plan import planned
from bauklens.lens.prompted import prompted
from bauklens.result.comparison import compare
from bauklens.result.result import LensResult
from bauklens.show.page import page
from bauklens.show.terminal import print_comparison, print_decoders, print_position
from bauklens.stream.states import trace_stream
from tests.made import HOSTILE, made
from tests.tiny import PROMPT

NOTE = "The prompt begins with <s> twice."
OTHER = "Blocks 3 and 8 did not run."


def printed(show, *arguments):
    console = Console(file=io.StringIO(), width=200, color_system=None)
    show(*arguments, console=console)
    return console.file.getvalue()


def under_the_table(html):
    return html.partition("</table>")[2].partition("<script")[0]


def test_a_result_has_none_by_default():
    assert made().notes == ()
    assert 'class="note"' not in under_the_table(made().to_html())


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_file_keeps_them(tmp_path, suffix):
    result = made(notes=[NOTE, OTHER])
    result.save(tmp_path / f"lens.{suffix}")
    assert LensResult.load(tmp_path / f"lens.{suffix}").notes == (NOTE, OTHER)
    assert LensResult.load(tmp_path / f"lens.{suffix}") == result != made()


def test_a_file_that_has_none_is_read():
    data = made().to_dict()
    del data["notes"]
    assert LensResult.from_dict(data).notes == ()


@pytest.mark.parametrize("notes", [NOTE, [1], {"a": "b"}, None])
def test_others_than_texts_are_refused(notes):
    with pytest.raises(LensError, match="notes are not texts"):
        LensResult.from_dict(made().to_dict() | {"notes": notes})


def test_a_part_keeps_them():
    assert made(notes=[NOTE]).part(["0"], [1, 2]).notes == (NOTE,)


def test_a_run_hands_them_on(gpt2):
    options = Options(topk=2)
    given = replace(prompted(gpt2, None, PROMPT, options), notes=(NOTE,))
    plan = planned(gpt2, None, given.inputs, options)
    stream = trace_stream(gpt2, plan.anatomy, given.inputs, plan.tracing)
    run = plan.run(gpt2, None, PROMPT, given, stream)
    assert [result.notes for result, _ in plan.results(run)] == [(NOTE,)]


class TestShown:
    def test_a_page_says_each_under_the_table(self):
        html = under_the_table(made(notes=[NOTE, OTHER]).to_html())
        assert html.count('<p class="note">') == 2
        assert html.index("begins with &lt;s&gt; twice") < html.index("did not run") < html.index('class="check"')

    def test_several_results_say_what_they_share_once(self):
        results = [made(notes=[NOTE]), made(notes=[NOTE, OTHER], stream="delta")]
        html = page(results).rpartition("</table>")[2].partition("<script")[0]
        assert html.count("twice") == 1
        assert html.count("<bdi>Deltas between layers</bdi></b>: <bdi>Blocks") == 1

    def test_a_comparison_says_whose_they_are(self):
        compared = compare(made(notes=[NOTE]), made(notes=[OTHER], model="another"))
        html = under_the_table(compared.to_html())
        assert "<b><bdi>made</bdi></b>: <bdi>The prompt" in html
        assert "<b><bdi>another</bdi></b>: <bdi>Blocks" in html
        said = printed(print_comparison, compared, 0)
        assert f"made: {NOTE}" in said
        assert f"another: {OTHER}" in said

    def test_a_terminal_prints_them(self):
        assert f"\n{NOTE}\n" in printed(print_position, made(notes=[NOTE]), 0)
        through = replace(made(notes=[NOTE, OTHER]), decoder="demo")
        said = printed(print_decoders, [made(notes=[NOTE]), through], 0)
        assert said.count(NOTE) == 1
        assert f"demo: {OTHER}" in said

    def test_a_character_of_several_tokens_is_read_over_the_table(self):
        result = made(texts=["a", " ⟨F0⟩⟨9F⟩", "⟨A5⟩⟨A8⟩", "“"])
        html = result.to_html()
        assert html.count("<bdi>␣🥨</bdi>") == html.count("<bdi>←</bdi>") == 2
        assert 'title="position 2: ⟨A5⟩⟨A8⟩, part of 🥨"' in html
        assert "position 2: ⟨A5⟩⟨A8⟩, part of 🥨\n" in printed(print_position, result, 2)
        assert result.tokens == ("a", " ⟨F0⟩⟨9F⟩", "⟨A5⟩⟨A8⟩", "“")

    def test_they_are_hostile(self):
        notes = [*HOSTILE, "\x1b[31m"]
        html = under_the_table(made(notes=notes).to_html())
        assert "<img" not in html
        assert html.count('class="note"') == len(set(notes)) < len(notes)
        assert "\x1b" not in printed(print_position, made(notes=notes), 0)

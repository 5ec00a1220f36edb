"""A report of several results: a table first, which sorts, filters and opens one viewer at a time."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

import bauklens
from bauklens.show.overview import overview
from bauklens.show.page import page as page_html
from tests.made import HOSTILE, made
from tests.test_access import AXE
from tests.test_prompts import CHAT, ROLES, tokenizer_with
from tests.test_viewer import rising

TEXTS = [" Paris", " Rome", "the"]


def leading(tops, prompt, **changes):
    """A lens whose top token at the last position is each of these in turn, 0.5 probable, before another, 0.25."""
    rows = len(tops)
    ids = np.full((rows, 3, 2), 2)
    ids[:, -1, 0] = tops
    ids[:, -1, 1] = [1 - top if top < 2 else 0 for top in tops]
    ids[:, :2, 1] = 0
    probabilities = np.zeros((rows, 3, 2)) + np.array([0.5, 0.25])
    entropy = np.full((rows, 3), 1.0 + len(prompt))
    fields = {"top_ids": ids, "probabilities": probabilities, "measures": {"entropy": entropy}, "prompt": prompt}
    return made(rows, 3, 2, texts=TEXTS, tokens=["a", "b", prompt], **fields | changes)


LENSES = [
    leading([2, 0, 0, 0], "the tower"),
    leading([1, 0, 1, 1], "the colosseum"),
    leading([2, 2, 2, 0], "a capital"),
]


def apart(lenses):
    """The same with other tokens each, so that none share a viewer."""
    return [replace(lens, token_ids=lens.token_ids + number) for number, lens in enumerate(lenses)]


@pytest.fixture
def report(opening):
    """Opens results as a report -> its page, when it works."""

    def open_report(results, **options):
        page, asked, complaints = opening(page_html(results, title="T"), **options)
        page.locator("table.overview.live").wait_for()
        page.locator("figure.mounted").first.wait_for()
        assert (asked, complaints) == ([], [])
        return page

    return open_report


def prompts(page):
    return [each.strip() for each in page.locator(".overview tbody tr:visible th").all_text_contents()]


def open_results(page):
    return page.locator("details.result[open] > summary").all_text_contents()


class TestRows:
    def test_what_a_row_says(self):
        first, second, third = overview([[("the tower", LENSES[0])], [("R", LENSES[1])], [("a capital", LENSES[2])]])
        assert [each.decided for each in (first, second, third)] == ["0", "1", "2"]
        assert [each.answer for each in (first, second, third)] == ["␣Paris", "␣Rome", "␣Paris"]
        assert [each.heading for each in (first, second)] == ["", "R"]
        assert (first.probability, first.entropy, first.lens) == (0.5, 10.0, "")
        heights = [float(point.split(",")[1]) for point in first.line.split()]
        assert heights == [14.5, 10, 10, 10]  # 0.25 as the second, then 0.5, of 20 pixels with one at each edge
        assert "at most 0.500, 0.500 in the last" in first.told

    def test_a_token_that_leads_in_every_row_is_decided_in_the_first_and_one_that_leads_late_in_the_last(self):
        for tops, decided in (([0, 0, 0], "embed"), ([0, 0, 1], "1"), ([1], "embed")):
            (entry,) = overview([[("", leading(tops, "x"))]])
            assert entry.decided == decided

    def test_the_line_takes_targets_where_they_are_known(self):
        known = np.full((4, 3), 0.125)
        target = {"text": " Paris", "token_ids": (0,), "part": "token", "note": ""}
        target |= {"probability": known, "logit": known, "rank": known + 1}
        (entry,) = overview([[("", leading([2, 0, 0, 0], "x", targets=[target]))]])
        assert {point.split(",")[1] for point in entry.line.split()} == {"16.8"}

    def test_lenses_of_a_section_are_told_apart_by_what_they_differ_in(self):
        lens = LENSES[0]
        delta = replace(lens, stream="delta")
        both = bauklens.compare(lens, LENSES[2])
        found = overview([[("", lens), ("", delta)], [("", both)]])
        assert [each.section for each in found] == [1, 1, 2, 2]
        assert [each.lens for each in found[2:]] == [*both.names]
        assert found[0].lens != found[1].lens

    def test_a_result_without_entropy_has_none(self):
        (entry,) = overview([[("", leading([0], "x", measures={}))]])
        assert entry.entropy is None


def test_one_result_has_no_table():
    assert '<table class="overview"' not in page_html([LENSES[0]])
    assert '<table class="overview"' not in page_html([LENSES[0], replace(LENSES[0], stream="delta")])


class TestTable:
    def test_it_opens_one_result_at_a_time_and_mounts_it_then(self, report):
        page = report(apart(LENSES))
        assert prompts(page) == ["the tower", "the colosseum", "a capital"]
        assert open_results(page) == ["the tower"]
        expect(page.locator("figure.mounted")).to_have_count(1)
        expect(page.locator(".viewer:visible")).to_have_count(1)
        page.get_by_role("link", name="a capital").click()
        page.locator("figure.mounted").nth(1).wait_for()
        assert open_results(page) == ["a capital"]
        expect(page.locator(".viewer:visible")).to_have_count(1)
        assert page.locator("tr[aria-current] th").all_text_contents() == ["a capital"]
        page.locator(".overview tbody tr", has_text="the colosseum").locator("svg").click()  # anywhere in a row
        page.locator("figure.mounted").nth(2).wait_for(state="attached")
        assert open_results(page) == ["the colosseum"]
        page.go_back()
        page.locator("tr[aria-current]", has_text="a capital").wait_for()
        assert open_results(page) == ["a capital"]

    def test_it_sorts_by_a_click_or_a_key_up_and_down(self, report):
        page = report(apart(LENSES))
        head = page.get_by_role("columnheader", name="decided at layer")
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert prompts(page) == ["the tower", "the colosseum", "a capital"]
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert prompts(page) == ["a capital", "the colosseum", "the tower"]
        page.get_by_role("button", name="prompt").click()
        assert head.get_attribute("aria-sort") is None
        assert prompts(page) == ["a capital", "the colosseum", "the tower"]
        expect(page.locator(".overview th.still button")).to_have_count(0)

    def test_rows_without_a_number_are_last_either_way(self, report):
        page = report(apart([leading([0], "none", measures={}), *LENSES[:2]]))
        button = page.get_by_role("button", name="entropy (nats)")
        for order in (["the tower", "the colosseum", "none"], ["the colosseum", "the tower", "none"]):
            button.click()
            assert prompts(page) == order

    def test_it_filters_by_words_in_the_prompt_or_the_answer(self, report):
        page = report(apart(LENSES))
        box = page.get_by_role("searchbox", name="filter results")
        box.fill("PARIS the")
        assert prompts(page) == ["the tower"]
        assert page.locator(".found").text_content() == "1 of 3 results"
        box.fill("nothing of it")
        assert prompts(page) == []
        box.fill("")
        assert len(prompts(page)) == 3

    @pytest.mark.parametrize("width", [1400, 900, 412])
    def test_a_narrow_page_does_not_scroll_sideways(self, report, width):
        page = report(apart(LENSES), width=width)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def test_a_link_to_the_view_of_another_result_opens_it(self, report, opening):
        page = report(apart(LENSES))
        page.get_by_role("link", name="a capital").click()
        page.locator("figure.mounted").nth(1).wait_for()
        page.evaluate("location.hash = ''")
        found = "lens-2=" + "eyJwaW5zIjpbXX0"
        page, _, _ = opening(page_html(apart(LENSES), title="T"), fragment=f"#{found}")
        page.locator("figure.mounted").wait_for()
        assert open_results(page) == ["a capital"]

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_finds_nothing_serious(self, opening, scheme):
        html = re.sub("<meta http-equiv=.*?>", "", page_html(apart(LENSES), title="T"))  # so that axe itself may run
        page, _, _ = opening(html, scheme=scheme)
        page.locator("figure.mounted").wait_for()
        page.get_by_role("button", name="answer").click()
        page.add_script_tag(path=AXE)
        found = page.evaluate("axe.run().then((found) => found.violations)")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in serious] == []

    def test_hostile_texts(self, report):
        lenses = apart([replace(lens, prompt=text) for lens, text in zip(LENSES, HOSTILE, strict=False)])
        page = report([(HOSTILE[3], lenses[0]), *lenses[1:]])
        assert page.evaluate("window.ran === undefined")
        expect(page.locator(".overview tbody tr")).to_have_count(3)

    @pytest.mark.slow
    def test_a_hundred_results_open_fast(self, report):
        lenses = [replace(rising(31, 10), prompt=f"prompt {n}", token_ids=np.arange(10) + n) for n in range(100)]
        html = page_html(lenses, title="T")
        assert 'title="layer' not in html  # hover texts, which are half of a table
        began = time.monotonic()
        page = report(lenses)
        assert time.monotonic() - began < 20
        expect(page.locator("figure.mounted")).to_have_count(1)


class TestWithoutScript:
    def test_the_table_reads_and_its_links_open_the_results(self, opening):
        page, _, _ = opening(page_html(apart(LENSES), title="T"), script=False)
        assert prompts(page) == ["the tower", "the colosseum", "a capital"]
        assert page.locator(".overview tbody tr").nth(1).locator("td").all_text_contents()[:3] == [
            "␣Rome",
            "0.500",
            "1",
        ]
        expect(page.locator(".overview svg polyline")).to_have_count(3)
        expect(page.locator("table.lens:visible")).to_have_count(1)
        page.get_by_role("link", name="a capital").click()
        page.locator("#result-3 table.lens").wait_for(state="visible")
        expect(page.locator("details.result > summary:visible")).to_have_count(3)

    def test_results_open_with_a_click(self, opening):
        page, _, _ = opening(page_html(apart(LENSES), title="T"), script=False)
        page.locator("details.result > summary").nth(1).click()
        assert open_results(page) == ["the colosseum"]  # one at a time here too


class TestTitles:
    def test_a_chat_is_called_by_its_last_message(self, gpt2):
        lens = bauklens.logit_lens(gpt2, tokenizer_with(template=ROLES), messages=CHAT)
        assert lens.provenance["arguments"]["last_message"] == CHAT[-1]["content"]
        html = lens.to_html()
        assert f">{CHAT[-1]['content']}</bdi></h1>" in html
        loaded = bauklens.LensResult.from_dict(lens.to_dict())
        assert f">{CHAT[-1]['content']}</bdi></h1>" in loaded.to_html()

    def test_a_prompt_is_no_chat(self, gpt2, tokenizer):
        assert "last_message" not in bauklens.logit_lens(gpt2, tokenizer, "the city").provenance["arguments"]

    def test_a_long_prompt_is_cut_after_a_word(self):
        html = page_html([replace(LENSES[0], prompt="the city of light " * 40)])
        shown = re.search(r"<h1><bdi[^>]*>(.*?)</bdi></h1>", html)[1]
        assert len(shown) < 170
        assert re.search(r" (the|city|of|light)…$", shown)
        assert html.count("the city of light " * 40) >= 1  # all of it is in the provenance

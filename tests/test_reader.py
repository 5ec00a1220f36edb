"""The reader beside the table, the prompt as a text to click on, and what measures mean, in a real browser."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from bauklens.show.page import page as page_html
from tests.made import made
from tests.pictured import pictured
from tests.test_access import AXE
from tests.test_viewer import TEXTS, cell, rising


@pytest.fixture
def viewer(opening):
    """Opens results in the viewer -> the page; nothing may be fetched, and nothing complained of."""
    opened = []

    def open_viewer(results):
        page, asked, complaints = opening(page_html(results, title="T"))
        page.locator("figure.mounted").wait_for()
        opened.append((asked, complaints))
        return page

    yield open_viewer
    for asked, complaints in opened:
        assert (asked, complaints) == ([], [])


def tab(page, name):
    return page.get_by_role("button", name=name, exact=True)


def lines(page):
    """Each line's label and tokens, as they are read."""
    return page.locator(".readline").evaluate_all(
        "all => all.map((line) => [...line.children].map((each) => each.textContent).join(' | '))"
    )


def label(page, name):
    return page.get_by_role("rowheader", name=name, exact=True)


class TestReader:
    def test_a_position_at_every_layer_and_a_layer_at_every_position(self, viewer):
        page = viewer([rising()])
        assert page.locator(".reader").is_hidden()
        tab(page, "Every layer").click()
        assert page.locator(".trajectories").is_hidden()
        first = "␣b | ␣Paris | a"
        later = "␣Paris | ␣b | a"
        assert lines(page) == [
            *(f"{name} | {first}" for name in ("embed", "0", "1", "2")),
            *(f"{name} | {later}" for name in "34"),
        ]
        assert page.locator(".readline.chosen .label").text_content() == "4"
        page.locator(".reader").get_by_role("rowheader", name="layer 1", exact=True).click()
        assert page.locator(".place small").text_content() == "layer 1, position 4"
        assert page.locator(".readline.chosen .label").text_content() == "1"
        tab(page, "Every position").click()
        assert lines(page)[0] == "0a | a | ␣b | c↵"
        assert lines(page)[4] == f"4␣Paris | {first}"
        page.locator(".readline .word", has_text="␣Paris").click()
        assert page.locator(".word.pinned").evaluate_all("all => all.map((each) => each.textContent)") == ["●␣Paris"]
        expect(page.locator(".pinbar .chip")).to_have_count(1)
        assert page.evaluate("document.activeElement.matches('.word.pinned')")

    def test_the_view_is_kept(self, viewer):
        page = viewer([rising()])
        tab(page, "Every position").click()
        page.get_by_label("words only").locator("visible=true").check()
        page.wait_for_timeout(400)
        page.reload()
        page.locator("figure.mounted").wait_for()
        assert tab(page, "Every position").get_attribute("aria-pressed") == "true"
        assert page.get_by_label("words only").locator("visible=true").is_checked()

    def test_of_words_only(self, viewer):
        ids = np.zeros((6, 5, 3), dtype=int) + np.array([5, 4, 2])
        page = viewer([rising(top_ids=ids)])
        tab(page, "Every layer").click()
        assert lines(page)[0] == "embed | ↵ | ␣Paris | c↵"
        page.get_by_label("words only").locator("visible=true").check()
        assert lines(page)[0] == "embed | ␣Paris"
        assert page.locator(".word").first.get_attribute("aria-label") == "␣Paris, rank 2, 0.250"
        assert cell(page, 2, 2).text_content() == "·"
        tab(page, "Charts").click()
        page.locator("summary", has_text="View").click()
        page.get_by_label("words only").locator("visible=true").uncheck()
        assert cell(page, 2, 2).text_content() == "↵"

    def test_by_keyboard(self, viewer):
        page = viewer([rising()])
        tab(page, "Every layer").click()
        page.locator(".cell.chosen").focus()
        page.keyboard.press("Enter")
        said = "document.activeElement.getAttribute('aria-label')"
        assert page.evaluate(said) == "layer 4"
        for key, there in [
            ("ArrowRight", "␣Paris, rank 1, 0.500"),
            ("End", "a, rank 3, 0.125"),
            ("Control+Home", "the embedding"),
            ("ArrowDown", "layer 0"),
            ("ArrowRight", "␣b, rank 1, 0.500"),
        ]:
            page.keyboard.press(key)
            assert page.evaluate(said) == there
        page.keyboard.press("Enter")
        assert page.evaluate(said) == "␣b, rank 1, 0.500, pinned ●"
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        assert page.locator(".place small").text_content() == "layer 0, position 4"
        expect(page.locator(".reader [tabindex='0']")).to_have_count(1)
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.matches('.cell.chosen')")

    def test_with_shift_it_follows_the_pointer(self, viewer):
        page = viewer([rising()])
        tab(page, "Every layer").click()
        chosen, place = page.locator(".readline.chosen .label"), page.locator(".place small")
        cell(page, 1, 2).hover()
        assert (place.text_content(), chosen.text_content()) == ("layer 1, position 2", "4")
        page.keyboard.down("Shift")
        cell(page, 2, 2).hover()
        assert (place.text_content(), chosen.text_content()) == ("layer 2, position 2", "2")
        assert "position 2" in page.locator(".reader .note").text_content()
        page.get_by_role("option", name="position 1: ␣b").hover()
        assert "position 1" in page.locator(".reader .note").text_content()
        page.keyboard.up("Shift")
        page.mouse.move(2, 2)
        assert (place.text_content(), chosen.text_content()) == ("layer 4, position 4", "4")

    def test_of_very_many_positions_only_some_are_in_the_document(self, viewer):
        ids = np.zeros((2, 4096, 2), dtype=int) + np.array([0, 1])
        page = viewer([made(2, 4096, 2, texts=TEXTS, top_ids=ids)])
        tab(page, "Every position").click()
        assert 5 < page.locator(".readline").count() < 60
        assert page.locator(".readline.chosen").is_visible()
        expect(page.locator(".piece")).to_have_count(1500)
        page.get_by_role("button", name="2,596 before").click()
        assert page.locator(".place small").text_content() == "layer 0, position 2595"
        assert page.locator(".piece[aria-selected=true]").is_visible()
        assert page.locator(".readline.chosen .label").text_content().startswith("2595")
        box = page.locator(".lines")
        box.evaluate("(box) => { box.scrollTop = 24 * 1000; }")
        label(page, re.compile(r"^position 1005 ")).wait_for()
        assert page.locator(".readline").count() < 60

    @pytest.mark.parametrize("width", [1400, 412])
    def test_nothing_overflows_and_axe_finds_nothing_serious(self, opening, width):
        html = re.sub("<meta http-equiv=.*?>", "", page_html([rising()], title="T"))  # so that axe itself may run
        page, _, complaints = opening(html, scheme="dark", width=width)
        page.locator("figure.mounted").wait_for()
        tab(page, "Every position").click()
        page.locator(".word").first.click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.add_script_tag(path=AXE)
        found = page.evaluate("axe.run().then((found) => found.violations)")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in serious] == []
        assert complaints == []


class TestText:
    def test_its_tokens_choose_positions(self, viewer):
        page = viewer([rising(generated_from=3)])
        pieces = page.locator(".piece")
        assert pieces.all_text_contents() == ["a", " b", "c↵\n", "é", " Paris"]
        assert page.locator(".piece.generated").all_text_contents() == ["é", " Paris"]
        assert page.locator(".piece[aria-selected=true]").text_content() == " Paris"
        pieces.nth(1).click()
        assert page.locator(".place small").text_content() == "layer 4, position 1"
        for key, position in [("ArrowRight", 2), ("End", 4), ("ArrowRight", 4), ("Home", 0)]:
            page.keyboard.press(key)
            assert page.locator(".place small").text_content() == f"layer 4, position {position}"
            assert page.evaluate("document.activeElement.matches('.piece[tabindex=\"0\"][aria-selected=true]')")
        expect(page.locator(".piece[tabindex='0']")).to_have_count(1)

    def test_an_image_is_one_piece_of_it(self, opening):
        page, _, complaints = opening(page_html([pictured((3, 4))], title="T"))
        page.locator("figure.mounted").wait_for()
        assert page.locator(".piece").all_text_contents() == [" Look", "image 1", ":", " a"]
        page.locator(".piece.part").click()
        assert page.locator(".place span").text_content().startswith("image 1, 3 ")
        tab(page, "Every position").click()
        assert len(lines(page)) == 15
        assert lines(page)[1] == "11·1 | ␣sky | ␣dog | ␣a"
        page.get_by_role("rowheader", name="position 2 1·2").click()
        assert page.locator(".place small").text_content() == "layer 2, position 2"
        assert page.locator(".piece[aria-selected=true]").text_content() == "image 1"
        assert complaints == []


def test_what_a_measure_means_is_shown_on_focus_and_under_the_pointer(viewer):
    page = viewer([rising()])
    term = page.get_by_role("button", name="entropy", exact=True)
    meaning = page.locator(".meaning", has_text="how spread out")
    assert meaning.is_hidden()
    term.focus()
    assert meaning.inner_text().endswith("(nats)")
    assert term.get_attribute("aria-describedby") == meaning.get_attribute("id")
    cell(page, 1, 2).hover()
    assert page.evaluate("document.activeElement.textContent") == "entropy"
    page.locator(".cell.chosen").focus()
    assert meaning.is_hidden()
    term.hover()
    assert meaning.is_visible()

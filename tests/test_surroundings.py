"""The viewer on paper, in forced colours, and on a phone."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from playwright.sync_api import expect

from bauklens.show.page import page as page_html
from tests.made import made
from tests.pictured import pictured
from tests.test_pins import followed
from tests.test_viewer import cell, rising

PAPER = 718
"""Pixels between the margins of A4."""


@pytest.fixture
def shown(opening):
    """Opens results in the viewer, with or without script -> the page."""

    def show(results, *, script=True, **options):
        page, _, _ = opening(page_html(results, title="T"), script=script, **options)
        if script:
            page.locator("figure.mounted").first.wait_for()
        return page

    return show


@pytest.fixture
def phone(browser, tmp_path):
    """Opens results on a phone -> the page."""
    contexts = []

    def show(results):
        file = tmp_path / "page.html"
        file.write_text(page_html(results, title="T"), encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": 412, "height": 915}, has_touch=True, is_mobile=True))
        page = contexts[-1].new_page()
        page.goto(file.as_uri())
        page.locator("figure.mounted").first.wait_for()
        return page

    yield show
    for context in contexts:
        context.close()


def ten():
    """A lens as deep as the demo model, over ten tokens."""
    return made(29, 10, 3, texts=[" token", " Paris", " is"], magnitude=np.ones((29, 10)))


def centre(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def swipe(page, start, end, *, aside=0):
    """A finger that goes from one place of the screen to another, at first so many pixels to the side."""
    touch = page.context.new_cdp_session(page)
    begun = (start[0] + aside, start[1])
    way = [start, *([begun] if aside else [])]
    way += [tuple(one + (other - one) * step / 10 for one, other in zip(begun, end, strict=True)) for step in range(11)]
    for step, (x, y) in enumerate([*way, end]):
        kind = "touchStart" if step == 0 else "touchEnd" if step == len(way) else "touchMove"
        points = [] if kind == "touchEnd" else [{"x": x, "y": y}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def on_paper(page, width=PAPER):
    page.set_viewport_size({"width": width, "height": 1000})
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")


class TestPaper:
    def test_a_table_is_printed_whole_with_its_colours_and_goes_on_below(self, shown):
        lens = made(12, 60, 2)
        page = shown([lens])
        expect(page.locator(".printed td")).to_have_count(0)
        on_paper(page)
        expect(page.locator(".printed td")).to_have_count(12 * 60)
        heads = page.locator(".printed thead .position i").all_text_contents()
        assert heads == [str(each) for each in range(60)]
        boxes = page.locator(".printed :is(td, th)").evaluate_all(
            """all => all.map((each) => each.getBoundingClientRect())
                 .map(({ left, right, width }) => [left, right, width])"""
        )
        assert min(left for left, _, _ in boxes) >= 0
        assert max(right for _, right, _ in boxes) <= PAPER
        assert min(width for _, _, width in boxes) > 30
        assert page.locator(".printed td.chosen").evaluate("td => getComputedStyle(td).printColorAdjust") == "exact"
        assert not page.get_by_role("combobox").first.is_visible()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        expect(page.locator(".printed td")).to_have_count(0)

    def test_pins_choice_and_colours_are_those_of_the_screen(self, shown):
        page = shown([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()
        look = "each => [each.textContent, each.dataset.pin, each.className, each.style.cssText.replace(/ left.*/, '')]"
        seen = cell(page, 4, 4).evaluate(look)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator(".printed td.chosen").evaluate(look) == seen
        assert seen[:2] == ["␣Paris", "●"]

    def test_what_is_compared_and_what_is_folded_is_printed(self, shown):
        page = shown([rising(), rising(stream="delta")])
        page.get_by_role("button", name="side by side").click()
        on_paper(page)
        expect(page.locator(".printed td")).to_have_count(2 * 6 * 5)
        page = shown([pictured((3, 4))])
        on_paper(page)
        assert page.locator(".printed td.band").count() > 0

    def test_a_table_too_large_is_printed_around_the_chosen_cell_and_says_so(self, shown):
        page = shown([made(40, 700, 2)])
        on_paper(page)
        expect(page.locator(".printed td")).to_have_count(20_000)
        assert page.locator(".printed .caption").text_content().endswith(". 200 columns are not printed")
        expect(page.locator(".printed td.chosen")).to_have_count(1)

    def test_every_line_of_the_reader_is_printed_below_the_last(self, shown):
        page = shown([made(50, 5, 3)])
        page.get_by_role("button", name="Every layer").click()
        on_paper(page)
        expect(page.locator(".readline")).to_have_count(50)
        tops = page.locator(".readline").evaluate_all("all => all.map((each) => each.getBoundingClientRect().top)")
        assert [round(lower - upper) for upper, lower in pairwise(tops)] == [24] * 49
        assert page.locator(".lines").evaluate("each => each.scrollHeight <= each.clientHeight")
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator(".readline").count() < 50

    def test_of_very_many_lines_of_the_reader_those_around_the_chosen_one_are_printed(self, shown):
        page = shown([made(2, 700, 2)])
        page.get_by_role("button", name="Every position").click()
        on_paper(page)
        expect(page.locator(".readline")).to_have_count(400)
        expect(page.locator(".readline.chosen")).to_have_count(1)
        expect(page.locator(".onpaper")).to_have_text("300 lines are not printed")

    def test_nothing_to_press_is_printed(self, shown):
        page = shown([made(12, 60, 3, texts=["a", " Paris", " b"])])
        page.locator(".tops .pin").first.click()
        expect(page.locator(".chip")).to_have_count(1)
        on_paper(page)
        for part in (".jumps", ".strip", ".away", ".keep", ".tools summary", ".trajectories summary", ".bar select"):
            expect(page.locator(part).first).to_be_hidden()
        expect(page.locator(".chart").first).to_be_visible()
        assert (
            page.locator(".panel, .panel *").evaluate_all(
                "all => Math.max(...all.map((each) => each.getBoundingClientRect().right))"
            )
            <= PAPER
        )

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_the_browser_prints_it_on_white(self, shown, scheme):
        page = shown([ten()], scheme=scheme)
        page.evaluate(
            "addEventListener('beforeprint', () => { window.cells = document.querySelectorAll('.printed td').length; })"
        )
        assert page.pdf(format="A4").startswith(b"%PDF")
        assert page.evaluate("window.cells") == 290
        page.emulate_media(media="print")
        paper = page.locator(".viewer").evaluate("each => getComputedStyle(each).backgroundColor")
        assert paper == "rgb(255, 255, 255)"

    @pytest.mark.parametrize("columns", [10, 50])
    def test_without_script_every_column_is_on_the_page_and_no_token_is_broken(self, shown, columns):
        page = shown([made(5, columns, 2, texts=[" token", " Paris"])], script=False)
        page.set_viewport_size({"width": PAPER, "height": 1000})
        page.emulate_media(media="print")
        boxes = page.locator("td").evaluate_all(
            """all => all.map((each) => each.getBoundingClientRect()).map(({ right, height }) => [right, height])"""
        )
        assert len(boxes) == 5 * columns
        assert max(right for right, _ in boxes) <= PAPER
        assert max(height for _, height in boxes) < 20  # one line
        heads = page.locator("thead th:not(.corner)").evaluate_all("all => all.map((each) => each.dataset.position)")
        assert heads == [str(each) for each in range(columns)]

    def test_without_script_the_parts_of_a_wide_table_are_beside_each_other_on_a_screen(self, shown):
        page = shown([made(5, 30, 2)], script=False)
        expect(page.locator("table.lens")).to_have_count(3)
        rows = page.locator("tbody tr:nth-child(4) td").evaluate_all(
            "all => all.map((each) => [each.dataset.layer, each.getBoundingClientRect().top])"
        )
        assert len(rows) == 30
        assert len({tuple(each) for each in rows}) == 1


class TestForcedColours:
    @pytest.fixture
    def forced(self, shown):
        def show(results, **options):
            page = shown(results, **options)
            page.emulate_media(forced_colors="active")
            return page

        return show

    def test_the_chosen_cell_and_pins_are_outlined(self, forced):
        page = forced([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()
        outline = "each => [getComputedStyle(each).outlineStyle, getComputedStyle(each).outlineWidth]"
        assert cell(page, 4, 4).evaluate(outline) == ["solid", "3px"]
        assert cell(page, 3, 4).evaluate(outline) == ["dashed", "2px"]
        assert cell(page, 1, 1).evaluate(outline)[0] == "none"
        assert (
            page.get_by_role("button", name="pin ␣Paris").evaluate("e => getComputedStyle(e).forcedColorAdjust")
            == "none"
        )

    @pytest.mark.parametrize("script", [True, False])
    def test_more_probable_is_a_stronger_background(self, forced, script):
        probabilities = np.array([[[0.1], [0.5], [0.9]]])
        page = forced([made(1, 3, 1, probabilities=probabilities)], script=script)
        backgrounds = page.locator(".cell" if script else "td").evaluate_all(
            "all => all.map((each) => getComputedStyle(each).backgroundColor)"
        )
        assert len(set(backgrounds)) == 3

    def test_a_pin_that_is_pressed_is_read_on_its_background(self, forced):
        page = forced([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()
        colour = "each => getComputedStyle(each).color"
        on_chip = page.locator(".chip :is(b, bdi, small)").evaluate_all(f"all => all.map({colour})")
        assert set(on_chip) == {page.locator(".chip").evaluate(colour)}
        background = "each => getComputedStyle(each).backgroundColor"
        button = page.locator(".followed .token").first
        assert button.evaluate(background) == page.locator(".panel").evaluate(background)

    def test_the_reader_says_what_is_probable_pinned_and_chosen(self, forced):
        probabilities = np.array([[[0.6, 0.3, 0.05]] * 2] * 3)
        page = forced([made(3, 2, 3, texts=["a", " Paris", " b"], probabilities=probabilities)])
        page.locator(".tops .pin").first.click()
        page.get_by_role("button", name="Every layer").click()
        words = page.locator(".readline").first.locator(".word:not(.pinned)")
        backgrounds = words.evaluate_all("all => all.map((each) => getComputedStyle(each).backgroundColor)")
        assert len(set(backgrounds)) == len(backgrounds) == 2
        outline = "each => getComputedStyle(each).outlineStyle"
        assert page.locator(".word.pinned").first.evaluate(outline) == "dashed"
        assert page.locator(".readline.chosen").evaluate(outline) == "solid"

    def test_the_bars_of_the_tokens_are_seen(self, forced):
        page = forced([rising()])
        assert "gradient" in page.locator(".tops .bar").first.evaluate("e => getComputedStyle(e).backgroundImage")


class TestPhone:
    def test_a_tap_shows_the_cell_in_a_sheet_from_below(self, phone):
        page = phone([ten()])
        sheet = page.get_by_role("dialog", name="details of the tapped cell")
        assert not sheet.is_visible()
        for layer in (20, 5):
            cell(page, layer, 8).tap()
            assert f"layer {layer}, position 8" in sheet.inner_text()
            box, tapped = sheet.bounding_box(), cell(page, layer, 8).bounding_box()
            assert box["y"] + box["height"] == pytest.approx(915, abs=1)
            assert tapped["y"] + tapped["height"] <= box["y"]
        sheet.get_by_role("button", name="pin ␣Paris").tap()
        assert sheet.is_visible()
        sheet.get_by_role("button", name="Close").tap()
        assert not sheet.is_visible()
        page.get_by_role("complementary").get_by_role("group", name="selected cell").wait_for()

    @pytest.mark.parametrize("menu", ["View", "Export"])
    @pytest.mark.parametrize("width", [360, 412, 620, 700])
    def test_no_menu_leaves_the_screen(self, shown, menu, width):
        page = shown([rising(), rising(stream="delta")], width=width)
        page.locator("summary", has_text=menu).click()
        box = page.locator(".menu[open] .sheet").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        page.keyboard.press("Escape")
        page.get_by_role("combobox", name="find a token").fill("a")
        box = page.locator(".search [role=listbox]").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    @pytest.mark.parametrize(("one", "other", "order"), [(1, 2, "●■▲"), (2, 0, "■●▲"), (0, 1, "▲●■")])
    def test_a_finger_puts_pins_in_another_order(self, phone, one, other, order):
        page = phone([followed()])
        chips = page.locator(".chips li")
        swipe(page, *(centre(chips.nth(each)) for each in (one, other)), aside=20)
        expect(page.locator(".chip b")).to_have_text(list(order))
        expect(page.locator(".chip[aria-pressed=true]")).to_contain_text("●")  # what was dragged is not clicked
        expect(page.locator(".chips :is(.dragged, .over)")).to_have_count(0)

    def test_a_tap_still_makes_a_pin_the_active_one_and_a_swipe_over_pins_scrolls(self, phone):
        page = phone([followed()])
        page.locator(".chip").nth(1).tap()
        expect(page.locator(".chip[aria-pressed=true]")).to_contain_text("▲")
        x, y = centre(page.locator(".chips li").nth(0))
        swipe(page, (x, y), (x, y - 200))
        page.wait_for_function("scrollY > 50")
        expect(page.locator(".chip b")).to_have_text(list("●▲■"))

    def test_with_a_mouse_there_is_no_sheet(self, shown):
        page = shown([ten()])
        cell(page, 5, 8).click()
        assert not page.get_by_role("dialog", name="details of the tapped cell").is_visible()


class TestOpening:
    def test_layers_lie_beside_each_other_and_below_each_other_no_room_is_left_for_it(self, shown):
        whole, part = made(6, 5, 2), made(5, 5, 2, layers=["0", "1", "2", "3", "4"], stream="delta")
        page = shown([whole, part])
        page.get_by_role("button", name="side by side").click()
        lead = "all => all.map((each) => each.style.getPropertyValue('--lead'))"
        assert page.locator(".frame").evaluate_all(lead) == ["0px", "22px"]
        page.set_viewport_size({"width": 600, "height": 900})
        expect(page.locator(".frame").nth(1)).to_have_attribute("style", re.compile("--lead: 0px"))
        page.set_viewport_size({"width": 1400, "height": 900})
        expect(page.locator(".frame").nth(1)).to_have_attribute("style", re.compile("--lead: 22px"))

    def test_layers_lie_beside_each_other_if_some_are_left_out(self, shown):
        whole, part = made(7, 5, 2), made(6, 5, 2, layers=["0", "1", "2", "3", "4", "5"])
        page = shown([whole, part])
        page.get_by_role("button", name="side by side").click()
        for stride in ("2", "3"):
            page.locator("summary", has_text="View").click()
            page.get_by_label("Layers", exact=True).select_option(stride)
            page.locator("summary", has_text="View").click()
            tops = "all => all.map((each) => each.getBoundingClientRect().top)"
            for layer in ("5", "2" if stride == "3" else "1"):
                one, other = page.get_by_role("rowheader", name=layer, exact=True).evaluate_all(tops)
                assert one == other

    def test_a_table_of_ten_tokens_opens_at_its_start(self, shown):
        page = shown([ten()], width=900)
        assert page.get_by_role("grid").evaluate("each => [each.scrollLeft, each.scrollWidth > each.clientWidth]") == [
            0,
            True,
        ]
        page.keyboard.press("Tab")
        cell(page, 27, 1).click()
        page.keyboard.press("End")
        assert page.get_by_role("grid").evaluate("each => each.scrollLeft") > 0

    def test_tables_side_by_side_open_at_what_the_model_says_next(self, shown):
        page = shown([ten(), replace(ten(), decoder="other")], width=900)
        assert page.get_by_role("button", name="side by side").get_attribute("aria-pressed") == "true"
        ends = "all => all.map((e) => e.scrollLeft > 0 && e.scrollLeft + e.clientWidth + 1 >= e.scrollWidth)"
        assert page.get_by_role("grid").evaluate_all(ends) == [True, True]

    def test_a_long_table_opens_at_what_the_model_says_next(self, shown):
        page = shown([made(12, 80, 2)], width=900)
        assert cell(page, 10, 79).is_visible()
        assert page.get_by_role("grid").evaluate("each => each.scrollLeft") > 0

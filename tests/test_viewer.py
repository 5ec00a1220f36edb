"""The viewer in a real browser: everything that a person can do in it, by pointer and by keyboard."""

import base64
import csv
import io
import json
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

import bauklens
from bauklens import LensResult
from bauklens.show import bundle
from bauklens.show.bundle import joined
from bauklens.show.minified import minified_script, minified_style
from bauklens.show.page import fragment
from bauklens.show.page import page as page_html
from tests.made import HOSTILE, made

SHOTS = Path(__file__).parent / "screenshots"
TEXTS = ["a", " b", "c\n", "é", " Paris", "\n", " ", "long-word-that-does-not-fit-a-column"]


def rising(rows=6, columns=5, **changes):
    """A lens in which token 4, " Paris", is at the last position second at first, and takes the lead at layer 3."""
    ids = np.zeros((rows, columns, 3), dtype=int) + np.array([0, 1, 2])
    ids[:, -1] = [1, 4, 0]
    ids[rows - 2 :, -1] = [4, 1, 0]
    probabilities = np.zeros((rows, columns, 3)) + np.array([0.5, 0.25, 0.125])
    entropy = np.linspace(4, 0.5, rows * columns).reshape(rows, columns)
    fields = {"top_ids": ids, "probabilities": probabilities, "measures": {"entropy": entropy}, "prompt": "a b c"}
    return made(rows, columns, 3, **{"texts": TEXTS} | fields | changes)


def following(text, kind, rank):
    """A lens that follows one target, as probable and as high in rank in every cell."""
    grid = np.full((6, 5), 0.25)
    return rising(
        targets=[{"text": text, "note": "", "probability": grid, "logit": grid, "rank": 0 * grid + rank} | kind]
    )


def wandering():
    """A lens in which ten tokens lead at the last position, three at the others; most are alike in probability."""
    texts = [f"t{number}" for number in range(12)]
    ids = np.zeros((13, 5, 2), dtype=int)
    ids[5:, :, 0], ids[9:, :, 0] = 1, 2
    ids[:, -1, 0] = [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 8, 8, 9]
    ids[..., 1] = 11
    probabilities = np.full((13, 5, 2), 0.0625)
    probabilities[..., 0] = 0.25
    return made(13, 5, 2, texts=texts, top_ids=ids, probabilities=probabilities)


@pytest.fixture
def viewer(opening):
    """Opens results in the viewer -> the page; nothing may be fetched, and nothing complained of."""
    opened = []

    def open_viewer(results, *, count=1, report=None, **options):
        page, asked, complaints = opening(page_html(results, title="T", **(report or {})), **options)
        page.locator("figure.mounted").nth(count - 1).wait_for()
        opened.append((asked, complaints))
        return page

    yield open_viewer
    for asked, complaints in opened:
        assert (asked, complaints) == ([], [])


def cell(page, layer, position):
    return page.locator(f".cell[data-layer='{layer}'][data-position='{position}']").first


def told(page):
    """What the charts' legend says: the measure and the place, then a name and a value for each token."""
    place = page.locator(".values .at").text_content()
    return place, page.locator(".followed li:not(.heads)").evaluate_all(
        "all => all.map((each) => [...each.children].map((part) => part.textContent).join(': '))"
    )


def held(page):
    """What was chosen, as it stands in a copied link."""
    return page.locator("figure.bauklens").first


class TestOverview:
    def long(self, columns=400):
        """Surprising at positions 7, 120 and 390, and at position 0, which does not count."""
        surprisal = np.ones((6, columns))
        surprisal[:, [each for each in (0, 7, 120, 390) if each < columns]] = 9
        entropy = np.full((6, columns), 0.5)
        entropy[:, 0] = 900
        return rising(6, columns, measures={"surprisal": surprisal, "entropy": entropy})

    def test_a_strip_shows_the_whole_table_and_what_is_in_sight(self, viewer):
        page = viewer([self.long()], width=1100, height=800)
        strip, sight = page.locator(".strip"), page.locator(".sight")
        assert page.locator(".strip canvas").evaluate("canvas => [canvas.width, canvas.height]") == [400, 6]
        at_first = sight.bounding_box()
        assert at_first["width"] < 0.1 * strip.bounding_box()["width"]
        box = strip.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 4)
        page.locator(".cell[data-position='200']").first.wait_for()
        moved = sight.bounding_box()
        assert abs(moved["x"] + moved["width"] / 2 - (box["x"] + box["width"] / 2)) < 0.02 * box["width"]

    def test_a_table_that_fits_has_none(self, viewer):
        assert viewer([rising()]).locator(".overview").is_hidden()

    def test_keys_go_to_what_is_surprising(self, viewer):
        page = viewer([self.long(40)], width=1100, height=800)
        place = page.locator(".place small")
        cell(page, 4, 39).click()
        page.keyboard.press("Shift+N")
        assert place.text_content() == "layer 4, position 7"
        for _ in range(4):  # of 39 positions four are surprising, here the first ones that are alike
            page.keyboard.press("Shift+N")
        assert page.locator(".jumps [role=status]").text_content() == "none before this"
        page.locator(".jumps select").select_option("entropy")
        page.get_by_role("button", name="next surprise").click()
        assert "position" in place.text_content()

    def test_the_colours_of_a_measure_are_not_decided_by_position_0(self, viewer):
        page = viewer([self.long(5)])
        page.get_by_label("Colour").select_option("entropy")
        legend = page.locator(".pane .legend").text_content()
        assert "0 to 0.5 nats (full beyond: embed up to 900, position 0 up to 900)" in legend
        assert float(cell(page, 2, 3).evaluate("each => each.style.getPropertyValue('--p')")) == 1


class TestLook:
    def test_every_cell_is_there_with_its_token(self, viewer):
        result = rising()
        page = viewer([result])
        for row, layer in enumerate(result.layers):
            for column in range(5):
                token = result.vocabulary[int(result.top_ids[row, column, 0])]
                assert cell(page, layer, column).text_content() == token.replace(" ", "␣")
        expect(page.locator("table.lens")).to_have_count(0)

    def test_the_pointer_shows_a_cell_and_a_click_keeps_it(self, viewer):
        page = viewer([rising()])
        place, tops = page.locator(".place small"), page.locator(".tops .token")
        assert place.text_content() == "layer 4, position 4"
        cell(page, 1, 2).hover()
        assert place.text_content() == "layer 1, position 2"
        assert tops.all_text_contents() == ["a", "␣b", "c↵"]
        assert "0.500" in page.locator(".tops li").first.text_content()
        page.mouse.move(2, 2)
        assert place.text_content() == "layer 4, position 4"
        cell(page, 1, 2).click()
        page.mouse.move(2, 2)
        assert place.text_content() == "layer 1, position 2"
        assert cell(page, 1, 2).get_attribute("aria-selected") == "true"

    def test_the_cell_says_its_magnitude_measures_and_targets(self, viewer):
        target = {
            "text": " Paris",
            "token_ids": [4],
            "part": "token",
            "note": "",
            "probability": np.full((6, 5), 0.0123),
            "logit": np.full((6, 5), 2.5),
            "rank": np.full((6, 5), 1234),
        }
        page = viewer([rising(targets=[target])])
        text = page.locator(".measures").inner_text()
        for said in ("magnitude", "30", "entropy", "0.5 nats", "␣Paris", "0.012, rank 1,234"):
            assert said in text

    def test_a_token_that_is_cut_in_its_cell_is_whole_in_the_panel(self, viewer):
        long = "x" * 10_000
        page = viewer([made(2, 2, 1, texts=[long])])
        assert len(cell(page, "0", 1).text_content()) < 100
        assert page.locator(".tops .token").text_content() == long
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


class TestPins:
    def test_a_pin_marks_cells_and_says_where_it_takes_the_lead(self, viewer):
        page = viewer([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()
        assert cell(page, 3, 4).get_attribute("class") == "cell leads"
        assert cell(page, 2, 4).get_attribute("class") == "cell follows"
        assert cell(page, 2, 3).get_attribute("data-pin") is None
        assert cell(page, 2, 4).get_attribute("data-pin") == "●"
        assert page.locator(".told").text_content() == "● ␣Paris leads from layer 3 on."
        page.get_by_role("button", name="pin ␣Paris").click()
        expect(page.locator(".cell[data-pin]")).to_have_count(0)

    def test_several_have_colours_and_shapes_of_their_own(self, viewer):
        page = viewer([rising()])
        for name in ("pin ␣Paris", "pin ␣b", "pin a"):
            page.get_by_role("button", name=name, exact=True).click()
        pins = page.locator(".tops .pin")
        assert pins.all_text_contents() == ["●", "▲", "■"]
        colours = pins.evaluate_all("pins => pins.map((pin) => getComputedStyle(pin).color)")
        assert len(set(colours)) == 3

    def test_a_search_finds_a_token_that_is_not_in_the_cell(self, viewer):
        page = viewer([rising()])
        cell(page, "embed", 0).click()
        page.keyboard.press("/")
        page.keyboard.type("pari")
        assert page.locator(".search [role=option]").all_text_contents() == ["␣Paris"]
        page.keyboard.press("Enter")
        assert cell(page, 4, 4).get_attribute("data-pin") == "●"
        page.get_by_role("combobox", name="find a token").fill("nothing")
        assert page.locator(".search .none").text_content().startswith("not in any top k here, and not tracked")
        assert 'targets=[" nothing"]' in page.locator(".search .none").text_content()

    def test_trajectories_follow_the_pins(self, viewer):
        page = viewer([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()
        charts = page.locator(".chart")
        expect(charts).to_have_count(2)
        over_layers = charts.first
        points = over_layers.locator("polyline").get_attribute("points").split()
        heights = [float(point.partition(",")[2]) for point in points]
        assert len(points) == 6
        assert heights[0] == heights[3] > heights[4] == heights[5]
        box = over_layers.locator("svg").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 40)
        assert told(page) == ("rank at embedding, position 4 ␣Paris", ["● ␣Paris: 2"])
        page.mouse.click(box["x"] + box["width"] * 0.1, box["y"] + 40)
        assert page.locator(".place small").text_content() == "embedding, position 4"
        page.get_by_label("Plot").select_option("probability")
        assert told(page)[1] == ["● ␣Paris: 0.250"]

    @pytest.mark.parametrize("column", [0, 4])
    def test_without_a_pin_charts_follow_what_a_figure_does(self, viewer, column):
        """What leads in some layer, of many the same eight; a click in the legend pins one."""
        lens = wandering()
        page = viewer([lens])
        cell(page, 11, column).click()
        legend = lens.plot(kind="trajectory", position=column).axes[0].get_legend()
        names = [text.get_text() for text in legend.get_texts()]
        entries = page.locator(".followed button")
        assert [each.split(" ", 1)[1] for each in entries.all_text_contents()] == names
        assert len(names) == (8 if column == 4 else 3)
        said = page.locator(".trajectories .note").text_content()
        assert ("(8 of 10)" in said) == ("(8 of 10)" in legend.get_title().get_text()) == (column == 4)
        boxes = (
            page.locator(".chart")
            .first.locator(".shape")
            .evaluate_all("all => all.map((each) => [each.x.baseVal[0].value, each.y.baseVal[0].value])")
        )
        assert len(boxes) == len(names)
        for place, (left, top) in enumerate(boxes):
            assert all(abs(left - x) >= 10 or abs(top - y) >= 10 for x, y in boxes[:place])
        entries.nth(1).click()
        assert [each.split(" ", 1)[1] for each in entries.all_text_contents()] == [names[1]]
        assert page.evaluate("document.activeElement.textContent").endswith(names[1])

    def test_the_top_token_of_the_chosen_cell_is_always_in_the_charts(self, viewer):
        page = viewer([wandering()])
        cell(page, 0, 4).click()
        expect(page.locator(".followed button")).to_have_count(9)
        assert page.locator(".followed button").last.text_content() == "○ t1"

    def test_shapes_of_lines_that_end_at_one_point_are_apart(self, viewer):
        grid = np.full((6, 5), 0.25)
        values = {"probability": grid, "logit": grid, "rank": grid + 1}
        targets = [
            {"text": f"t{each}", "token_ids": [each], "part": "token", "note": ""} | values for each in range(50, 56)
        ]
        page = viewer([rising(targets=targets)])
        tops = (
            page.locator(".chart")
            .first.locator(".shape")
            .evaluate_all("all => all.map((each) => each.y.baseVal[0].value)")
        )
        tops = sorted(tops)
        assert len(tops) == 6
        assert min(np.diff(tops)) >= 10
        assert 0 < tops[0] < tops[-1] < 132

    def test_a_set_of_tokens_is_pinned_and_drawn_like_a_token(self, viewer):
        grid = np.full((6, 5), 0.0625)
        grid[-1, -1] = 0.75
        rank = np.full((6, 5), 40.0)
        rank[3:, -1] = 1
        one = {"text": "towns", "token_ids": [4, 70], "part": "set", "note": "", "probability": grid, "logit": grid}
        lens = rising(targets=[one | {"rank": rank}])
        page = viewer([lens])
        assert page.locator(".measures").get_by_role("button", name="pin towns").get_attribute("aria-pressed") == "true"
        assert page.locator(".told").text_content() == "● towns leads from layer 2 on."
        page.get_by_label("Plot").select_option("probability")
        assert told(page) == ("probability at layer 4, position 4 ␣Paris", ["● towns: 0.750"])
        assert cell(page, 2, 4).get_attribute("data-pin") == "●"
        assert cell(page, 1, 4).get_attribute("data-pin") is None
        assert page.locator(".heat figcaption").text_content().startswith("● towns in every cell")
        page.get_by_label("Colour").select_option("token")
        assert "probability of towns, 0 to 1" in " ".join(page.locator(".legend").all_text_contents())
        page.get_by_label("find a token").fill("tow")
        assert page.locator(".search [role=option]").all_text_contents() == ["towns"]
        page.keyboard.press("Escape")
        page.locator("summary", has_text="Export").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download JSON").click()
        again = LensResult.from_dict(json.loads(Path(download.value.path()).read_text(encoding="utf-8")))
        assert again == lens

    def test_a_set_of_tokens_in_a_comparison(self, viewer):
        lenses = [following("towns", {"part": "set", "token_ids": [4, 70]}, rank) for rank in (2, 400)]
        page = viewer([bauklens.compare(*lenses)])
        assert {"0.250, rank 2", "0.250, rank 400"} <= set(page.locator(".measures dd").all_text_contents())
        page.get_by_label("Colour").select_option("rank")
        assert "towns" in " ".join(page.locator(".legend").all_text_contents())
        assert cell(page, 0, 0).text_content().endswith("2 | 400")

    def test_a_word_of_several_tokens_is_drawn_as_in_a_figure(self, viewer):
        lens = following("zebra", {"part": "whole", "token_ids": [4, 70]}, np.nan)
        page = viewer([lens])
        assert page.locator(".followed button").all_text_contents() == ["● zebra"]
        assert told(page)[1] == ["● zebra: \N{EN DASH}"]
        assert (
            "zebra is a word of several tokens, which has no rank" in page.locator(".trajectories .note").inner_text()
        )
        assert page.locator(".chip small").inner_text() == "p 0.250"
        page.get_by_label("Plot").select_option("probability")
        assert told(page)[1] == ["● zebra: 0.250"]
        (line,) = lens.plot(kind="trajectory").axes[0].lines
        assert (line.get_label(), line.get_ydata()[-1]) == ("zebra", 0.25)

    def test_the_heat_map_shows_the_pin_in_every_cell(self, viewer):
        page = viewer([rising()])
        assert not page.locator(".heat").is_visible()
        page.get_by_role("button", name="pin ␣Paris").click()
        alphas = page.locator(".map canvas").evaluate(
            """(canvas) => {
                 const { width, height } = canvas;
                 const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
                 const at = (row, column) => Math.floor(height * row / 6) * width + Math.floor(width * column / 5);
                 return [at(0.5, 0.5), at(0.5, 4.5), at(5.5, 4.5)].map((pixel) => data[4 * pixel + 3]);
               }"""
        )
        assert alphas[0] == 0 < alphas[1] < alphas[2]

    def test_the_heat_map_shows_ranks_if_the_charts_do(self, viewer):
        rank, tiny = np.geomspace(40_000, 1, 30).reshape(6, 5).round(), np.full((6, 5), 1e-9)
        target = {"text": " b", "token_ids": [1], "part": "token", "note": "", "logit": tiny}
        page = viewer([rising(targets=[{**target, "rank": rank, "probability": tiny}])])
        first, last = page.locator(".map canvas").evaluate(
            """canvas => {
                 const { data } = canvas.getContext("2d").getImageData(0, canvas.height - 1, canvas.width, 1);
                 return [0.1, 0.9].map((part) => data[4 * Math.floor(part * canvas.width) + 3]);
               }"""
        )
        assert 150 < first < last == 255
        assert "closer to rank 1" in page.locator(".heat figcaption").inner_text()
        page.get_by_label("Plot").select_option("probability")
        expect(page.locator(".heat figcaption")).to_contain_text("more probable")

    def test_what_leads_is_said_of_the_cell_under_the_pointer(self, viewer):
        page = viewer([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()
        cell(page, 1, 0).hover()
        assert page.locator(".told").text_content() == ""
        page.locator(".place").hover()
        assert page.locator(".told").text_content() == "● ␣Paris leads from layer 3 on."

    def test_the_heat_map_lies_as_the_table_does_and_frames_the_chosen_cell(self, viewer):
        page = viewer([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()

        def chosen_by_a_click(down, across):
            box = page.locator(".map canvas").bounding_box()
            at = {"x": box["width"] * across, "y": box["height"] * down}
            page.locator(".map canvas").click(position=at)
            assert page.locator(".map .here").is_visible()
            here = page.locator(".map .here").evaluate(
                "(here) => [here.style.top, here.style.left].map((side) => Math.round(parseFloat(side)))"
            )
            return page.locator(".place small").text_content(), here

        assert chosen_by_a_click(0.05, 0.9) == ("embedding, position 4", [0, 80])
        page.locator("summary", has_text="View").click()
        page.get_by_label("layers across").check()
        page.keyboard.press("Escape")
        assert chosen_by_a_click(0.1, 0.05) == ("embedding, position 0", [0, 0])
        page.locator("summary", has_text="View").click()
        page.get_by_label("first layer at the bottom").check()
        page.keyboard.press("Escape")
        assert chosen_by_a_click(0.9, 0.05) == ("layer 4, position 4", [80, 0])

    def test_a_target_is_pinned_also_where_it_is_in_no_top_k(self, viewer):
        grid = np.full((6, 5), 0.0123)
        target = {"text": "zebra", "token_ids": [99], "part": "token", "note": ""}
        page = viewer([rising(targets=[target | {"probability": grid, "logit": grid, "rank": grid + 40}])])
        assert page.locator(".measures").get_by_role("button", name="pin zebra").get_attribute("aria-pressed") == "true"
        assert page.locator(".heat figcaption").text_content().startswith("● zebra in every cell")
        assert told(page)[1] == ["● zebra: 40.01"]
        page.get_by_label("find a token").fill("zeb")
        assert page.locator(".search [role=option]").all_text_contents() == ["zebra"]

    def test_the_focus_stays_on_a_pin_that_was_pressed(self, viewer):
        page = viewer([rising()])
        button = page.get_by_role("button", name="pin ␣Paris")
        button.focus()
        page.keyboard.press("Enter")
        assert button.get_attribute("aria-pressed") == "true"
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "pin ␣Paris"


class TestColours:
    def test_cells_without_a_value_are_hatched_in_the_table_and_in_its_picture(self, viewer):
        entropy = np.linspace(4, 0.5, 30).reshape(6, 5)
        entropy[:, -1] = np.nan
        page = viewer([rising(measures={"entropy": entropy})])
        page.get_by_label("Colour").first.select_option("entropy")
        hatched = page.locator(".cell").evaluate_all(
            """cells => cells.filter((cell) => getComputedStyle(cell).backgroundImage.includes("repeating-linear"))
                             .map((cell) => cell.dataset.position)"""
        )
        assert hatched == ["4"] * 6
        assert "hatched: no value" in page.locator(".pane .legend").text_content()
        page.locator("summary", has_text="Export").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download SVG").click()
        svg = Path(download.value.path()).read_text(encoding="utf-8")
        assert (svg.count("url(#none)"), svg.count('<pattern id="none"')) == (6, 1)

    def values(self, page):
        return [
            float(
                page.locator(f".cell[data-layer='{layer}'][data-position='0']").evaluate(
                    "e => e.style.getPropertyValue('--p')"
                )
            )
            for layer in ("embed", 4)
        ]

    @pytest.mark.parametrize(
        ("colour", "said", "values"),
        [
            ("probability", "probability of the top token, 0 to 1", [0.5, 0.5]),
            ("magnitude", "magnitude (the L2 norm of the state), 0 to 30", [1 / 30, 26 / 30]),
            (
                "entropy",
                "0 to 3.276 nats (full beyond: embed up to 4, position 0 up to 3.397)",
                [1, (4 - 3.5 * 25 / 29) / (4 - 3.5 * 6 / 29)],
            ),
        ],
    )
    def test_by_any_measure_with_its_range_and_unit(self, viewer, colour, said, values):
        page = viewer([rising()])
        page.get_by_label("Colour").select_option(colour)
        assert said in page.locator(".pane .legend").text_content()
        assert self.values(page) == pytest.approx(values, abs=0.001)

    def test_by_the_pinned_token(self, viewer):
        page = viewer([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()
        page.get_by_label("Colour").select_option("token")
        assert "probability of ␣Paris" in page.locator(".pane .legend").text_content()
        assert self.values(page) == [0, 0]

    def test_the_classic_look(self, viewer):
        page = viewer([rising()], report={"look": "classic"})
        expect(page.locator(".scroll.classic")).to_have_count(1)
        assert page.get_by_label("Colour").input_value() == "classic"

    def test_light_dark_and_as_the_system(self, viewer):
        page = viewer([rising()], scheme="dark")
        paper = "getComputedStyle(document.querySelector('.viewer')).backgroundColor"
        dark = page.evaluate(paper)
        page.locator("summary", has_text="View").click()
        page.get_by_label("Theme").select_option("light")
        assert page.evaluate(paper) != dark
        page.get_by_label("Theme").select_option("dark")
        assert page.evaluate(paper) == dark


class TestFit:
    @pytest.fixture
    def page(self, viewer):
        page = viewer([rising(9, 30)])
        page.locator("summary", has_text="View").click()
        return page

    def layers(self, page):
        heads = page.locator("[role=rowheader]").evaluate_all(
            "heads => heads.map((e) => [e.getBoundingClientRect().top, e.textContent]).sort((a, b) => a[0] - b[0])"
        )
        return [text for _, text in heads]

    def test_a_stride_keeps_the_last_layer(self, page):
        page.get_by_label("Layers", exact=True).select_option("4")
        assert self.layers(page) == ["embed", "3", "7"]
        page.get_by_label("Layers", exact=True).select_option("3")
        assert self.layers(page) == ["1", "4", "7"]

    def test_layers_from_the_bottom_up(self, page):
        page.get_by_label("first layer at the bottom").check()
        assert self.layers(page)[0] == "7"
        assert self.layers(page)[-1] == "embed"

    def test_layers_across(self, page):
        page.get_by_label("layers across").check()
        assert page.locator("[role=columnheader].layer").first.text_content() == "embed"
        assert "a" in page.locator("[role=rowheader]").first.text_content()
        page.keyboard.press("Escape")
        cell(page, 7, 29).click()
        page.keyboard.press("ArrowLeft")
        assert page.locator(".place small").text_content() == "layer 6, position 29"

    def test_blank_tokens_are_dimmed(self, viewer):
        page = viewer([made(2, 2, 1, texts=["\n"])])
        assert cell(page, "0", 0).text_content() == "↵"
        page.locator("summary", has_text="View").click()
        page.get_by_label("dim blank tokens").check()
        assert cell(page, "0", 0).text_content() == "·"

    def test_the_width_by_keyboard_and_by_drag(self, page):
        page.keyboard.press("Escape")
        cell(page, 7, 29).click()
        before = cell(page, 7, 29).bounding_box()["width"]
        page.keyboard.press("+")
        assert cell(page, 7, 29).bounding_box()["width"] == before + 12
        page.keyboard.press("-")
        assert cell(page, 7, 29).bounding_box()["width"] == before
        page.locator(".scroll").evaluate("box => { box.scrollLeft = 0; }")
        edge = page.locator(".edge").bounding_box()
        page.mouse.move(edge["x"] + 4, edge["y"] + 10)
        page.mouse.down()
        page.mouse.move(edge["x"] + 64, edge["y"] + 10, steps=4)
        assert cell(page, 7, 29).bounding_box()["width"] == before + 60
        page.mouse.move(edge["x"] - 300, edge["y"] + 10, steps=4)
        page.mouse.move(edge["x"] + 4, edge["y"] + 10, steps=4)
        page.mouse.up()
        assert cell(page, 7, 29).bounding_box()["width"] == before
        assert page.locator(".scroll").evaluate("box => box.scrollLeft") == 0

    def test_a_layer_that_the_stride_leaves_out_is_not_chosen(self, page):
        page.keyboard.press("Escape")
        cell(page, 2, 29).click()
        page.locator("summary", has_text="View").click()
        page.get_by_label("Layers", exact=True).select_option("2")
        layer = page.locator(".cell.chosen").get_attribute("data-layer")
        assert page.locator(".place small").text_content() == f"layer {layer}, position 29"

    def test_jump_to_a_position(self, page):
        page.get_by_label("Go to position").fill("3")
        page.keyboard.press("Enter")
        assert page.locator(".place small").text_content() == "layer 7, position 3"
        assert cell(page, 7, 3).is_visible()


class TestCompare:
    def test_results_of_one_prompt_are_tabs_that_share_what_is_chosen(self, viewer):
        page = viewer([rising(), rising(stream="delta")])
        page.get_by_role("button", name="pin ␣Paris").click()
        cell(page, 1, 4).click()
        page.get_by_role("button", name="delta", exact=True).click()
        assert page.locator(".caption").text_content().startswith("Deltas between layers")
        assert page.locator(".place small").text_content() == "layer 1, position 4"
        assert cell(page, 4, 4).get_attribute("data-pin") == "●"

    def test_side_by_side_they_scroll_together(self, viewer):
        page = viewer([rising(60, 80), rising(60, 80, stream="delta")])
        page.get_by_role("button", name="side by side").click()
        expect(page.locator(".scroll")).to_have_count(2)
        page.locator(".scroll").first.evaluate("box => box.scrollTo(400, 200)")
        page.wait_for_timeout(100)
        places = page.locator(".scroll").evaluate_all("boxes => boxes.map((box) => [box.scrollLeft, box.scrollTop])")
        assert places == [[400, 200], [400, 200]]

    def test_a_comparison_shows_what_differs(self, viewer):
        one, other = rising(), rising(prompt="other", probabilities=np.zeros((6, 5, 3)) + np.array([0.9, 0.05, 0.01]))
        page = viewer([bauklens.compare(one, other)])
        assert page.locator(".tabs button").last.get_attribute("aria-pressed") == "true"
        drawn = cell(page, 4, 4).evaluate("e => Number(e.style.getPropertyValue('--p'))")
        assert drawn == pytest.approx(bauklens.compare(one, other).distance[5, 4], abs=6e-4)
        expect(page.locator(".tops")).to_have_count(2)
        page.get_by_label("Colour").select_option("overlap")
        assert "overlap between the two, 0 to 1" in page.locator(".pane .legend").text_content()
        page.get_by_role("button", name="other", exact=True).click()
        assert "0.900" in page.locator(".tops li").first.text_content()

    def test_side_by_side_the_lens_of_the_chosen_cell_is_meant(self, viewer):
        other = rising(stream="delta", probabilities=np.zeros((6, 5, 3)) + np.array([0.9, 0.05, 0.01]))
        page = viewer([rising(), other])
        page.get_by_role("button", name="side by side").click()
        second = page.locator(".pane").nth(1)
        second.locator(".cell[data-layer='2'][data-position='1']").click()
        page.mouse.move(2, 2)
        assert page.locator(".whose").first.text_content() == "delta"
        assert "0.900" in page.locator(".tops li").first.text_content()
        page.keyboard.press("ArrowDown")
        assert second.evaluate("pane => pane.contains(document.activeElement)")
        assert page.locator(".place small").text_content() == "layer 3, position 1"

    def test_side_by_side_the_same_layers_stand_beside_each_other(self, viewer):
        delta = rising(60, 5, stream="delta").part([str(layer) for layer in range(59)], range(5))
        page = viewer([rising(60, 5), delta])
        page.get_by_role("button", name="side by side").click()
        first, second = page.locator(".scroll").all()
        first.locator(".cell.chosen").click()
        page.keyboard.press("Control+End")
        page.wait_for_timeout(100)

        def top(scroll, layer):
            return scroll.locator(f".cell[data-layer='{layer}']").first.bounding_box()["y"]

        assert top(first, 58) == top(second, 58)
        assert first.evaluate("box => box.scrollTop + box.clientHeight >= box.scrollHeight - 1")
        first.evaluate("box => { box.scrollTop = 300; }")  # where neither is at an end
        page.wait_for_timeout(100)
        assert top(first, 20) == top(second, 20)
        assert first.evaluate("box => box.scrollTop") == 300
        page.keyboard.press("Control+Home")
        page.wait_for_timeout(100)
        assert first.evaluate("box => box.scrollTop") == 0
        expect(second.locator(".cell.chosen")).to_have_count(0)  # which has no row "embed"

    def test_partners_of_a_comparison_stay_partners_where_one_is_shifted(self, viewer):
        one = rising(columns=4, token_ids=[0, 1, 2, 3])
        other = rising(columns=5, token_ids=[7, 0, 1, 2, 3], tokens=[TEXTS[7], *TEXTS[:4]], prompt="other")
        page = viewer([bauklens.compare(one, other)])
        assert page.locator(".tabs button").last.get_attribute("aria-pressed") == "true"
        page.get_by_role("button", name="side by side").click()
        page.locator(".pane").first.locator(".cell[data-layer='1'][data-position='2']").click()
        assert page.locator(".pane").nth(1).locator(".cell.chosen").get_attribute("data-position") == "3"

    def test_a_difference_names_both_tokens(self, viewer):
        one, other = rising(), rising(token_ids=[0, 1, 7, 3, 4], tokens=[*TEXTS[:2], TEXTS[7], *TEXTS[3:5]], prompt="o")
        page = viewer([bauklens.compare(one, other)])
        cell(page, 4, 2).click()
        assert page.locator(".place span").text_content() == f"after c↵ | {TEXTS[7]}"
        expect(page.locator(".head.position", has_text="c↵ | ")).to_have_count(1)

    def test_two_viewers_on_a_page_do_not_disturb_each_other(self, viewer):
        page = viewer([("one", rising()), ("two", rising())])
        page.get_by_role("button", name="pin ␣Paris").click()
        first, second = page.locator("figure.bauklens").all()
        expect(first.locator(".cell[data-pin]")).to_have_count(6)
        page.locator(".overview a").nth(1).click()
        page.locator("figure.mounted").nth(1).wait_for()
        expect(second.locator(".cell[data-pin]")).to_have_count(0)
        page.locator(".overview a").nth(0).click()
        first.locator(".cell[data-pin]").nth(5).wait_for()
        expect(second.locator(".cell[data-pin]")).to_have_count(0)

    def test_two_versions_of_the_viewer_live_on_one_page(self, opening, monkeypatch, tmp_path):
        """Outputs of a notebook that were made before and after the package was updated."""
        new = fragment(rising())
        shutil.copytree(bundle.VIEWER, tmp_path / "viewer")
        other = tmp_path / "viewer" / "takeaway.js"
        other.write_text(other.read_text(encoding="utf-8").replace('"Export"', '"Carry off"'), encoding="utf-8")
        monkeypatch.setattr(bundle, "VIEWER", tmp_path / "viewer")
        for made_once in (bundle.viewer_version, bundle.viewer_script):
            made_once.cache_clear()
        old = fragment(rising())
        for made_once in (bundle.viewer_version, bundle.viewer_script):
            made_once.cache_clear()
        page, asked, complaints = opening(f"<!doctype html><meta charset=utf-8>{new}{old}{new}")
        page.locator("figure.mounted").nth(2).wait_for()
        for which, name in enumerate(("Export", "Carry off", "Export")):
            figure = page.locator("figure.mounted").nth(which)
            expect(figure.locator("summary", has_text=name)).to_have_count(1)
            figure.get_by_role("button", name="pin ␣Paris").click()
            assert figure.locator(".told").text_content().endswith("␣Paris leads from layer 3 on.")
        assert (asked, complaints) == ([], [])


def test_a_character_of_several_tokens_stands_over_the_first(viewer):
    page = viewer([made(texts=["a", " ⟨F0⟩⟨9F⟩", "⟨A5⟩⟨A8⟩", "“"])])
    heads = page.locator(".head.position bdi")
    assert heads.all_text_contents() == ["a", "␣🥨", "←", "“"]
    assert page.locator(".head.position").nth(2).get_attribute("title") == "position 2: ⟨A5⟩⟨A8⟩, part of 🥨"
    cell(page, "0", 2).click()
    assert page.locator(".place span").text_content() == "after ⟨A5⟩⟨A8⟩, part of 🥨"
    cell(page, "0", 3).click()
    assert page.locator(".place span").text_content() == "after “"


class TestTakeAway:
    def download(self, page, name):
        page.locator("summary", has_text="Export").click()
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        return Path(download.value.path()), download.value.suggested_filename

    def copied(self, page, name):
        page.locator("summary", has_text="Export").click()
        page.get_by_role("button", name=name).click()
        page.locator(".said", has_text="copied").wait_for()
        return page.evaluate("navigator.clipboard.readText()")

    def test_json_is_the_result(self, viewer, tmp_path):
        result = replace(rising(generated_from=3), vocabulary={key: TEXTS[key] for key in range(5)}, notes=("b",))
        page = viewer([result])
        path, name = self.download(page, "Download JSON")
        assert name == "a-b-c-hidden.json"
        assert LensResult.from_dict(json.loads(path.read_text(encoding="utf-8"))) == result

    def test_json_of_the_demo_model_is_the_result(self, viewer, eiffel):
        path, _ = self.download(viewer([eiffel]), "Download JSON")
        assert LensResult.from_dict(json.loads(path.read_text(encoding="utf-8"))) == eiffel

    def test_csv_is_that_of_the_frame(self, viewer):
        result = rising()
        path, _ = self.download(viewer([result]), "Download CSV")
        lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        frame = result.to_frame()
        assert len(lines) == len(frame)
        assert list(lines[0]) == list(frame.columns)
        for name in ("layer", "position", "token", "generated", "rank", "predicted", "token_id", "predicted_id"):
            assert [line[name] for line in lines] == [str(each) for each in frame[name]]
        for name in ("probability", "magnitude", "entropy"):
            assert [float(line[name]) for line in lines] == pytest.approx(frame[name].tolist(), rel=1e-6)

    def test_measures_of_any_name_stop_nothing(self, viewer):
        names = [
            "top",
            "probability",
            "vocabulary",
            "token",
            "both",
            "target 0 rank",
            "between kl",
            "__proto__",
            "length",
        ]
        grid = np.full((6, 5), 0.5)
        target = {"text": "a", "token_ids": [0], "part": "token", "note": "", "probability": grid}
        result = rising(
            measures={name: grid + place for place, name in enumerate(names)},
            targets=[target | {"logit": grid, "rank": grid + 40}],
        )
        page = viewer([result])
        cell(page, "4", 4).click()
        assert cell(page, "4", 4).inner_text().splitlines()[0] == "␣Paris"
        path, _ = self.download(page, "Download CSV")
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        assert list(lines[0]) == list(result.to_frame().columns)
        assert [float(lines[0][name]) for name in ("top", "vocabulary", "measure token", "__proto__")] == [
            0.5,
            2.5,
            3.5,
            7.5,
        ]
        assert float(lines[0]["rank of a"]) == 40.5
        page.keyboard.press("Escape")
        path, _ = self.download(page, "Download JSON")
        told = json.loads(path.read_text(encoding="utf-8"))
        assert {name: told["measures"][name][0][0] for name in names} == {name: 0.5 + n for n, name in enumerate(names)}

    def test_no_text_of_csv_is_a_formula(self, viewer):
        result = rising(texts=["=1+1", "+x", "-y", "@z", "\t=1", "\n", "'=1", "'s"])
        path, _ = self.download(viewer([result]), "Download CSV")
        with path.open(encoding="utf-8", newline="") as file:
            found = list(csv.reader(file))
        frames = list(csv.reader(io.StringIO(result.to_csv(), newline="")))
        assert [line[:6] for line in found] == [line[:6] for line in frames]
        assert {line[5] for line in found[1:]} == {"'=1+1", "'+x", "'-y", "'\t=1"}

    def test_csv_tells_targets_of_one_text_apart_as_the_frame_does(self, viewer):
        grid = np.full((6, 5), 0.5)
        alike = {"text": "same", "part": "token", "note": "", "probability": grid, "logit": grid, "rank": grid}
        result = rising(targets=[alike | {"token_ids": [token]} for token in (98, 99)])
        page = viewer([result])
        path, _ = self.download(page, "Download CSV")
        with path.open(encoding="utf-8", newline="") as file:
            assert next(csv.reader(file)) == list(result.to_frame().columns)
        named = page.locator(".measures dt").all_text_contents()
        assert [name for name in named if "same" in name] == ["●same [98]", "▲same [99]"]

    def test_copies(self, viewer):
        page = viewer([rising()])
        lines = self.copied(page, "Copy the cell").splitlines()
        assert lines[1] == "␣Paris\t0.500"
        page.keyboard.press("Escape")
        assert self.copied(page, "Copy the table (TSV)").splitlines()[-1] == "4\ta\ta\ta\ta\t␣Paris"
        page.keyboard.press("Escape")
        assert self.copied(page, "Copy the table (Markdown)").splitlines()[1] == "|" + " --- |" * 6

    def test_pictures(self, viewer):
        page = viewer([rising(texts=[*TEXTS[:4], " <Paris>&", *TEXTS[5:]])])
        path, name = self.download(page, "Download SVG")
        svg = path.read_text(encoding="utf-8")
        assert name.endswith(".svg")
        assert "␣&lt;Paris&gt;&amp;" in svg
        assert set(re.findall('fill="([^"]*)"', svg)) <= {"none", *re.findall("#[0-9a-f]{6}", svg)}
        page.keyboard.press("Escape")
        path, _ = self.download(page, "Download PNG")
        assert path.read_bytes().startswith(b"\x89PNG")
        SHOTS.mkdir(exist_ok=True)
        (SHOTS / "taken-away.png").write_bytes(path.read_bytes())

    def test_a_picture_has_its_heads_above_what_was_scrolled_below_them(self, viewer):
        page = viewer([rising(80, 40)])
        path, _ = self.download(page, "Download SVG")
        texts = re.findall(r"<text[^>]*>(?:<tspan.*?</tspan>)?([^<]*)", path.read_text(encoding="utf-8"))
        heads = texts.index("layer")
        assert heads - 60 < texts.index("39") < heads
        assert texts[0] == "Hidden states of made, decoded with the model’s own final norm"
        assert texts[heads + 1].startswith("background: probability of the top token")

    def test_a_picture_of_two_tables_holds_both(self, viewer):
        page = viewer([rising(), rising(stream="delta")])
        page.get_by_role("button", name="side by side").click()
        path, name = self.download(page, "Download SVG")
        svg = path.read_text(encoding="utf-8")
        assert name == "a-b-c-compared.svg"
        assert len(re.findall('<svg x="', svg)) == svg.count(">layer<") == 2
        assert svg.count("background: probability of the top token") == 2

    def test_of_what_differs_both_are_copied(self, viewer):
        one, other = rising(), rising(token_ids=[0, 1, 7, 3, 4], tokens=[*TEXTS[:2], TEXTS[7], *TEXTS[3:5]], prompt="o")
        page = viewer([bauklens.compare(one, other)])
        assert f"2 c↵ | {TEXTS[7]}" in self.copied(page, "Copy the table (TSV)").splitlines()[0]

    def test_a_picture_of_characters_beyond_the_first_plane(self, viewer):
        page = viewer([made(2, 2, 1, texts=["a" + "😀" * 40])])
        path, _ = self.download(page, "Download PNG")
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_a_link_holds_also_what_is_as_at_the_start(self, viewer):
        page = viewer([rising()], report={"look": "classic"})
        page.get_by_label("Colour").select_option("both")
        link = self.copied(page, "Copy a link")
        page = viewer([rising()], report={"look": "classic"}, fragment=link[link.index("#") :])
        assert page.get_by_label("Colour").input_value() == "both"

    def test_a_link_holds_the_view(self, viewer):
        page = viewer([rising(), rising(stream="delta")])
        page.get_by_role("button", name="pin ␣Paris").click()
        cell(page, 2, 3).click()
        page.get_by_role("button", name="delta", exact=True).click()
        link = self.copied(page, "Copy a link")
        fragment = link[link.index("#") :]
        page = viewer([rising(), rising(stream="delta")], fragment=fragment)
        assert page.get_by_role("button", name="delta", exact=True).get_attribute("aria-pressed") == "true"
        assert page.locator(".place small").text_content() == "layer 2, position 3"
        assert cell(page, 4, 4).get_attribute("data-pin") == "●"

    @pytest.mark.parametrize(
        "told",
        ["!!!", "[1]", "null", '{"show":"length"}', '{"stride":1.5}', '{"chart":"foo"}', '{"colour":"constructor"}'],
    )
    def test_a_link_without_sense_does_no_harm(self, viewer, told):
        fragment = base64.urlsafe_b64encode(told.encode()).decode().rstrip("=") if told != "!!!" else told
        page = viewer([rising()], fragment=f"#lens-0={fragment}")
        assert page.get_by_label("Colour").input_value() == "both"
        assert page.locator(".place small").text_content() == "layer 4, position 4"


class TestKeyboardAndScreenReader:
    def test_everything_by_keyboard(self, viewer):
        page = viewer([rising()])
        page.locator(".cell.chosen").focus()
        place = page.locator(".place small")
        for key, there in [
            ("ArrowUp", "layer 3, position 4"),
            ("ArrowLeft", "layer 3, position 3"),
            ("Home", "layer 3, position 0"),
            ("Control+End", "layer 4, position 4"),
            ("Control+Home", "embedding, position 0"),
            ("End", "embedding, position 4"),
            ("PageDown", "layer 3, position 4"),
        ]:
            page.keyboard.press(key)
            assert place.text_content() == there
            assert page.evaluate("document.activeElement.matches('.cell.chosen')")
        page.keyboard.press("p")
        assert cell(page, 3, 4).get_attribute("data-pin") == "●"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "pin ␣Paris"
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.matches('.cell.chosen')")
        page.keyboard.press("?")
        assert page.locator("dialog").is_visible()
        page.keyboard.press("Escape")
        assert not page.locator("dialog").is_visible()

    def test_the_focus_is_in_the_table_once(self, viewer):
        page = viewer([rising(40, 60)])
        expect(page.locator(".cell[tabindex='0']")).to_have_count(1)
        page.locator(".cell.chosen").focus()
        for _ in range(45):
            page.keyboard.press("ArrowLeft")
        assert page.locator(".place small").text_content() == "layer 38, position 14"
        expect(page.locator(".cell[tabindex='0']")).to_have_count(1)
        assert page.evaluate("document.activeElement.dataset.position") == "14"

    def test_a_grid_with_its_places(self, viewer):
        page = viewer([rising()])
        grid = page.get_by_role("grid")
        assert grid.get_attribute("aria-rowcount") == "7"
        assert grid.get_attribute("aria-colcount") == "6"
        assert cell(page, 4, 4).get_attribute("aria-colindex") == "6"
        assert cell(page, 4, 4).locator("xpath=..").get_attribute("aria-rowindex") == "7"


class TestHostileTexts:
    def test_nothing_runs_and_nothing_breaks(self, viewer):
        result = made(3, len(HOSTILE), 2, texts=HOSTILE, prompt="".join(HOSTILE), model=HOSTILE[0])
        page = viewer([(HOSTILE[0], result), (HOSTILE[1], result)])
        figure = page.locator("figure.mounted").first
        figure.locator(".cell.chosen").focus()
        page.keyboard.press("Control+Home")
        for _ in HOSTILE:
            page.keyboard.press("p")
            page.keyboard.press("ArrowDown")
            page.keyboard.press("p")
            page.keyboard.press("ArrowRight")
        figure.get_by_role("combobox", name="find a token").fill("<")
        assert figure.locator(".search [role=option]").count() > 3
        figure.locator("summary", has_text="View").click()
        figure.get_by_label("layers across").check()
        assert page.evaluate("window.ran === undefined")
        expect(figure.locator("img, script:not([type]), h1")).to_have_count(0)

    def test_a_lens_of_one_cell(self, viewer):
        page = viewer([made(1, 1, 1)])
        expect(page.locator(".cell")).to_have_count(1)
        page.locator(".cell").click()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("p")
        assert page.locator(".cell").get_attribute("data-pin") == "●"


@cache
def large():
    """A lens of GPT-2-XL's layers over 1,024 positions."""
    random = np.random.default_rng(0)
    shape = (49, 1024, 10)
    texts = [f" token {number}" for number in range(30_000)]
    values = {name: random.gamma(2, 2, shape[:2]) for name in ("entropy", "kl", "surprisal", "max_logit")}
    values |= {name: random.random(shape[:2]) for name in ("cosine_to_final", "cosine_to_previous", "overlap")}
    probabilities = np.sort(random.dirichlet(np.ones(12) / 3, shape[:2]), axis=-1)[..., ::-1][..., :10]
    ids = (random.zipf(1.25, shape) - 1) % len(texts)
    return made(*shape, texts=texts, top_ids=ids, probabilities=probabilities, measures=values, magnitude=values["kl"])


class TestBigGrids:
    @pytest.fixture
    def big(self):
        return large()

    def test_the_page_is_small_and_only_what_is_in_sight_is_in_the_document(self, viewer, big):
        assert len(page_html([big], title="T").encode()) < 4.3e6
        page = viewer([big])
        assert page.locator(".viewer *").count() < 3000
        assert "rounded to about four digits" in page.locator(".caption").text_content()
        assert '"rounded":"to about four digits"' in page_html([big], title="T")
        row, column = 20, 500
        page.locator("summary", has_text="View").click()
        page.get_by_label("Go to position").fill(str(column))
        page.keyboard.press("Enter")
        token = big.vocabulary[int(big.top_ids[row, column, 0])].replace(" ", "␣")
        assert cell(page, row - 1, column).text_content() == token
        cell(page, row - 1, column).click()
        shown = page.locator(".tops .number").all_text_contents()
        assert [float(each) for each in shown] == pytest.approx(big.top_probs[row, column].tolist(), abs=0.001)

    def test_without_script_an_excerpt_says_that_it_is_one(self, opening, big):
        page, _, _ = opening(page_html([big], title="T"), script=False)
        expect(page.locator("td")).to_have_count(49 * 20)
        assert (
            page.locator(".note")
            .text_content()
            .startswith("Without JavaScript you see only the last 20 of 1,024 positions.")
        )


def test_a_browser_that_cannot_unpack_keeps_the_table(opening):
    html = page_html([rising(40, 50)], title="T").replace('"packed":true', '"packed":false')
    page, _, _ = opening(html)
    page.locator(".failed").wait_for()
    expect(page.locator("td")).to_have_count(2000)


@pytest.mark.parametrize("width", [1400, 480])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_demo_page(viewer, demo, eiffel, scheme, width):
    """A newcomer's first minute; its pictures are kept to be looked at."""
    delta = bauklens.logit_lens(*demo, eiffel.prompt, stream="delta")
    page = viewer([eiffel, delta], scheme=scheme, width=width)
    page.get_by_role("button", name="pin ␣Paris").click()
    assert page.locator(".told").text_content() == "● ␣Paris leads from layer 27 on."
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"viewer-{scheme}-{width}.png", full_page=True)


class TestJoining:
    def write(self, folder, **modules):
        for name, text in modules.items():
            (folder / f"{name}.js").write_text(text, encoding="utf-8")

    def test_modules_come_after_what_they_import_and_once(self, tmp_path):
        self.write(
            tmp_path,
            a='import { b } from "./b.js";\nimport { c } from "./c.js";\nexport const a = b + c;\n',
            b='import { c } from "./c.js";\nexport const b = c;\n',
            c="export const c = 1;\n",
        )
        text = joined(tmp_path, "a")
        assert [line for line in text.splitlines() if line.startswith("const")] == [
            "const c = 1;",
            "const b = c;",
            "const a = b + c;",
        ]

    @pytest.mark.parametrize(
        ("a", "b", "message"),
        [
            ('import { b } from "./b.js";\n', 'import { a } from "./a.js";\n', "circle: a -> b -> a"),
            (
                'import { b } from "./b.js";\nconst x = 1;\n',
                "const [x, y] = [1, 2];\n",
                "x is defined at the top level of",
            ),
            ('import { b } from "./b.js";\n', 'const b = "</script";\n', "b.js holds a text that would end"),
            ('import { b } from "./b.js";\n', 'const b = "<!--";\n', "b.js holds a text that would end"),
            ('import * as b from "./b.js";\n', "", "a.js imports or exports in a way"),
            ("export default 1;\n", "", "a.js imports or exports in a way"),
        ],
    )
    def test_what_cannot_be_joined_is_refused(self, tmp_path, a, b, message):
        self.write(tmp_path, a=a, b=b)
        with pytest.raises(ValueError, match=message):
            joined(tmp_path, "a")

    def test_comments_and_indents_are_left_out_and_no_text_goes_on_in_the_next_line(self):
        """Where it would lose its indent."""
        script = joined(bundle.VIEWER, "viewer")
        assert "/**" not in script
        for path in bundle.VIEWER.glob("*.js"):
            for line in path.read_text(encoding="utf-8").splitlines():
                assert re.sub(r"/\[.*?\]/", "", line).count("`") % 2 == 0, (path.name, line)

    @pytest.mark.parametrize(
        ("script", "shorter"),
        [
            ("const a = 1; // one\n\n  const b = a + +a;", "const a=1;\nconst b=a+ +a;"),
            ("f('a  // b', \"c  d\", `e  ${f ? `: ${ g }  ` : ''}  h`, i)", None),
            ("x.replace(/[/ ']+  /g, ' ') / 2 / y", "x.replace(/[/ ']+  /g,' ')/2/y"),
            ("return { a, b } in c of d", "return{a,b}in c of d"),
            ("/* a\n b */ let $a = é - -1", "let $a=é- -1"),
        ],
    )
    def test_a_script_loses_only_what_is_not_read(self, script, shorter):
        if shorter is None:
            shorter = "f('a  // b',\"c  d\",`e  ${f ? `: ${ g }  ` : ''}  h`,i)"
        assert minified_script(script) == shorter

    def test_the_script_that_is_shown_is_one(self, opening):
        page, _, _ = opening("<!doctype html>")
        script = str(bundle.viewer_script())
        assert page.evaluate("(script) => typeof new Function(script)", script) == "function"
        assert len(script) < 0.92 * len(joined(bundle.VIEWER, "viewer"))

    def test_a_style_loses_only_what_is_not_read(self, opening):
        """The browser reads the same rules."""
        rules = """(style) => {
          const read = new CSSStyleSheet();
          read.replaceSync(style);
          return [...read.cssRules].map((each) => each.cssText);
        }"""
        page, _, _ = opening("<!doctype html>")
        for name in ("table", "lens"):
            style = (bundle.VIEWER / f"{name}.css").read_text(encoding="utf-8")
            shorter = minified_style(style)
            assert len(shorter) < 0.95 * len(style)
            spaces = re.compile(r"\s+|(?<=[,(])\s|\s(?=[,)])")
            read, meant = ([spaces.sub("", each) for each in page.evaluate(rules, text)] for text in (shorter, style))
            assert read == meant

    def test_modules_are_short(self):
        for path in Path(bauklens.__file__).parent.glob("viewer/*.js"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 125, path.name


class TestClassifiers:
    def lens(self, **changes):
        """A classifier's lens, whose head reads position 0: the long label leads everywhere."""
        check = {"max_abs_logit_difference": 0.0, "only_position": 0}
        ids = np.zeros((3, 4, 2), dtype=int) + np.array([0, 1])
        fields = {"texts": ["not at all angry", "fear"], "tokens": ["a", "b", "c", "d"], "predicts": "labels"}
        return made(3, 4, 2, top_ids=ids, **fields | {"check": check} | changes)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_columns_that_nothing_confirms_are_grey(self, viewer, scheme):
        page = viewer([self.lens()], scheme=scheme)
        expect(page.locator(".cell.unread")).to_have_count(9)
        expect(page.locator(".head.position.unread")).to_have_count(3)
        assert "grey: no output of the model confirms these columns, as its head reads only position 0" in (
            page.locator(".pane .legend").inner_text()
        )
        colours = [
            page.locator(".cell").nth(place).evaluate("e => getComputedStyle(e).backgroundColor") for place in (0, 1)
        ]
        assert colours[0] != colours[1]
        page = viewer([self.lens(check={"max_abs_logit_difference": 0.0})])
        expect(page.locator(".unread")).to_have_count(0)
        assert "grey:" not in page.locator(".pane .legend").inner_text()

    def test_a_label_is_written_as_it_is_and_is_not_cut(self, viewer):
        page = viewer([self.lens()])
        cell = page.locator(".cell").first
        assert cell.inner_text() == "not at all angry"
        assert cell.evaluate("e => e.scrollWidth <= e.clientWidth")
        page.keyboard.press("p")
        assert cell.evaluate("e => e.scrollWidth <= e.clientWidth")

    def test_it_is_read_at_a_position_and_follows_none(self, viewer):
        assert viewer([self.lens()]).locator(".place span").inner_text() == "at a"
        assert viewer([rising()]).locator(".place span").inner_text() == "after ␣Paris"

    def test_what_is_told_of_the_pins_is_a_sentence(self, viewer):
        page = viewer([self.lens()])
        page.locator(".tops .pin").first.click()
        assert page.locator(".told").inner_text() == "● not at all angry leads from the embedding on."
        page.locator(".tops .pin").first.click()
        page.locator(".tops .pin").nth(1).click()
        assert page.locator(".told").inner_text() == ""
        titles = page.locator(".chart figcaption").all_inner_texts()
        assert titles == ["Across layers, at position 0", "Across positions, at layer 1"]


def test_charts_name_a_character_of_several_tokens(viewer):
    page = viewer([made(2, 3, 1, tokens=["a", "⟨E2⟩⟨82⟩", "⟨AC⟩"])])
    assert page.locator(".values .at").inner_text().endswith("position 2 ←")
    page.locator(".cell").nth(1).click()
    assert page.locator(".values .at").inner_text().endswith("position 1 €")

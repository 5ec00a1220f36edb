"""Pictures in the viewer, in a real browser: columns that fold, patches over the image, by pointer and by keyboard."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import bauklens
from bauklens import LensResult
from bauklens.result.columns import TIMES
from bauklens.result.pictures import Picture
from bauklens.result.tokens import visible
from bauklens.show.page import page as page_html
from tests.image_text import PROMPTS, build_for, picture, processor_of
from tests.made import HOSTILE
from tests.pictured import DOG, followed, pictured, png
from tests.test_viewer import cell

SHOTS = Path(__file__).parent / "screenshots"


@pytest.fixture
def viewer(opening):
    """Opens results in the viewer -> the page; nothing may be fetched but data, and nothing complained of."""
    opened = []

    def open_viewer(results, state=None, **options):
        page, asked, complaints = opening(page_html(results, title="T", state=state), **options)
        page.locator("figure.mounted").wait_for()
        opened.append((asked, complaints))
        return page

    yield open_viewer
    for asked, complaints in opened:
        assert ([each for each in asked if not each.startswith("data:image/png;base64,")], complaints) == ([], [])


def band(page, layer):
    return page.locator(f".cell.band[data-layer='{layer}']").first


def patch(page, position):
    return page.locator(f".patch[data-position='{position}']")


def place(page):
    return [page.locator(f".place {each}").text_content() for each in ("span", "small")]


class TestFolding:
    def test_a_picture_is_one_column_until_it_is_opened(self, viewer):
        page = viewer([pictured((3, 4))])
        heads = page.locator(".row.heads .head")
        expect(heads).to_have_count(4)
        assert page.locator(".head.band").inner_text().split("\n") == ["▸ image 1", f"3 {TIMES} 4"]
        assert page.locator(".head.band").get_attribute("aria-expanded") == "false"
        assert band(page, 1).text_content() == "12 ␣sun"
        assert band(page, 2).text_content() == "6 ␣sky"
        title = band(page, 2).get_attribute("title")
        assert "of its 12 positions the top token is ␣sky at 6, ␣grass at 5, ␣dog at 1" in title
        page.locator(".head.band").click()
        expect(heads).to_have_count(16)
        head = page.locator(".head.part:not(.band)").nth(6)
        assert head.inner_text().split("\n") == ["7", "2·3"]
        assert head.get_attribute("aria-label") == head.get_attribute("title") == "position 7: image 1, row 2, column 3"
        assert cell(page, 2, 12).text_content() == "␣dog"
        page.locator(".head.band").click()
        expect(heads).to_have_count(4)

    def test_a_picture_of_few_positions_is_open(self, viewer):
        page = viewer([pictured((2, 3), (2, 4))])
        assert [each.get_attribute("aria-expanded") for each in page.locator(".head.band").all()] == ["true", "false"]
        page.locator("summary", has_text="View").click()
        page.get_by_label("all columns opened").check()
        columns = page.locator(".scroll[role=grid]")
        assert columns.get_attribute("aria-colcount") == str(1 + 1 + 2 + 14 + 2)
        page.get_by_label("all columns opened").uncheck()
        assert columns.get_attribute("aria-colcount") == str(1 + 1 + 2 + 2)

    def test_the_keyboard_goes_over_a_folded_picture_as_one(self, viewer):
        page = viewer([pictured((3, 4))])
        cell(page, 2, 14).click()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        assert place(page) == [f"image 1, 3 {TIMES} 4", "layer 2, positions 1 to 12"]
        assert band(page, 2).get_attribute("aria-selected") == "true"
        assert page.evaluate("document.activeElement.matches('.cell.band')")
        page.keyboard.press("ArrowUp")
        assert page.locator(".tops .token").all_text_contents() == ["␣sun"]
        page.keyboard.press("ArrowDown")
        assert page.locator(".tops .number").all_text_contents() == ["6", "5", "1"]
        page.keyboard.press("ArrowLeft")
        assert place(page) == ["after ␣Look", "layer 2, position 0"]
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowRight")
        assert place(page) == ["at image 1, row 1, column 1", "layer 2, position 1"]
        page.keyboard.press("ArrowLeft")
        page.keyboard.press(" ")
        expect(page.locator(".row.heads .head")).to_have_count(4)
        assert page.evaluate("document.activeElement.matches('.cell.band')")

    def test_what_is_chosen_elsewhere_opens_its_picture(self, viewer):
        page = viewer([pictured((3, 4))])
        page.locator("summary", has_text="View").click()
        page.get_by_label("Go to position").fill("7")
        page.keyboard.press("Enter")
        assert place(page)[0] == "at image 1, row 2, column 3"
        assert cell(page, 2, 7).get_attribute("aria-selected") == "true"

    def test_the_charts_of_a_folded_picture_say_where_tokens_lead(self, viewer):
        page = viewer([pictured((3, 4))])
        band(page, 2).click()
        chart = page.locator(".chart").first
        assert "share of the positions of image 1" in chart.locator("figcaption").text_content()
        told = page.locator(".followed").text_content()
        assert all(f"{share:.3f}" in told for share in (6 / 12, 5 / 12, 1 / 12))
        assert page.locator(".followed button").first.text_content() == "● ␣sun"

    def test_a_link_keeps_what_is_open_and_the_layers_stay(self, viewer):
        page = viewer([pictured((3, 4), (3, 3))])
        page.locator(".head.band").nth(1).click()
        page.locator(".controls input").first.fill("1")
        page.locator("summary", has_text="Export").click()
        page.get_by_role("button", name="Copy a link").click()
        page.get_by_text("link copied").wait_for()
        link = page.evaluate("navigator.clipboard.readText()")
        page.goto("about:blank")
        page.goto(link)
        page.locator("figure.mounted").wait_for()
        assert [each.get_attribute("aria-expanded") for each in page.locator(".head.band").all()] == ["false", "true"]
        assert page.locator(".controls h3").text_content() == "image 2"
        assert page.locator(".controls output").text_content() == "0"

    def test_pins_mark_a_folded_picture(self, viewer):
        page = viewer([pictured((3, 4), targets=[])])
        page.get_by_label("find a token").fill("sky")
        page.keyboard.press("Enter")
        assert band(page, 2).get_attribute("data-pin") == "●"
        assert "leads" in band(page, 2).get_attribute("class")
        assert "follows" in band(page, 1).get_attribute("class")

    def test_a_folded_picture_has_the_marks_of_its_notes(self, viewer):
        notes = [["1", 2, "a patch"], ["1", 3, "another"], ["2", 2, "one only"], ["2", 0, "a token"]]
        page = viewer([pictured((3, 4))], {"notes": notes})
        expect(page.locator(".cell.noted")).to_have_count(3)
        expect(page.locator(".cell.band.noted")).to_have_count(2)
        both = band(page, "1")
        assert both.get_attribute("aria-label").endswith("; notes: position 2: a patch\nposition 3: another")
        assert both.get_attribute("title").endswith("colours are means\nposition 2: a patch\nposition 3: another")
        assert band(page, "2").get_attribute("aria-label").endswith("; note: position 2: one only")
        page.locator(".head.band").click()
        expect(page.locator(".cell.noted")).to_have_count(4)
        expect(page.locator(".cell.band.noted")).to_have_count(0)
        assert both.get_attribute("title").endswith("colours are means")
        page.locator(".head.band").click()
        expect(page.locator(".cell.band.noted")).to_have_count(2)

    def test_positions_down_fold_as_well(self, viewer):
        page = viewer([pictured((3, 4))])
        page.locator("summary", has_text="View").click()
        page.get_by_label("layers across").check()
        expect(page.locator(".canvas > .row")).to_have_count(5)
        page.locator(".head.band").click()
        expect(page.locator(".canvas > .row")).to_have_count(17)

    def test_a_comparison_folds(self, viewer):
        one, other = pictured((3, 4)), pictured((3, 4), stream="delta")
        ids = other.top_ids.copy()
        ids[-1, 1] = [DOG, 0, 1]
        page = viewer([bauklens.compare(one, replace(other, top_ids=ids))])
        assert band(page, 2).text_content() == "5 ␣sky"
        assert band(page, 2).evaluate("each => each.style.getPropertyValue('--m')") == "0.083"
        page.locator(".head.band").click()
        assert cell(page, 2, 1).text_content() == "␣sky | ␣dog"

    def test_two_large_pictures_stay_quick(self, viewer):
        page = viewer([pictured((24, 24), (24, 24), rows=33)])
        expect(page.locator(".head.band")).to_have_count(2)
        taken = page.evaluate(
            """async () => {
                 const started = performance.now();
                 for (let press = 0; press < 10; press += 1) {
                   const key = press % 2 ? "ArrowUp" : "ArrowLeft";
                   const chosen = document.querySelector(".viewer [tabindex='0'].cell");
                   chosen.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
                   await new Promise(requestAnimationFrame);
                 }
                 return (performance.now() - started) / 10;
               }"""
        )
        assert taken < 1000  # a tenth of that is usual
        page.locator(".head.band").first.click()
        assert page.locator(".viewer *").count() < 3000


class TestPatches:
    def test_each_shows_its_top_token_at_the_chosen_layer(self, viewer):
        page = viewer([pictured((3, 4))])
        assert page.locator(".patch").all_text_contents() == ["␣sky"] * 6 + ["␣grass"] * 5 + ["␣dog"]
        assert patch(page, 12).get_attribute("aria-label") == "row 3, column 4: ␣dog 0.500"
        assert patch(page, 12).evaluate("each => each.style.getPropertyValue('--p')") == "0.500"
        assert page.locator(".overlay img").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [40, 30]
        box = page.locator(".overlay").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(4 / 3, rel=0.02)
        cell(page, 1, 14).click()
        assert set(page.locator(".patch").all_text_contents()) == {"␣sun"}
        page.locator(".controls input").first.fill("3")
        assert page.locator(".controls output").text_content() == "2"
        assert cell(page, 2, 14).get_attribute("aria-selected") == "true"

    def test_a_click_chooses_the_cell_and_a_chosen_cell_its_patch(self, viewer):
        page = viewer([pictured((3, 4))])
        patch(page, 12).hover()
        assert place(page)[0] == "at image 1, row 3, column 4"
        patch(page, 12).click()
        assert cell(page, 2, 12).get_attribute("aria-selected") == "true"
        assert patch(page, 12).get_attribute("aria-selected") == "true"
        cell(page, 1, 3).click()
        page.mouse.move(2, 2)
        assert [each.get_attribute("data-position") for each in page.locator(".patch.chosen").all()] == ["3"]
        cell(page, 1, 0).click()
        page.mouse.move(2, 2)
        expect(page.locator(".patch.chosen")).to_have_count(0)

    def test_the_arrow_keys_go_from_patch_to_patch(self, viewer):
        page = viewer([pictured((3, 4))])
        patch(page, 1).focus()
        for key in ("ArrowRight", "ArrowDown", "End"):
            page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.position") == "8"
        assert place(page)[0] == "at image 1, row 2, column 4"
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.dataset.position") == "8"
        page.keyboard.press("Enter")
        assert cell(page, 2, 8).get_attribute("aria-selected") == "true"
        expect(page.locator(".patch[tabindex='0']")).to_have_count(1)

    def test_a_pinned_token_is_known_where_it_is_in_the_top_k(self, viewer):
        page = viewer([pictured((3, 4))])
        page.get_by_label("find a token").fill("dog")
        page.keyboard.press("Enter")
        known = page.locator(".patch:not(.none)")
        assert known.all_text_contents() == ["0.250"] * 6 + ["0.500"]
        expect(page.locator(".patch.none")).to_have_count(5)
        assert "probability is not known" in patch(page, 7).get_attribute("aria-label")
        legend = page.locator(".controls .legend").inner_text()
        assert "full colour = 0.5, the largest in any layer" in legend
        assert "hatched: not in the top 3 there, so not known" in legend
        page.get_by_label("In each patch").select_option("top")
        assert patch(page, 12).text_content() == "␣dog"

    def test_a_target_is_known_in_every_patch(self, viewer):
        lens = pictured((3, 4))
        grid = np.linspace(0.01, 0.2, lens.magnitude.size).reshape(lens.magnitude.shape)
        lens = replace(lens, targets=[followed(lens, probability=grid)])
        page = viewer([lens])
        expect(page.locator(".patch.none")).to_have_count(0)
        shown = [float(each) for each in page.locator(".patch").all_text_contents()]
        assert shown == pytest.approx(grid[-1, 1:13], abs=6e-4)
        strengths = page.locator(".patch").evaluate_all("all => all.map((each) => +each.style.getPropertyValue('--p'))")
        assert strengths == pytest.approx(grid[-1, 1:13] / grid[-1, 12], abs=1e-3)
        assert "known in every patch" in page.locator(".controls .legend").inner_text()

    def test_small_patches_are_colours_and_say_so(self, viewer):
        page = viewer([pictured((24, 24))])
        assert not patch(page, 1).locator("span").is_visible()
        assert "too small for text" in page.locator(".controls .legend").inner_text()
        patch(page, 1).hover()
        assert place(page)[0] == "at image 1, row 1, column 1"

    def test_a_long_token_stays_in_its_patch(self, viewer):
        texts = {token: text * 9 for token, text in pictured((3, 9)).vocabulary.items()}
        page = viewer([pictured((3, 9), vocabulary=texts)], width=480)
        text, around = patch(page, 1).locator("span").bounding_box(), patch(page, 1).bounding_box()
        assert around["x"] <= text["x"]
        assert text["x"] + text["width"] <= around["x"] + around["width"] + 0.5

    def test_a_picture_of_numbers_has_its_grid_alone(self, viewer):
        page = viewer([pictured((3, 4), image=False)])
        expect(page.locator(".overlay img")).to_have_count(0)
        expect(page.locator(".patch")).to_have_count(12)
        assert "Only numbers were given" in page.locator(".controls .legend").inner_text()
        assert not page.get_by_label("Image", exact=True).is_visible()

    def test_positions_without_a_place_are_beside_the_image(self, viewer):
        lens = pictured((3, 4), changes={"grid": np.zeros((0, 0), int)})
        page = viewer([lens])
        expect(page.locator(".patch")).to_have_count(12)
        assert page.locator(".overlay img").is_visible()
        image, first = page.locator(".overlay img").bounding_box(), patch(page, 1).bounding_box()
        assert first["y"] >= image["y"] + image["height"] - 1
        assert "It is not known which part" in page.locator(".controls .legend").inner_text()
        assert page.locator(".head.band").inner_text().split("\n") == ["▸ image 1", "12 positions"]

    def test_parts_that_the_table_does_not_have_are_crossed_out(self, viewer):
        lens = pictured((3, 4))
        page = viewer([lens.part(lens.layers, [0, *range(5, 15)])])
        expect(page.locator(".patch.absent")).to_have_count(4)
        assert "Crossed out" in page.locator(".controls .legend").inner_text()

    def test_a_sound_has_its_positions(self, viewer):
        lens = pictured((3, 4), image=False, name="sound", changes={"grid": np.zeros((0, 0), int)})
        page = viewer([lens])
        expect(page.locator(".patch")).to_have_count(12)
        legend = page.locator(".controls .legend").inner_text()
        assert "in the order of the prompt" in legend
        assert "image" not in legend
        assert "column of sound 1" in page.locator(".pane .legend").inner_text()
        cell(page, 2, 0).click()
        patch(page, 12).click()
        assert place(page)[0] == "at sound 1"

    def test_of_an_image_cut_into_tiles_the_whole_is_shown_first(self, viewer):
        lens = pictured((3, 3), (2, 2))
        names = ["image 1, tile 1", "image 1, whole"]
        pictures = [replace(each, name=name) for each, name in zip(lens.pictures, names, strict=True)]
        page = viewer([replace(lens, pictures=pictures)])
        assert page.locator(".controls h3").text_content() == "image 1, whole"
        assert page.locator(".head.band i").all_text_contents() == ["▸ tile 1", "▾ whole"]

    def test_one_of_several_pictures_is_shown(self, viewer):
        page = viewer([pictured((3, 4), (2, 4))])
        page.get_by_label("Picture", exact=True).select_option("1")
        expect(page.locator(".patch")).to_have_count(8)
        patch(page, 13).click()
        assert cell(page, 2, 13).get_attribute("aria-selected") == "true"
        page.locator(".head.band").first.click()
        assert page.locator(".controls h3").text_content() == "image 1"

    def test_a_classifier_has_labels(self, viewer):
        page = viewer([pictured((3, 4), predicts="labels")])
        assert "its top label" in page.locator(".controls .legend").inner_text()
        assert "probability of the top label" in page.locator(".pane .legend").inner_text()
        assert page.get_by_label("find a label and pin it").get_attribute("placeholder") == "Find a label  /"
        assert "token" not in page.locator(".trajectories .note").text_content()

    def test_a_result_without_pictures_has_no_part_for_them(self, viewer):
        page = viewer([pictured()])
        expect(page.locator(".pictures, .patch, .head.band")).to_have_count(0)
        page.locator("summary", has_text="View").click()
        assert not page.get_by_label("all columns opened").is_visible()

    @pytest.mark.parametrize("name", HOSTILE[:4])
    def test_hostile_names_are_texts(self, viewer, name):
        page = viewer([pictured((3, 4), name=name)])
        page.locator(".head.band").click()
        patch(page, 1).hover()
        assert page.evaluate("window.ran === undefined")
        expect(page.locator("figure script:not([type]), figure h1, img:not(.overlay img)")).to_have_count(0)
        assert name in page.locator(".place span").text_content()

    def test_only_images_are_let_in(self):
        html = page_html([pictured((3, 4))], title="T")
        assert "img-src data:" in html
        (address,) = re.findall(r'<img data-image="0" src="([^"]{22})', html)
        assert address == "data:image/png;base64,"
        assert html.count("data:image/png;base64,") == 1

    def test_json_and_csv_hold_the_pictures_and_their_labels(self, viewer):
        lens = pictured((3, 4), (2, 2))
        page = viewer([lens])
        page.locator("summary", has_text="Export").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download JSON").click()
        assert LensResult.from_dict(json.loads(Path(download.value.path()).read_text(encoding="utf-8"))) == lens
        with page.expect_download() as download:
            page.get_by_role("button", name="Download CSV").click()
        text = Path(download.value.path()).read_text(encoding="utf-8")
        ours = list(csv.DictReader(io.StringIO(lens.to_csv())))
        theirs = list(csv.DictReader(io.StringIO(text)))
        assert list(theirs[0]) == list(ours[0])
        assert [each["column"] for each in theirs] == [each["column"] for each in ours]
        page.get_by_role("button", name="Copy the table (TSV)").click()
        page.get_by_text("table copied").wait_for()
        assert "1 image 1, row 1, column 1" in page.evaluate("navigator.clipboard.readText()").splitlines()[0]


class TestStatic:
    def open(self, opening, lens):
        page, asked, _ = opening(page_html([lens], title="T"), script=False)
        assert [each for each in asked if not each.startswith("data:image/")] == []
        return page

    def test_a_few_columns_are_all_there_with_the_picture(self, opening):
        page = self.open(opening, pictured((3, 4)))
        heads = page.locator("table.lens thead th:not(.corner)")  # of all parts
        expect(heads).to_have_count(15)
        assert heads.nth(7).inner_text().split("\n") == ["7", "2·3"]
        assert page.locator(".picture img").evaluate("image => image.naturalWidth") == 40
        patches = page.locator(".patches-table td")
        assert patches.all_text_contents() == ["␣sky"] * 6 + ["␣grass"] * 5 + ["␣dog"]
        assert "top token of each in the last row (layer 2)" in page.locator(".picture .caption").text_content()

    def test_many_columns_are_folded_and_counted(self, opening):
        page = self.open(opening, pictured((10, 20)))
        heads = page.locator("table.lens thead").first.locator("th")
        expect(heads).to_have_count(5)
        assert heads.nth(2).inner_text().split("\n") == ["image 1", f"10 {TIMES} 20"]
        cells = page.locator("table.lens tbody tr").last.locator("td")
        assert cells.nth(1).text_content() == "100 ␣sky"
        assert "image 1 is one column (200 positions)" in page.locator(".note").first.text_content()
        assert "␣sky 100, ␣grass 99, ␣dog 1." in page.locator(".picture .note").inner_text()

    def test_a_comparison_folds(self, opening):
        lens = pictured((10, 20))
        page = self.open(opening, bauklens.compare(lens, replace(lens, stream="delta")))
        assert page.locator("table.lens tbody tr").last.locator("td").nth(1).text_content() == "100 ␣sky"

    def test_many_pictures_are_folded_away_and_still_reach_the_viewer(self, opening, viewer):
        lens = pictured(*[(2, 2)] * 5)
        page = self.open(opening, lens)
        summary = page.locator("summary", has_text="5 pictures of this prompt, and the top tokens at their positions")
        assert not page.locator(".picture img").first.is_visible()
        summary.click()
        assert page.locator(".picture img").last.is_visible()
        assert viewer([lens]).locator(".overlay img").is_visible()

    def test_each_image_is_in_the_page_once(self):
        lens = pictured((3, 4))
        html = page_html([lens, replace(lens, stream="delta"), replace(lens, stream="mlp")], title="T")
        assert html.count("data:image/png;base64,") == 1


class TestOfModels:
    """Tiny models with processors of transformers, and a picture of 24 x 16."""

    @pytest.mark.parametrize(("family", "rows", "across"), [("qwen2_5_vl", 2, 3), ("gemma3", 2, 2)])
    def test_a_picture_lies_under_its_patches(self, viewer, family, rows, across):
        processor = processor_of(family)
        model = build_for(family, processor.tokenizer)
        lens = bauklens.logit_lens(model, processor, PROMPTS[family], images=[picture()])
        page = viewer([lens])
        expect(page.locator(".patches > [role=row]")).to_have_count(rows)
        expect(page.locator(".patch")).to_have_count(rows * across)
        for row, position in enumerate(lens.pictures[0].grid[:, 0].tolist(), 1):
            token = visible(lens.vocabulary[int(lens.top_ids[-1, lens.column_of(position), 0])])
            assert patch(page, position).text_content() == token
            assert patch(page, position).get_attribute("aria-label").startswith(f"row {row}, column 1: {token} ")
        assert page.locator(".overlay img").evaluate("image => image.naturalWidth > 0")

    def test_tiles_are_bands_of_their_own(self, viewer):
        processor = processor_of("idefics3")
        model = build_for("idefics3", processor.tokenizer)
        lens = bauklens.logit_lens(model, processor, PROMPTS["idefics3"], images=[picture()])
        page = viewer([lens])
        assert page.locator(".controls h3").text_content() == "image 1, whole"
        expect(page.get_by_label("Picture", exact=True).locator("option")).to_have_count(5)


class TestOthers:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("seen", [0, 1])
    def test_texts_are_read_over_any_image(self, viewer, scheme, seen):
        """The plate behind a text has a contrast of 4.5 to it or better, with a black and with a white image."""
        for shade in (0, 255):
            page = viewer([pictured((3, 4), changes={"image": flat(shade)})], scheme=scheme)
            page.locator(".controls input").nth(1).fill(str(seen))
            assert contrast(page) >= 4.5

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1400, 480])
    def test_nothing_sticks_out(self, viewer, scheme, width):
        page = viewer([pictured((12, 16), (3, 4))], scheme=scheme, width=width)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        SHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SHOTS / f"pictures-{scheme}-{width}.png", full_page=True)


def flat(shade):
    """A PNG file of one grey."""
    drawn = io.BytesIO()
    Image.new("L", (8, 6), shade).convert("RGB").save(drawn, "PNG")
    return drawn.getvalue()


def contrast(page):
    """Of a text to what is seen around it on its plate, from the pixels of a screenshot."""
    shot = Image.open(io.BytesIO(page.locator(".patch span").first.screenshot())).convert("RGB")
    pixels = np.asarray(shot, float) / 255
    linear = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    luminance = np.sort((linear @ [0.2126, 0.7152, 0.0722]).ravel())
    middle, darkest, lightest = np.median(luminance), luminance[0], luminance[-1]
    return max((lightest + 0.05) / (middle + 0.05), (middle + 0.05) / (darkest + 0.05))


def test_a_picture_without_a_position_in_the_table_is_no_band(viewer):
    lens = pictured((3, 4))
    page = viewer([replace(lens, pictures=[Picture("away", [[90, 91]], [90, 91], png())])])
    expect(page.locator(".head.band")).to_have_count(0)
    expect(page.locator(".patch")).to_have_count(0)
    assert page.locator(".controls .legend").inner_text() == "No position of this table reads away"
    static = page_html([lens.part(lens.layers, [0])])
    assert static.count("<td") == 4 * 1

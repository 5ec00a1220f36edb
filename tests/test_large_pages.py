"""Pages of very many cells: how large they are, and that they open, from far and near."""

import base64
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from bauklens import Target
from scripts.viewer_cases import Case, lens_of, pins_of

pytestmark = [pytest.mark.slow, pytest.mark.long]  # millions of numbers


def numbers_of(page: str, name: str) -> np.ndarray:
    """Some numbers of a page's first lens, as the viewer unpacks them."""
    told = re.search(r'class="bauklens-data">(.*?)</script>', page, re.DOTALL)[1]
    (lens,) = json.loads(told)["lenses"]
    block, start = zlib.decompress(base64.b64decode(lens["blob"])), 0
    for each in lens["arrays"]:
        size = 1 if each["kind"] == "json" else np.dtype(each["kind"]).itemsize
        if each["name"] == name:
            by_byte = np.frombuffer(block, np.uint8, size * each["count"], start).reshape(size, -1)
            return np.ascontiguousarray(by_byte.T).view(each["kind"]).ravel()
        start += size * each["count"]
    raise KeyError(name)


class TestSizes:
    def test_with_two_hundred_tracked_tokens_a_page_of_50_176_cells_is_below_8_mb(self):
        page = lens_of(Case(49, 1024, 10)).view().to_html()
        assert len(page.encode()) < 8e6
        assert '"exact":7,' in page
        assert '"left":0}' in page  # all 200 are there

    def test_very_many_numbers_are_rounded_further_and_a_page_of_327_680_cells_is_below_12_mb(self):
        lens = lens_of(Case(80, 4096, 5))
        probabilities = lens.top_probs.copy()
        probabilities[0, 0] = [1, 1e-30, 1e-40, 1.4e-45, 0]  # the last but one is the smallest number in float32
        lens = replace(lens, top_probs=probabilities)
        ranks = np.arange(1, lens.magnitude.size + 1).reshape(lens.magnitude.shape) % 8000 + 1
        values = {"probability": np.full(ranks.shape, 0.25), "logit": np.zeros(ranks.shape), "rank": ranks}
        followed = Target(text=" token 7", token_ids=(7,), part="token", note="", **values)
        page = lens.view().to_html()
        assert len(page.encode()) < 12e6
        assert '"rounded":"three"' in page
        assert '"rounded":"to about three digits"' in page
        with_target = replace(lens, targets=(followed,), tracked=None).view().to_html()
        assert np.array_equal(numbers_of(with_target, "target 0 rank"), ranks.ravel())  # of a target they stay exact
        off = np.abs(numbers_of(page, "probability") - lens.top_probs.ravel())
        assert off.max() < 0.0003
        assert (off <= 0.008 * lens.top_probs.ravel()).all()
        entropy = lens.measures["entropy"].ravel()
        assert (np.abs(numbers_of(page, "measure entropy") - entropy) <= 0.0005 * entropy).all()


@pytest.fixture(scope="module")
def lens():
    return lens_of(Case(49, 32_768, 2))


@pytest.fixture(scope="module")
def html(lens):
    return lens.view(pins=pins_of(lens)).to_html()


@pytest.fixture
def page(opening, html):
    page, _, complaints = opening(html)
    page.locator("figure.mounted").wait_for()
    yield page
    assert complaints == []


class TestFromFarAndNear:
    @staticmethod
    def click(page, x, y):
        """A click in the far zoom, at parts of its width and height."""
        box = page.locator(".strip canvas").bounding_box()
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])

    def test_all_32_768_positions_are_seen_from_far_and_a_click_leads_to_the_cell(self, page, lens):
        expect(page.locator(".cell").first).to_be_visible()
        assert page.locator(".viewer *").count() < 4000
        page.get_by_role("button", name="Enlarge").click()
        note = page.locator(".overview > .note")
        expect(note).to_contain_text("All 32,768 positions in 49 layers; a pixel shows the strongest of 28 positions")
        self.click(page, 0.25, 10.5 / 49)
        chosen = page.locator(".cell.chosen")
        expect(chosen).to_have_attribute("data-layer", lens.layers[10])
        position = int(chosen.get_attribute("data-position"))
        assert abs(position - 8192) < 60  # a pixel or two
        token = lens.vocabulary[int(lens.top_ids[10, position, 0])].replace(" ", "␣")
        expect(chosen).to_have_text(token)
        expect(chosen).to_be_in_viewport()

    def test_the_far_zoom_comes_nearer_and_the_table_scrolls_with_it(self, page):
        page.get_by_role("button", name="Enlarge").click()
        nearer, note = page.get_by_role("button", name="show fewer positions"), page.locator(".overview > .note")
        for _ in range(3):
            nearer.click()
        expect(note).to_contain_text("Positions 28672 to 32767")
        self.click(page, 0.5, 0.5)
        expect(page.locator(".cell.chosen")).to_have_attribute("data-position", re.compile("307[12]"))
        for _ in range(9):
            if nearer.is_enabled():
                nearer.click()
        expect(nearer).to_be_disabled()
        expect(note).not_to_contain_text("a pixel shows")
        page.locator(".cell.chosen").focus()
        page.keyboard.press("Home")  # the part that is shown follows
        expect(page.locator(".cell.chosen")).to_have_attribute("data-position", "0")
        expect(note).to_contain_text("Positions 0 to ")
        for _ in range(10):
            page.get_by_role("button", name="show more positions").click(force=True)
        expect(note).to_contain_text("All 32,768 positions")

    def test_keys_reach_both_ends_and_pins_are_drawn(self, page):
        page.locator(".cell.chosen").focus()
        for key, position in (("Home", "0"), ("End", "32767"), ("ArrowLeft", "32766")):
            page.keyboard.press(key)
            expect(page.locator(".cell.chosen")).to_have_attribute("data-position", position)
        expect(page.locator(".chip")).to_have_count(3)
        assert page.locator(".map canvas").evaluate("(canvas) => [canvas.width, canvas.height]") == [1200, 49]
        expect(page.locator(".chart polyline").first).to_be_attached()

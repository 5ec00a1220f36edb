"""Views that are made in Python: what is checked, what a page begins with, notes on cells, and copies of a page."""

import base64
import json
import re
from html import unescape

import numpy as np
import pytest
from playwright.sync_api import expect

import bauklens
from bauklens import LensError
from tests.made import made
from tests.test_access import findings
from tests.test_pins import chips, followed, target
from tests.test_viewer import TEXTS, cell, rising

HOSTILE = '</script><img src=x onerror="document.title=1"><!-- & \u2028 "'


def held(html):
    """The states that a page's viewers begin with."""
    return [json.loads(each)["state"] for each in re.findall(r'class="bauklens-data">(.*?)</script>', html)]


def in_address(page):
    """The state of the first viewer, which its page keeps in the address."""
    page.wait_for_timeout(400)
    told = page.evaluate("location.hash.slice('#lens-0='.length).replaceAll('-', '+').replaceAll('_', '/')")
    return json.loads(
        page.evaluate("text => new TextDecoder().decode(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)))", told)
    )


@pytest.fixture
def opened(opening):
    """Opens HTML -> the page; nothing may be fetched, and nothing complained of."""
    told = []

    def open_html(html, **options):
        page, asked, complaints = opening(html, **options)
        page.locator("figure.mounted").first.wait_for()
        told.append((asked, complaints))
        return page

    yield open_html
    for asked, complaints in told:
        assert (asked, complaints) == ([], [])


class TestWhatIsChecked:
    def test_a_state_is_that_of_the_viewer(self):
        view = followed().view(
            pins=[" b", 4], cell=("3", -1), colour="rank", chart="logprob", layers_across=True, stride=2, width=90,
            notes={(-1, 0): "here", ("embed", -2): "no"}, theme="dark",
        )  # fmt: skip
        assert view.state == {
            "pins": [1, 4], "pin": 1, "layer": "3", "position": 4, "colour": "rank", "chart": "log",
            "notes": [["4", 0, "here"], ["embed", 3, "no"]],
            "layersAcross": True, "stride": 2, "width": 90, "theme": "dark",
        }  # fmt: skip
        assert held(view.to_html()) == [dict(view.state)]
        assert repr(view).startswith("<View of <LensResult of made: hidden")

    def test_a_set_a_word_and_a_token_of_a_top_k_are_pinned(self):
        capitals = target(4, 0.5, 1, part="set", ids=[4, 1]) | {"text": "capitals"}
        lens = rising(targets=[capitals, target(1, 0.5, np.nan, part="whole", ids=[1, 70])])
        assert lens.view(pins=["capitals", (1, 70), "c\n"]).state["pins"] == ["target: capitals", "target:  b", 2]

    def test_in_a_file_without_ids_a_pin_is_named_by_its_text(self):
        lens = made(
            texts=["a", " b"], top_ids=np.full((3, 4, 2), [-1, -2]), vocabulary={-1: "a", -2: " b", 0: "a", 1: " b"}
        )
        assert lens.view(pins=[-2]).state["pins"] == [" b"]

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"pins": [" Rome"]}, r"' Rome' is not known .* targets=\[\.\.\.\]"),
            ({"pins": ["Paris"]}, "may begin with a space: ' Paris'"),
            ({"pins": ["a"] * 9}, "9 pins: pass at most 8"),
            ({"pins": ["a", 0]}, "the pin 0 is given twice"),
            ({"cell": ("9", 0)}, "unknown layer '9': this lens has 'embed', 0 .. 4"),
            ({"cell": ("1", 5)}, "position 5 is not in this table"),
            ({"cell": "1"}, "not a layer and a position"),
            ({"cell": ([1], 0)}, "neither a label nor a number"),
            ({"cell": (True, 0)}, "neither a label nor a number"),
            ({"colour": "max_probability"}, "unknown colour 'max_probability': pass one of 'both', .*'entropy'"),
            ({"colour": "rank"}, r"colour='rank' needs a pin: pass pins=\[\.\.\.\]"),
            ({"chart": "log"}, "unknown chart 'log': pass one of 'rank', 'logprob'"),
            ({"chart": "logit"}, "needs a measure: .*max_logit"),
            ({"chart": "difference", "pins": ["a"]}, "needs two pins"),
            ({"stride": 5}, "unknown stride 5: pass one of 1, 2, 3, 4, 6, 8"),
            ({"width": 300}, "width is 300: pass 260 or less"),
            ({"theme": "blue"}, "unknown theme 'blue'"),
            ({"look": "old"}, "unknown look 'old'"),
            ({"layers_across": 1}, "layers_across is 1"),
            ({"notes": ["x"]}, "notes is a list: pass a dict"),
            ({"notes": {("1", 0): " "}}, "pass a text"),
            ({"notes": {("1", 0): "x" * 501}}, "has 501 characters: pass at most 500"),
            ({"notes": {("1", 0): "x", (1, -5): "y"}}, "two notes on layer 1 at position 0"),
            ({"notes": dict.fromkeys(((1, each) for each in range(201)), "x")}, "201 notes: pass at most 200"),
        ],
    )
    def test_an_error_is_one_line_that_says_what_to_do(self, options, said):
        with pytest.raises(LensError, match=said) as raised:
            rising().view(**options)
        assert "\n" not in str(raised.value)

    def test_results_of_the_same_tokens_share_a_view(self, tmp_path):
        view = bauklens.view([rising(), rising(stream="delta")], cell=(0, 0), pins=[" Paris"])
        view.save(tmp_path / "view.html", "Two")
        (state,) = held((tmp_path / "view.html").read_text(encoding="utf-8"))
        assert (state["layer"], state["pins"]) == ("0", [4])
        for several, said in (
            ([], "at least one"),
            ([rising(), rising(columns=4)], "the same tokens"),
            (["x"], "got str"),
        ):
            with pytest.raises(LensError, match=said):
                bauklens.view(several)


class TestInThePage:
    def test_a_page_opens_as_it_was_made(self, opened):
        lens = followed()
        view = lens.view(pins=[" b", "a"], cell=("2", 1), colour="rank", chart="logprob", notes={("2", 1): HOSTILE})
        page = opened(view.to_html())
        assert [name for name, _ in chips(page)] == ["● ␣b rank 300", "▲ a rank 20,000"]
        assert page.locator(".place small").inner_text() == "layer 2, position 1"
        assert page.get_by_label("Colour").input_value() == "rank"
        assert page.get_by_label("Plot").input_value() == "log"
        assert page.get_by_label("Note on layer 2, position 1").input_value() == HOSTILE
        assert page.locator(".notelist li bdi").last.text_content() == HOSTILE
        expect(page.locator(".notelist img")).to_have_count(0)

    def test_notes_mark_their_cells_and_the_list_chooses_them(self, opened):
        view = rising().view(notes={("4", 0): "last", ("1", 3): "first"}, stride=2, cell=("4", -1))
        page = opened(view.to_html())
        noted = page.locator(".cell.noted")
        assert [each.get_attribute("data-layer") for each in noted.all()] == ["4"]  # layer 1 is left out
        assert noted.first.get_attribute("aria-label").endswith("; note: last")
        corner = noted.first.evaluate("each => getComputedStyle(each, '::after').width")
        assert corner == "11px"
        entries = page.locator(".notelist button")
        assert [each.inner_text().splitlines()[-1] for each in entries.all()] == ["first", "last"]
        entries.first.click()
        assert page.locator(".place small").inner_text() == "layer 1, position 3"
        assert page.evaluate("document.activeElement.matches('.cell.noted[data-layer=\"1\"]')")
        assert entries.first.get_attribute("aria-current") == "true"

    def test_a_note_is_added_changed_and_removed(self, opened):
        page = opened(rising().view().to_html())
        assert not page.locator(".notelist").is_visible()
        cell(page, 2, 1).click()
        page.get_by_role("button", name="Add a note").click()
        page.keyboard.type("why n? /")  # none of which is taken for a key of the viewer
        cell(page, 3, 1).click()
        assert page.get_by_role("button", name="Add a note").is_visible()
        assert page.locator(".notelist button").inner_text().splitlines()[-1] == "why n? /"
        assert in_address(page)["notes"] == [["2", 1, "why n? /"]]
        page.reload()
        page.locator("figure.mounted").wait_for()
        page.locator(".notelist button").click()
        page.locator(".cellnote textarea").fill("because")
        assert cell(page, 2, 1).get_attribute("aria-label").endswith("note: because")
        page.get_by_role("button", name="Remove the note").click()
        expect(page.locator(".cell.noted")).to_have_count(0)
        assert not page.locator(".notelist").is_visible()
        assert page.evaluate("document.activeElement.textContent") == "Add a note"

    def test_axe_finds_nothing_in_notes(self, opening):
        html = rising().view(notes={("4", -1): "x", ("1", 1): "y"}).to_html(title="T")
        html = re.sub("<meta http-equiv=.*?>", "", html)
        for scheme in ("light", "dark"):
            page, _, _ = opening(html, scheme=scheme)
            page.locator("figure.mounted").wait_for()
            assert findings(page) == []

    def test_the_mark_is_seen_in_forced_colours(self, opened):
        page = opened(rising().view(notes={("2", 1): "x"}).to_html())
        page.emulate_media(forced_colors="active")
        drawn = page.locator(".cell.noted").evaluate("each => getComputedStyle(each, '::after').backgroundImage")
        assert drawn.startswith("linear-gradient")

    def test_without_script_notes_are_a_list(self, opening):
        page, _, _ = opening(rising().view(notes={("2", 1): HOSTILE}).to_html(), script=False)
        assert page.locator(".notelist li").text_content().startswith("layer 2, position 1, ␣b: </script>")


class TestACopyOfThePage:
    def saved(self, page, tmp_path, name):
        page.locator("summary:visible", has_text="Export").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save a copy with this view").click()
        download.value.save_as(tmp_path / name)
        return (tmp_path / name).read_text(encoding="utf-8")

    def test_it_opens_as_the_page_was_left(self, opened, tmp_path):
        lens = followed(prompt=HOSTILE, texts=[*TEXTS[:-1], HOSTILE])
        page = opened(lens.to_html(title="T"))
        page.get_by_role("button", name="remove a").click()
        page.locator(".chip").nth(1).click()
        page.get_by_label("Colour").select_option("rank")
        cell(page, 2, 1).click()
        page.get_by_role("button", name="Add a note").click()
        page.keyboard.type("kept </script>")
        left = in_address(page)
        copy = self.saved(page, tmp_path, "copy.html")
        assert held(copy) == [left]
        original = lens.to_html(title="T")
        for part in (r"<meta http-equiv=[^>]*>", r"<script>.*</script>", r"<style>.*?</style>"):  # as they were served
            one, other = (unescape(re.search(part, html, re.DOTALL)[0]) for html in (copy, original))
            assert one == other
        assert 'class="viewer' not in copy
        again = opened(copy)
        assert again.evaluate("location.hash") == ""
        assert chips(again) == chips(page)
        assert again.get_by_label("Note on layer 2, position 1").input_value() == "kept </script>"
        assert held(self.saved(again, tmp_path, "again.html")) == [left]

    def test_of_a_report_it_keeps_every_viewer_and_what_was_open(self, opened, tmp_path):
        results = [("one", rising()), ("two", rising(columns=4)), ("three", rising(columns=3))]
        told = base64.urlsafe_b64encode(json.dumps({"stride": 2}).encode()).decode().rstrip("=")
        bauklens.save_report(results, tmp_path / "report.html", title="R")
        page = opened((tmp_path / "report.html").read_text(encoding="utf-8"), fragment=f"#lens-2={told}&lens-0={told}")
        copy = self.saved(page, tmp_path, "copy.html")
        assert [each.get("stride") for each in held(copy)] == [2, None, 2]  # the first was never opened
        page.get_by_role("link", name="two").click()
        page.locator("#result-2 figure.mounted").get_by_role("button", name="pin ␣Paris").click()
        copy = self.saved(page, tmp_path, "copy.html")
        assert [each.get("pins") for each in held(copy)] == [None, [4], []]
        again = opened(copy)
        assert again.locator("details.result[open] h2").inner_text() == "two"
        expect(again.locator(".overview-scroll")).to_have_count(1)

    def test_a_notebook_has_none(self, opening):
        page, _, _ = opening(f"<!doctype html><meta charset=utf-8>{rising().view(pins=['a'])._repr_html_()}")
        page.locator("figure.mounted").wait_for()
        assert [name for name, _ in chips(page)] == ["● a rank 3"]
        page.locator("summary", has_text="Export").click()
        expect(page.get_by_role("button", name="Save a copy")).to_have_count(0)

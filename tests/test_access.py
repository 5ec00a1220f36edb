"""The viewer for those who read it with a screen reader: what axe finds, what is announced, what charts say."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

import bauklens
from bauklens.show.evaluated_items import EvaluatedItem, EvaluatedSet, EvaluatedWord
from bauklens.show.evaluation import Evaluation
from bauklens.show.page import page as page_html
from bauklens.show.ranking import NearestTokens
from tests.made import made
from tests.pictured import pictured
from tests.test_score import made as scores
from tests.test_viewer import cell, following, rising

AXE = Path(__file__).parent / "viewer" / "node_modules" / "axe-core" / "axe.min.js"


def findings(page):
    """What axe finds on a page, with its best practices -> [(rule, the first element)]."""
    assert AXE.exists(), "axe-core is not there: scripts/test installs it (npm install in tests/viewer)"
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run().then((found) => found.violations)")
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in found]


@pytest.fixture
def checked(opening):
    """Opens results on a page on which axe may run -> the page."""

    def open_page(results, *, scheme="light", width=1400, script=True, **report):
        html = re.sub("<meta http-equiv=.*?>", "", page_html(results, title="T", **report))
        page, _, _ = opening(html, scheme=scheme, width=width)
        page.locator("figure.mounted").first.wait_for()
        return page

    return open_page


def a_table(page):
    cell(page, 1, 2).click()


def a_pin(page):
    page.get_by_role("button", name="pin ␣Paris").first.click()
    page.get_by_label("Plot").first.select_option("probability")
    page.get_by_text("Values as a table").click()
    page.locator(".numbers table").first.wait_for()


def a_comparison(page):
    page.get_by_role("group", name="what is shown").get_by_role("button", name="↔").click()


def side_by_side(page):
    page.get_by_role("button", name="side by side").click()


def menus(page):
    page.locator("summary", has_text="View").click()


def a_list_of_keys(page):
    page.get_by_role("button", name="keyboard shortcuts").click()


def an_image(page):
    page.locator(".head.band").click()


ONE, TWO = [rising()], [rising(), rising(stream="delta")]
SIGHTS = {
    "table": (ONE, a_table),
    "pin": (ONE, a_pin),
    "target": ([following(" Paris", {"token_ids": [4], "part": "token"}, 3)], a_table),
    "comparison": (TWO, a_comparison),
    "side by side": (TWO, side_by_side),
    "menu": (ONE, menus),
    "keys": (ONE, a_list_of_keys),
    "report": ([("one", rising()), ("two", rising(stream="delta")), ("three", made())], a_table),
    "repeats": ([("one", rising()), ("one", rising())], a_table),
    "pictures": ([pictured((3, 4))], an_image),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_axe_finds_nothing(checked, sight, scheme):
    results, act = SIGHTS[sight]
    page = checked(results, scheme=scheme)
    act(page)
    assert findings(page) == []


def test_a_page_without_script_has_nothing_that_axe_finds(opening):
    html = page_html([rising(), pictured((3, 4))], title="T")
    page, _, _ = opening(re.sub("<meta http-equiv=.*?>|<script>.*?</script>", "", html, flags=re.DOTALL))
    assert page.locator("td").count() > 0
    assert findings(page) == []


def an_evaluation():
    """Two decoders on two sets, one of which has a word without a token."""
    word = EvaluatedWord(("Paris", "city"), "single", (4, 5), (" Paris", "Paris"), (3, 17), ("1", "2"), (" Paris",) * 2)
    none = EvaluatedWord(("sea",), "none", (), (), (), (), ())
    items = [EvaluatedItem("one", "a b c", " d", "last", 2, 1, "c", words) for words in ((word,), (word, none))]
    sets = [EvaluatedSet(name, "last", "plain", tuple(items)) for name in ("first", "second")]
    return Evaluation("made", ("logit", "tuned"), ("0", "1", "2"), (1, 10, 100), "single", tuple(sets))


def nearest():
    ids, numbers = np.arange(6).reshape(3, 2), np.linspace(1, 0.5, 6, dtype=np.float32).reshape(3, 2)
    found = NearestTokens("made", "cosine", ("a", " b", "c"), ids, numbers, dict(enumerate("abcdef")))
    return f"<!doctype html><html lang=en><title>T</title><main><h1>T</h1>{found._repr_html_()}</main>"


STATIC = {
    "scores": lambda: scores().to_html(),
    "scores of several": lambda: scores([f"decoder {each}" for each in range(9)]).to_html(),
    "evaluation": lambda: an_evaluation().to_html(),
    "summary": lambda: bauklens.summarize([rising(), rising()]).to_html(),
    "nearest tokens": nearest,
}


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (412, "dark")])
@pytest.mark.parametrize("name", STATIC)
def test_axe_finds_nothing_on_pages_of_numbers(opening, name, width, scheme):
    page, _, _ = opening(re.sub("<meta http-equiv=.*?>", "", STATIC[name]()), scheme=scheme, width=width)
    for closed in page.locator("summary").all():
        closed.click()
    assert page.locator("table").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for box in page.locator(".charts .scroll").all():
        assert box.bounding_box()["x"] + box.bounding_box()["width"] <= width
    assert findings(page) == []


def test_the_charts_of_scores_are_also_tables(opening):
    page, _, _ = opening(scores().to_html())
    table = page.get_by_role("table", name="KL (nats)")
    expect(table).to_have_count(0)
    page.locator(".chart summary").first.click()
    rows = [row.inner_text().split("\t") for row in table.locator("tr").all()]
    assert rows[0] == ["layer", "logit", "ridge", "the model itself"]
    assert [row[0] for row in rows[1:]] == ["0", "1"]
    assert rows[1][1] == "{:.3g} ({:.3g} .. {:.3g})".format(*(ends["logit"]["kl"][1] for ends in three_ends(scores())))
    assert rows[1][3] == "0.5"


def three_ends(found):
    return found.value, found.low, found.high


def test_a_cell_announces_its_token_and_its_probability(checked):
    page = checked(TWO)
    expect(page.get_by_role("gridcell", name="␣Paris, 0.500")).to_have_count(2)
    page.get_by_role("button", name="pin ␣Paris").first.click()
    expect(page.get_by_role("gridcell", name="␣Paris, 0.500; pinned ●")).to_have_count(2)
    a_comparison(page)
    expect(page.get_by_role("gridcell", name="␣Paris, 0.500 | 0.500; pinned ●")).to_have_count(2)


def test_a_chart_is_also_a_table(checked):
    page = checked(ONE)
    page.get_by_role("button", name="pin ␣Paris").click()
    page.get_by_label("Plot").select_option("probability")
    page.get_by_text("Values as a table").click()
    across_layers = page.get_by_role("table", name="Across layers, at position 4")
    rows = [
        row.split("\t")
        for row in across_layers.locator("tr").evaluate_all(
            "rows => rows.map((row) => [...row.cells].map((each) => each.textContent).join('\\t'))"
        )
    ]
    assert rows[0] == ["layer", "␣Paris"]
    assert [row[0] for row in rows[1:]] == ["embed", "0", "1", "2", "3", "4"]
    assert [float(row[1]) for row in rows[1:]] == [0.25] * 4 + [0.5] * 2
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_table_of_a_chart_of_many_positions_says_what_it_leaves_out(checked):
    page = checked([made(3, 2100, 2)])
    page.get_by_text("Values as a table").click()
    table = page.get_by_role("table", name="Across positions, at layer 1")
    expect(table.locator("tbody tr")).to_have_count(2000)
    expect(table.locator("caption")).to_contain_text("the first 2,000 of 2,100, the rest is in the CSV")

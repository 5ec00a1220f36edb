"""The page without script in a real browser: nothing is fetched, columns line up, every ink can be read."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

import bauklens
from bauklens.show.page import page as page_html
from tests.made import HOSTILE, made

SHOTS = Path(__file__).parent / "screenshots"

CONTRASTS = """
() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = (color) => {
    paint.fillStyle = color;
    paint.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].map((byte) => byte / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    return color === "rgba(0, 0, 0, 0)" ? behind(element.parentElement) : color;
  };
  const texts = "td, th, th i, .check, .legend, figcaption b, h1, h2, summary, dt, dd";
  return [...document.querySelectorAll(texts)].map((element) => {
    const pair = [luminance(getComputedStyle(element).color), luminance(behind(element))].sort((a, b) => b - a);
    return { what: element.tagName + element.className + (element.getAttribute("style") ?? ""),
             contrast: (pair[0] + 0.05) / (pair[1] + 0.05),
             luminance: luminance(getComputedStyle(element).backgroundColor),
             ink: luminance(getComputedStyle(element).color) };
  });
}
"""

SPREADS = """
() => [...document.querySelectorAll("tbody td")].map((cell) => {
  const paint = document.createElement("canvas").getContext("2d");
  paint.fillStyle = getComputedStyle(cell).backgroundColor;
  paint.fillRect(0, 0, 1, 1);
  const parts = [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  return [cell.dataset.position, Math.max(...parts) - Math.min(...parts), cell.clientWidth < cell.scrollWidth];
})
"""
"""Of every cell its position, how far its background is from grey, 0..255, and whether its text is cut."""


@pytest.fixture
def show(opening):
    """As :func:`tests.conftest.opening`, without script: what nbviewer and an untrusted notebook show."""
    return lambda html, **options: opening(html, script=False, **options)


def every_pair():
    """A result whose cells run through all probabilities down and all magnitudes across."""
    steps = np.linspace(0, 1, 11)
    return made(
        11,
        12,
        1,
        probabilities=np.repeat(steps[:, None, None], 12, axis=1),
        magnitude=np.tile(np.concatenate([[0.5], steps]), (11, 1)),
        texts=["token"],
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_ink_can_be_read(show, scheme):
    check = {"max_abs_logit_difference": 0.0, "only_position": 99}
    lenses = [every_pair(), replace(every_pair(), check=check)]
    page, _, _ = show(page_html(lenses, title="T"), scheme=scheme)
    seen = page.evaluate(CONTRASTS)
    assert len(seen) > 264
    expect(page.locator("td.unread")).to_have_count(132)
    assert min(seen, key=lambda each: each["contrast"])["contrast"] >= 4.5


@pytest.mark.parametrize("look", ["default", "classic"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_columns_that_nothing_confirms_are_grey_and_the_caption_says_so(show, scheme, look):
    only = {"max_abs_logit_difference": 0.0, "only_position": 3}
    result = made(3, 5, 2, texts=["a long label of a model", "b"], check=only, predicts="labels", probabilities=None)
    page, _, _ = show(result.to_html(look=look), scheme=scheme)
    assert "grey: no output of the model confirms these columns, as its head reads only position 3" in page.inner_text(
        ".legend"
    )
    cells = page.evaluate(SPREADS)
    assert max(spread for position, spread, _ in cells if position != "3") < 24
    assert max(spread for position, spread, _ in cells if position == "3") > 24
    assert not any(is_cut for _, _, is_cut in cells)
    assert "a long label" in page.inner_text("td >> nth=0")
    page, _, _ = show(replace(result, check={"max_abs_logit_difference": 0.0}).to_html(look=look))
    expect(page.locator(".unread")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_numbers_are_seen(show, scheme):
    page, _, _ = show(every_pair().to_html(), scheme=scheme)
    grid = [each for each in page.evaluate(CONTRASTS) if each["what"].startswith("TD")]
    backgrounds = [grid[12 * row]["luminance"] for row in range(11)]
    inks = [grid[12 * row]["ink"] for row in range(11)]
    assert backgrounds == sorted(backgrounds, reverse=scheme == "light")
    assert inks == sorted(inks, reverse=scheme == "light")
    assert len(set(backgrounds)) == len(set(inks)) == 11
    bars = page.evaluate(
        "() => [...document.querySelectorAll('tbody tr:first-child td')].map(e => getComputedStyle(e).backgroundSize)"
    )
    assert [each.split()[0] for each in bars[1:]] == [f"{10 * step}%" for step in range(11)]


def test_the_classic_look_is_background_by_magnitude_and_ink_by_probability(show):
    page, _, _ = show(every_pair().to_html(look="classic"))
    grid = [each for each in page.evaluate(CONTRASTS) if each["what"].startswith("TD")]
    assert page.locator("thead th bdi").all_text_contents() == page.locator("tfoot th bdi").all_text_contents()
    across = [grid[column]["luminance"] for column in range(1, 12)]
    down = [grid[12 * row + 1]["ink"] for row in range(11)]
    assert across == sorted(across, reverse=True)
    assert down == sorted(down, reverse=True)
    assert across[-1] < across[0]
    assert down[-1] < down[0]
    assert len({grid[12 * row + 1]["luminance"] for row in range(11)}) == 1


PAINTED = """
(cells) => cells.map((cell) => {
  const paint = document.createElement("canvas").getContext("2d");
  const bytes = (colour) => {
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  return [bytes(getComputedStyle(cell).backgroundColor), bytes(getComputedStyle(cell).color)];
})
"""
"""The background and the ink of cells, red, green and blue in 0..255."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("script", [False, True])
def test_the_classic_look_has_the_callers_colour_and_ink_from_white_to_black(opening, scheme, script):
    page, _, _ = opening(every_pair().to_html(look="classic", color=[0, 0, 255]), scheme=scheme, script=script)
    if script:
        page.locator("figure.mounted").wait_for()
        assert page.locator(".heads .head bdi").all_text_contents() == ["token"] * 24
        box, foot = (page.locator(each).bounding_box() for each in (".scroll", ".row.foot"))
        assert abs(foot["y"] + foot["height"] - box["y"] - box["height"]) < 3
    cells = page.locator(".cell" if script else "tbody td")
    drawn = cells.evaluate_all(PAINTED)
    rows = [drawn[12 * row + 1 : 12 * row + 12] for row in range(11)]
    assert all(rows[row][10][0] == [0, 0, 255] and rows[row][0][0] == [255, 255, 255] for row in range(11))
    assert [rows[0][0][1], rows[10][0][1]] == [[255, 255, 255], [0, 0, 0]]
    assert abs(rows[5][0][1][0] - 128) <= 1


@pytest.mark.parametrize("columns", [1, 10, 80])
def test_every_cell_stands_in_its_column(show, columns):
    texts = ["a", " incomprehensibilities and more", "\n", "日本", "⟨E2⟩", "👩", ""]
    page, _, _ = show(made(31, columns, 1, texts=texts).to_html(title="T"))
    places = page.evaluate(
        """() => [...document.querySelectorAll("[data-position]")].map((element) => {
             const box = element.getBoundingClientRect();
             return [element.dataset.position, element.closest("table > *").tagName, box.left, box.width];
           })"""
    )
    assert len(places) == columns * (31 + 2)
    for position in range(columns):
        column = [each for each in places if each[0] == str(position)]
        assert {each[1] for each in column} == {"THEAD", "TBODY", "TFOOT"}
        assert len({(round(each[2], 1), round(each[3], 1)) for each in column}) == 1
        assert 40 < column[0][3] < 130
    rows = page.evaluate(
        """() => [...document.querySelectorAll("tbody tr")].map((row) => new Set(
             [...row.children].map((cell) => Math.round(cell.getBoundingClientRect().top))).size)"""
    )
    assert rows == [1] * 31 * math.ceil(columns / 12)  # of each part


@pytest.mark.parametrize("width", [1400, 480])
def test_the_table_scrolls_inside_its_own_box_with_its_headers_in_sight(show, width):
    page, _, _ = show(made(60, 41, 1).to_html(title="T"), width=width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    moved = page.evaluate(
        """() => {
             const box = document.querySelector(".scroll");
             box.scrollTo(1000, 600);
             const frame = box.getBoundingClientRect();
             const seen = [...box.children].findLast((part) => part.getBoundingClientRect().left <= frame.left + 1);
             const at = (query) => seen.querySelector(query).getBoundingClientRect();
             return { scrolled: [box.scrollLeft > 0, box.scrollTop > 0],
                      top: at("thead th").top - frame.top, left: at("tbody th").left - frame.left,
                      bottom: frame.bottom - at("tfoot th").bottom };
           }"""
    )
    assert moved["scrolled"] == [True, True]
    assert 0 <= moved["top"] <= 2
    assert 0 <= moved["left"] <= 2
    assert 0 <= moved["bottom"] <= 20  # room for a scroll bar


def test_hostile_texts_run_nothing_and_break_nothing(show):
    result = made(3, len(HOSTILE), 2, texts=HOSTILE, prompt="".join(HOSTILE), model=HOSTILE[0])
    page, asked, complaints = show(page_html([(HOSTILE[0], result)], title=HOSTILE[1]))
    page.locator("td").first.hover()
    assert page.evaluate("window.ran === undefined")
    assert (asked, complaints) == ([], [])
    expect(page.locator("tbody td")).to_have_count(3 * len(HOSTILE))
    assert page.locator("h1").text_content() == HOSTILE[1]
    assert page.locator("h2").text_content() == HOSTILE[0]


def test_another_script_in_the_page_would_not_run(opening):
    html = made().to_html().replace("</body>", "<script>window.ran = 1</script><img src='http://127.0.0.1:9/x'></body>")
    page, _, complaints = opening(html)
    expect(page.locator(".viewer")).to_have_count(1)
    assert page.evaluate("window.ran === undefined")
    assert any("Content Security Policy" in each for each in complaints)


@pytest.mark.parametrize("width", [1400, 480])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("look", ["default", "classic"])
def test_the_demo_page(show, demo, eiffel, scheme, width, look):
    """The page that the README shows; its pictures are kept to be looked at."""
    delta = bauklens.logit_lens(*demo, eiffel.prompt, stream="delta")
    page, asked, complaints = show(page_html([eiffel, delta], look=look), scheme=scheme, width=width)
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"demo-{look}-{scheme}-{width}.png", full_page=True)
    assert (asked, complaints) == ([], [])
    assert page.locator("table").first.locator("td[data-layer='27'][data-position='9']").text_content() == "␣Paris"
    expect(page.locator("table")).to_have_count(2)
    expect(page.locator(".check")).to_have_count(2)
    if look == "default":  # the classic look's contrast is that of its colour
        assert min(page.evaluate(CONTRASTS), key=lambda each: each["contrast"])["contrast"] >= 4.5

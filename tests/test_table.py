"""The table and the pages as text."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bauklens import LensError, save_report
from bauklens.show.legends import largest_magnitude
from bauklens.show.page import fragment, page
from bauklens.show.static_table import table
from tests.made import HOSTILE, made, unpacked


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text inside scripts."""

    def __init__(self, html):
        super().__init__()
        self.elements = []
        self.texts = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.texts.append("")

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data

    def all(self, tag):
        return [attributes for each, attributes in self.elements if each == tag]


def test_a_cell_for_each_layer_and_position():
    result = made(rows=3, columns=4)
    cells = Elements(table(result)).all("td")
    assert [(each["data-layer"], each["data-position"]) for each in cells] == [
        (layer, str(position)) for layer in result.layers for position in range(4)
    ]


def test_a_cell_carries_two_numbers():
    top = np.array([[0.1234, 1, 0], [0.5, 1e-9, 0.0309]])
    result = made(2, 3, 2, probabilities=np.stack([top, top / 3], axis=-1))
    styles = [each["style"] for each in Elements(table(result)).all("td")]
    assert styles == [
        "--p:.123;--m:.167",
        "--p:1;--m:.333",
        "--p:0;--m:.5",
        "--p:.5;--m:.667",
        "--p:0;--m:.833",
        "--p:.031;--m:1",
    ]


def test_the_largest_magnitude_is_that_from_position_1_on_and_position_0_is_cut_to_1():
    result = made(2, 3, 1, magnitude=[[1000, 1, 2], [2000, 3, 4]])
    assert largest_magnitude(result) == 4
    assert [each["style"].split("--m:")[1] for each in Elements(table(result)).all("td")] == [
        "1",
        ".25",
        ".5",
        "1",
        ".75",
        "1",
    ]


def test_one_position_is_measured_by_itself_and_nothing_divides_by_zero():
    assert largest_magnitude(made(2, 1, 1, magnitude=[[3], [6]])) == 6
    assert "--m:0" in table(made(2, 2, 1, magnitude=np.zeros((2, 2))))


def test_the_hover_text_has_the_magnitude_and_the_top_k():
    hover = Elements(table(made(2, 2, 2))).all("td")[0]["title"]
    assert hover == "layer embed, position 0: a\nmagnitude 1\n0.500  a\n0.100  ␣b"


def test_tokens_stand_above_and_below():
    html = table(made(texts=["up"], columns=3))
    head, rest = html.split("<tbody>")
    body, foot = rest.split("<tfoot>")
    assert head.count("<bdi>up</bdi>") == foot.count("<bdi>up</bdi>") == 3
    assert 'scope="row"' in body


def test_the_check_stands_under_each_table():
    for html in (fragment(made()), page([made(), made()])):
        assert html.count('class="check"') == html.count("<table")
    assert "to within 1.2e-05" in fragment(made(check={"max_abs_logit_difference": 1.23e-5}))


class TestHostileTexts:
    @pytest.fixture
    def result(self):
        return made(3, len(HOSTILE), 2, texts=HOSTILE, prompt="".join(HOSTILE), model="<img src=x>")

    @pytest.fixture
    def html(self, result):
        return page([(HOSTILE[0], result)], title=HOSTILE[1])

    def test_there_are_only_our_elements(self, html, result):
        found = Elements(html)
        assert {tag for tag, _ in found.elements} <= {
            *("html", "head", "meta", "link", "title", "style", "body", "main", "h1", "h2", "section", "figure"),
            *("figcaption", "b", "s", "i", "span", "div", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "bdi"),
            *("p", "details", "summary", "dl", "dt", "dd", "script"),
        }
        assert len(found.all("td")) == 3 * len(HOSTILE)
        assert [each.get("class") for each in found.all("script")] == ["bauklens-data", None]
        assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)

    def test_nothing_ends_or_comments_out_the_data(self, html, result):
        data = re.search(r'<script type="application/json" class="bauklens-data">(.*?)</script>', html)[1]
        assert not re.search("[<>&\u2028\u2029]", data)
        (lens,) = json.loads(data)["lenses"]
        assert lens["head"]["plain"] == json.loads(json.dumps(result.head()))

    def test_ids_that_share_a_text_stay_apart(self, html, result):
        vocabulary = unpacked(html)["vocabulary"]
        same = [each for each, text in zip(vocabulary["ids"], vocabulary["texts"], strict=True) if text == "same"]
        assert len(set(same)) == 2

    def test_long_texts_are_cut_in_cells(self, html):
        assert "x" * 201 not in re.search("<table.*</table>", html, re.DOTALL)[0]


class TestPage:
    def test_no_address_outside(self):
        html = page([made()], title="A").replace("http://www.w3.org/2000/svg", "the name of SVG")
        assert "http:" not in html
        assert "https:" not in html
        assert "default-src 'none'" in html
        assert not re.search(r"(src|href)=\"(?!data:)", html)
        assert not re.search(r"url\((?!#)", html)  # but for what the page itself defines
        assert "@import" not in html

    def test_headings_are_not_said_twice(self):
        assert page([made(prompt="P")]).count("P</bdi></h") == 1
        assert page([("one", made()), ("two", made())], title="T").count("<h2>") == 2
        assert page([made(prompt="P"), made(prompt="P")], title="T").count("<h2>") == 1

    def test_provenance_is_shown(self):
        assert "<dt>packages</dt><dd><bdi>bauklens 0</bdi></dd>" in page([made()])

    def test_it_is_written_whole_or_not_at_all(self, tmp_path):
        path = tmp_path / "report.html"
        save_report(made(), path, title="first")
        with pytest.raises(LensError):
            save_report(made(), path, look="other")
        assert "first" in path.read_text(encoding="utf-8")
        save_report([made()], path, title="second")
        assert "second" in path.read_text(encoding="utf-8")
        assert list(tmp_path.iterdir()) == [path]
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask()

    def test_to_html_writes_and_returns_the_page(self, tmp_path):
        html = made().to_html(tmp_path / "lens.html", title="T")
        assert (tmp_path / "lens.html").read_text(encoding="utf-8") == html

    def test_a_device_is_written_to_and_not_replaced(self):
        save_report(made(), "/dev/null")
        assert not Path("/dev/null").is_file()

    def test_nothing_is_left_of_a_write_that_fails(self, tmp_path, monkeypatch):
        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", fail)
        with pytest.raises(LensError, match="No space left on device"):
            save_report(made(), tmp_path / "report.html")
        assert list(tmp_path.iterdir()) == []

    def test_a_name_that_is_too_long(self, tmp_path):
        with pytest.raises(LensError, match="File name too long"):
            save_report(made(), tmp_path / ("x" * 300))

    def test_ids_without_a_text_have_a_heading(self):
        assert "<h1><bdi>a b</bdi></h1>" in page([made(columns=2, prompt="")])

    def test_bad_input(self, tmp_path):
        for path, message in [
            (tmp_path, "it is a folder"),
            (tmp_path / "no" / "file.html", "the folder .* does not exist"),
        ]:
            with pytest.raises(LensError, match=message):
                save_report(made(), path)
        with pytest.raises(LensError, match="unknown look 'x': pass one of default, classic"):
            page([made()], look="x")
        with pytest.raises(LensError, match="a report needs at least one result"):
            page([])
        for wrong in ("text", [1], [("heading", None)]):
            with pytest.raises(LensError, match="a report is made of LensResults"):
                save_report(wrong, tmp_path / "report.html")

    @pytest.mark.parametrize(
        ("color", "css"),
        [("#fab", "#fab"), ("#ff8800", "#ff8800"), ([255, 0, 10], "rgb(255 0 10)"), ((0.0, 0, 0), "rgb(0 0 0)")],
    )
    def test_colours(self, color, css):
        assert f'style="--classic:{css}"' in fragment(made(), look="classic", color=color)

    @pytest.mark.parametrize(
        "color",
        [
            "red",
            5,
            b"red",
            ["a", "b", "c"],
            [float("nan"), 0, 0],
            "red;}",
            "url(x)",
            "#12",
            [True, 2, 3],
            [1, 2],
            [0, 0, 256],
            '"',
        ],
    )
    def test_colours_that_are_none(self, color):
        with pytest.raises(LensError, match="unknown colour"):
            fragment(made(), look="classic", color=color)


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask

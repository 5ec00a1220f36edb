"""Figures for publications: the same from Python and from the viewer, readable, and with every text a text."""

import io
import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from playwright.sync_api import expect

import bauklens
from bauklens import LensError
from bauklens.result.tracked import tracked_of
from bauklens.show.figure_colours import PALETTES, SHAPES, THEMES, Colours, contrast
from bauklens.show.figure_values import pins_of
from bauklens.show.page import page
from tests.made import HOSTILE, made
from tests.test_browser import PAINTED
from tests.test_viewer import rising

AT = {"positions": [1, 3]}
VIEWER = Path(bauklens.__file__).parent / "viewer"


def texts_in(svg):
    return re.findall(r"<text [^>]*>([^<]*)</text>", svg)


def cells_in(svg):
    """The texts of the cells and heads."""
    return [text for text in texts_in(svg) if text]


def followed(lens, **changes):
    """A lens that follows token 4 everywhere: its rank falls from 600 to 1."""
    rows, columns = lens.magnitude.shape
    rank = np.geomspace(600, 1, rows * columns).reshape(rows, columns).round()
    target = {"text": " Paris", "token_ids": [4], "part": "token", "note": ""}
    target |= {"probability": 0.5 / rank, "logit": -np.log(rank), "rank": rank}
    return rising(rows, columns, targets=[target], **changes)


class TestPython:
    def test_every_cell_is_there_and_what_is_chosen_only(self):
        lens = rising()
        svg = lens.figure(layers=["embed", -1], positions=[0, 4]).svg()
        texts = texts_in(svg)
        assert texts[:4] == ["0", "a", "4", "␣Paris"]
        assert texts[4:10] == ["embed", "a", "␣b", "4", "a", "␣Paris"]

    def test_it_is_as_wide_as_it_was_asked_to_be(self):
        figure = rising().figure(width=85)
        assert re.search(r'width="240.94pt"', figure.svg())
        assert figure.width == pytest.approx(85)

    def test_pins_are_framed_and_in_the_legend(self):
        svg = followed(rising()).figure(pins=[" Paris", "a"]).svg()
        assert svg.count('fill="none" stroke="#b3261e"') == 2
        assert "framed: the pin leads" in texts_in(svg)
        assert svg.count("␣Paris") == 4
        assert "framed" not in rising().figure(pins=["c\n"]).svg()

    @pytest.mark.parametrize("colour", ["probability", "token", "rank", "logprob", "entropy", "classic", "magnitude"])
    def test_colours(self, colour):
        svg = followed(rising()).figure(pins=[" Paris"], colour=colour, layers=range(5)).svg()
        about = {"token": "probability of ␣Paris", "rank": "rank of ␣Paris, logarithmic", "entropy": "entropy, nats"}
        about |= {"logprob": "log probability of ␣Paris, nats", "classic": "background: magnitude"}
        assert about.get(colour, colour) in " ".join(texts_in(svg))

    def test_the_classic_look_has_the_colour_that_is_asked_for_and_its_heads_twice(self):
        svg = rising().figure(colour="classic", color=[0, 0, 255]).svg()
        assert svg.count('fill="#0000ff"') == 1
        assert svg.count('fill="#fff4c2"') == 2 * 5
        assert rising().figure(colour="classic", color="#00F").svg() == svg

    def test_a_rank_of_1_is_full(self):
        svg = followed(rising()).figure(pins=[" Paris"], colour="rank").svg()
        assert svg.count('fill="#4d94ff"') == 2  # at the top of the last two rows, and no others

    def test_what_was_generated_is_marked(self):
        svg = rising(generated_from=3).figure().svg()
        assert svg.count('font-style="italic"') == 2
        assert svg.count('fill="#d9f2dd"') == 2
        assert "italic, after the line: generated" in texts_in(svg)
        assert "polyline" in svg
        assert "polyline" not in rising().figure().svg()

    def test_the_caption_says_model_prompt_and_lens(self):
        figure = rising(decoder="tuned").figure(caption=True, layers=[0], positions=[1, 2])
        assert "of made" in figure.caption
        assert "“a b c”" in figure.caption
        assert "1 of 6 layers, 2 of 5 positions" in figure.caption
        assert " ".join(texts_in(figure.svg())).endswith(figure.caption)
        assert "own words" in texts_in(rising().figure(caption="own words", title="A title").svg())

    def test_notes_are_numbers_in_corners_and_a_list(self):
        notes = {(-1, 4): "second", ("embed", 1): "first " * 60, (3, 0): "on a row that is not shown"}
        svg = rising().figure(notes=notes, layers=["embed", 4], caption="A caption").svg()
        texts = texts_in(svg)
        there = texts.index("A caption")
        assert texts[there + 1] == "1"
        assert texts[there + 2].startswith("the embedding, position 1, ␣b: first first")
        assert texts[-2:] == ["2", "layer 4, position 4, ␣Paris: second"]
        assert svg.count('font-weight="bold">1<') == svg.count('font-weight="bold">2<') == 2
        assert "not shown" not in svg
        assert rising().figure(notes={}).svg() == rising().figure().svg()

    def test_charts_follow_the_pins_or_what_leads(self):
        svg = followed(rising()).figure(pins=[" Paris"], charts=True).svg()
        assert "The pins at position 4, ␣Paris" in texts_in(svg)
        svg = rising().figure(charts=True, positions=[0, 1]).svg()
        assert "What leads in some layer, at position 1, ␣b" in texts_in(svg)

    def test_of_many_positions_the_last_that_fit_are_shown_and_it_says_so(self):
        lens = rising(3, 60)
        figure = lens.figure()
        assert "the last 24 of 60 positions" in texts_in(figure.svg())
        assert "24 of 60 positions" in figure.caption
        assert "the last" not in lens.figure(positions=range(40, 60)).svg()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"pins": ["nowhere"]}, r"'nowhere' is not known in this lens: .* Pass it in logit_lens\(..., targets="),
            ({"pins": ["Paris"]}, "Its text may begin with a space: ' Paris'"),
            ({"pins": ["a", "a"]}, "the pin 'a' is given twice"),
            ({"pins": ["a", 0]}, "the pin 'a' is given twice"),
            ({"pins": list("abcdefghi")}, "there are 9 pins: pass at most 8"),
            ({"colour": "loss"}, "unknown colour 'loss': pass one of 'both', 'classic'"),
            ({"colour": "rank"}, "colour='rank' needs a pin"),
            ({"palette": "jet"}, "unknown palette 'jet'"),
            ({"palette": "grey", "colour": "classic"}, "the classic look has colours of its own"),
            ({"color": [0, 0, 255]}, r"color=\[0, 0, 255\] needs the classic look: pass colour='classic' too"),
            ({"color": [0, 0, 256], "colour": "classic"}, r"unknown colour \[0, 0, 256\]"),
            ({"theme": "blue"}, "unknown theme 'blue'"),
            ({"width": 5}, "width is 5: pass a number from 20 to 2,000"),
            ({"font_size": "big"}, "font_size is 'big': pass a number from 3 to 40"),
            ({"width": 30, "positions": range(5)}, "5 positions do not fit into 30 mm at 7 pt, of which 3 do"),
            ({"positions": []}, "positions is empty"),
            ({"positions": [0, -5]}, "a position is given twice"),
            ({"positions": [77]}, "position 77 is not in this table"),
            ({"layers": [9]}, "unknown layer 9"),
            ({"notes": {(9, 0): "a"}}, "unknown layer 9"),
            ({"notes": {(1, 0): ""}}, r"the note on \(1, 0\) is '': pass a text"),
            ({"path": "figure.gif"}, "'figure.gif' ends in none of them"),
        ],
    )
    def test_bad_arguments(self, options, message):
        with pytest.raises(LensError, match=message):
            rising().figure(**options)

    def test_a_tracked_token_can_be_pinned(self, demo):
        lens = bauklens.logit_lens(*demo, "The Eiffel Tower is in", topk=2)
        ids = lens.tracked.token_ids.tolist()
        far = next(token for token in ids if token not in lens.top_ids)
        svg = lens.figure(pins=[far], colour="rank", charts=True).svg()
        assert "not known" not in svg
        assert svg.count("<polyline") > 2

    @pytest.mark.parametrize(("exact_to", "rank"), [(64, 1), (0, 2)])
    def test_tokens_that_are_as_probable_share_the_better_rank_if_it_is_exact(self, exact_to, rank):
        logs, ranks = np.full((1, 2, 2), -0.7, np.float16), np.ones((1, 2, 2), np.int64)
        lens = made(1, 2, 2, tracked=tracked_of((0, 1), logs, ranks, np.full((1, 2), exact_to)))
        assert lens.target(1).rank.tolist() == [[1, 1]]
        assert pins_of(lens, [1])[0].rank.tolist() == [[rank, 1]]  # it is second in the first cell's top k

    def test_a_token_that_is_in_some_top_k_only_says_where_it_is_not_known(self):
        svg = rising().figure(pins=[" Paris"], colour="token").svg()
        assert "probability of ␣Paris; a stroke: not known" in texts_in(svg)
        assert svg.count("<polyline") == 6 * 4

    def test_columns_that_nothing_confirms_are_grey(self):
        check = {"max_abs_logit_difference": 0.0, "only_position": 4}
        svg = rising(check=check).figure().svg()
        assert svg.count('fill="#eceef1"') == 4
        assert "its head reads only position 4" in " ".join(texts_in(svg))


class TestColours:
    @pytest.mark.parametrize("theme", THEMES)
    @pytest.mark.parametrize("palette", PALETTES)
    def test_every_text_can_be_read_and_lightness_runs_one_way(self, palette, theme):
        colours = Colours(palette, theme)
        steps = [colours.background(part) for part in np.linspace(0, 1, 41)]
        for part, fill in zip(np.linspace(0, 1, 41), steps, strict=True):
            assert contrast(colours.text(part, fill), fill) >= 4.5
        lights = [contrast("#000000", fill) for fill in steps]
        rising_ones = np.diff(lights) > 0
        assert rising_ones.all() or not rising_ones.any()
        assert all(contrast(pin, colours["paper"]) >= 4.5 for pin in colours.pins)
        assert len(colours.pins) == len(SHAPES)

    @pytest.mark.parametrize("theme", THEMES)
    def test_the_classic_look_runs_from_white_to_its_colour_and_its_ink_from_white_to_black(self, theme):
        colours = Colours(theme=theme, color="#0000ff")
        assert colours.classic(0, 0) == ("#ffffff", "#ffffff")
        assert colours.classic(1, 1) == ("#0000ff", "#000000")
        assert colours.classic(0.5, 0.5) == ("#8080ff", "#808080")
        assert colours.classic(1, 1, unread=True) == ("#808080", "#000000")
        assert Colours().classic(0, 1)[0] == "#3232ff"

    def test_they_are_those_of_the_stylesheet(self):
        style = "".join((VIEWER / f"{name}.css").read_text(encoding="utf-8") for name in ("table", "lens"))
        pairs = dict(re.findall(r"--([\w-]+): light-dark\((#\w+, #\w+)\)", style))
        for name in ("paper", "ink", "soft", "line", "likely", "bar", "unlikely", "faint", "unread", "token"):
            assert pairs[name] == f"{Colours()[name]}, {Colours(theme='dark')[name]}"
        for place in range(8):
            assert pairs[f"pin-{place}"] == f"{Colours().pins[place]}, {Colours(theme='dark').pins[place]}"


class TestFiles:
    def test_svg_pdf_and_png(self, tmp_path):
        figure = followed(rising()).figure(tmp_path / "a.svg", pins=[" Paris"], charts=True, caption=True)
        assert (tmp_path / "a.svg").read_text(encoding="utf-8") == figure.svg() == figure._repr_svg_()
        figure.save(tmp_path / "a.pdf")
        assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
        assert b"/Type3" not in figure.pdf()
        assert figure.pdf() == figure.pdf()
        figure.save(tmp_path / "a.png", dpi=100)
        width = int.from_bytes((tmp_path / "a.png").read_bytes()[16:20], "big")
        assert abs(width - 170 / 25.4 * 100) <= 1
        assert figure._repr_png_().startswith(b"\x89PNG")

    def test_a_png_has_the_cells_of_the_svg(self):
        """Each at its place, in its colour."""
        figure = rising(generated_from=3).figure()
        pixels = matplotlib.image.imread(io.BytesIO(figure.png(288)))[..., :3] * 255
        boxes = re.findall(
            r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" fill="(#\w+)"', figure.svg()
        )
        cells = [box for box in boxes if float(box[2]) > 10 and 5 < float(box[3]) < 30]
        assert len(cells) == 5 * 6 + 5
        for x, y, _, _, fill in cells:
            corner = pixels[int(4 * (float(y) + 1)), int(4 * (float(x) + 1))]
            assert np.allclose(corner, [int(fill[place : place + 2], 16) for place in (1, 3, 5)], atol=1)

    def test_a_svg_needs_no_matplotlib_and_a_png_says_what_to_install(self, monkeypatch):
        monkeypatch.delitem(sys.modules, "bauklens.show.figure_matplotlib", raising=False)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        figure = rising().figure()
        assert figure.svg()
        with pytest.raises(LensError, match="needs matplotlib: pip install matplotlib"):
            figure.png()

    def test_hostile_texts_are_texts_and_nothing_warns(self):
        texts = [*HOSTILE[:-1], "$\\frac{1}{0}$", "中文", "👩"]
        lens = made(2, 8, 2, texts=texts, prompt="$x$ <b> 中")
        figure = lens.figure(caption=True, title="$y$ <i>", pins=["中文"], positions=range(8))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert figure.png(72)
            assert figure.pdf()
        svg = figure.svg()
        assert not re.search(r"<(img|h1|b|i|script)\b", svg)
        assert "中文" in svg
        __import__("xml.etree.ElementTree").etree.ElementTree.fromstring(svg)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
class TestSame:
    SCRIPT = """
      import fs from "node:fs";
      const [folder, file] = process.argv.slice(2);
      const { unpack } = await import(`${folder}/data.js`);
      const { figureSvg } = await import(`${folder}/figurelayout.js`);
      const { figurePython, figureTold } = await import(`${folder}/figuretold.js`);
      const { view, cases } = JSON.parse(fs.readFileSync(file));
      const lens = await unpack(view.lenses[0]);
      console.log(JSON.stringify(cases.map((each) => {
        const pins = each.pins.map((text) => lens.texts.indexOf(text));
        const whole = { from: 0, to: lens.rows - 1, every: 1, first: 0, last: lens.columns - 1 };
        const look = { width: 170, font: 7, palette: "default", theme: "light", colour: "both", color: "#3232ff" };
        const usual = { ...whole, ...look, charts: false, caption: false, cellNotes: [] };
        const chosen = { ...usual, ...each, pins };
        const told = figureTold(lens, chosen);
        const svg = told.error ? "" : figureSvg(lens, told.options);
        return { error: told.error, svg, python: figurePython(lens, chosen) };
      })));
    """

    NOTED = (
        {"row": 5, "column": 3, "text": "It turns here: <b>\n“quoted”, 中文 and 👩 " + "word " * 40},
        {"row": 0, "column": 0, "text": "The start."},
    )

    CASES = (
        {"pins": [" Paris"], "charts": True, "caption": True},
        {"pins": [], "charts": True, "every": 2, "first": 1, "last": 3, "palette": "grey"},
        {"pins": [" Paris", "a"], "colour": "rank", "palette": "viridis", "theme": "dark", "width": 85, "font": 5.5},
        {"pins": [" Paris"], "colour": "logprob", "palette": "cividis"},
        {"pins": ["c\n"], "colour": "token", "charts": True, "from": 1, "to": 4},
        {"pins": [], "colour": "entropy", "caption": True, "theme": "dark"},
        {"pins": [], "colour": "classic", "width": 60},
        {"pins": [" Paris", "a"], "colour": "classic", "color": "#008888", "theme": "dark", "cellNotes": NOTED},
        {"pins": [" Paris"], "cellNotes": NOTED, "caption": True, "width": 85},
        {"pins": [], "cellNotes": NOTED, "from": 1, "first": 1, "theme": "dark"},
    )

    def drawn(self, lens, cases, tmp_path):
        view = json.loads(re.search(r'class="bauklens-data">(.*?)</script>', page([lens]))[1])
        (tmp_path / "same.mjs").write_text(self.SCRIPT, encoding="utf-8")
        (tmp_path / "given.json").write_text(json.dumps({"view": view, "cases": cases}), encoding="utf-8")
        command = ["node", str(tmp_path / "same.mjs"), str(VIEWER), str(tmp_path / "given.json")]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout)

    @pytest.mark.parametrize(
        "lens",
        [
            followed(rising(), generated_from=3),
            followed(rising(12, 4), check={"max_abs_logit_difference": 0.0, "only_position": 2}),
            followed(
                rising(),
                unmapped=["embed", "3"],
                decoder="tuned",
                prompt="中文 “quoted”\n<b>\t\x1b\u202e\xa0é " + "word " * 90,
            ),
            followed(rising(), predicts="labels"),
            followed(rising(), provenance={"edits": [{"edit": "zero", "where": "mlp", "layers": ["1", "2"]} | AT]}),
            followed(rising(), magnitude=np.full((6, 5), np.nan), provenance={"source": "LogitLensKit"}),
        ],
        ids=["generated", "one position", "unmapped", "labels", "edited", "no magnitudes"],
    )
    def test_the_viewer_draws_the_same_figure_and_its_python_makes_it(self, lens, tmp_path):
        cases = [{"last": len(lens.positions) - 1} | case for case in self.CASES]
        for case, told in zip(cases, self.drawn(lens, cases, tmp_path), strict=True):
            assert told["error"] == ""
            svg = self.made_by(lens, told["python"]).svg()
            assert svg.splitlines() == told["svg"].splitlines(), case

    def test_both_say_what_does_not_fit(self, tmp_path):
        (told,) = self.drawn(rising(), [{"pins": [], "width": 25}], tmp_path)
        with pytest.raises(LensError, match=re.escape(told["error"])):
            rising().figure(positions=range(5), width=25)

    def made_by(self, lens, python):
        """The figure that the viewer's line of Python makes, without its file."""
        return eval(python.replace('"figure.pdf", ', "").replace('"figure.pdf"', ""), {"lens": lens})


class TestDialog:
    @pytest.fixture
    def opened(self, opening):
        def open_dialog(lenses, report=None, **options):
            page_shown, asked, complaints = opening(page(lenses, title="T", **(report or {})), **options)
            page_shown.locator("figure.mounted").wait_for()
            page_shown.locator("summary", has_text="Export").click()
            page_shown.get_by_role("button", name="Figure…").click()
            assert (asked, complaints) == ([], [])
            return page_shown.get_by_role("dialog", name="Figure")

        return open_dialog

    def test_it_draws_what_is_chosen_and_says_how_python_does(self, opened):
        lens = followed(rising(), generated_from=3)
        dialog = opened([lens])
        assert dialog.locator("code").inner_text() == 'lens.figure("figure.pdf", pins=[" Paris"], caption=True)'
        dialog.get_by_label("from layer").select_option("1")
        dialog.get_by_label("layer step").fill("2")
        dialog.get_by_label("layer step").press("Enter")
        dialog.get_by_label("to position").select_option("3")
        dialog.get_by_label("palette").select_option("cividis")
        dialog.get_by_label("charts").check()
        dialog.get_by_label("caption", exact=True).uncheck()
        told = dialog.locator("code").inner_text()
        expected = 'layers=[0, 2, 4], positions=slice(0, 4), pins=[" Paris"], charts=True, palette="cividis"'
        assert told == f'lens.figure("figure.pdf", {expected})'
        with dialog.page.expect_download() as download:
            dialog.get_by_role("button", name="Download SVG").click()
        svg = Path(download.value.path()).read_text(encoding="utf-8")
        made_by_python = lens.figure(
            layers=[0, 2, 4], positions=slice(0, 4), pins=[" Paris"], charts=True, palette="cividis"
        )
        assert svg == made_by_python.svg()
        assert dialog.locator(".preview img").evaluate("image => image.naturalWidth") > 600

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_the_classic_look_has_the_colours_of_the_page(self, opened, scheme):
        lens = rising()
        dialog = opened([lens], report={"look": "classic", "color": "#088"}, scheme=scheme)
        assert dialog.get_by_label("colour").input_value() == "classic"
        on_the_page = dialog.page.locator(".frame .cell").evaluate_all(PAINTED)
        with dialog.page.expect_download() as download:
            dialog.get_by_role("button", name="Download SVG").click()
        svg = Path(download.value.path()).read_text(encoding="utf-8")
        cells = re.findall(r'fill="(#\w+)"/>\n<text [^>]*fill="(#\w+)"[^>]*monospace" font-size="[\d.]+">', svg)
        bytes_of = [[[int(each[at : at + 2], 16) for at in (1, 3, 5)] for each in cell] for cell in cells]
        drawn = [each for each, cell in zip(bytes_of, cells, strict=True) if cell[0] != "#fff4c2"]  # a head
        assert np.abs(np.array(drawn) - np.array(on_the_page)).max() <= 1
        python = dialog.locator("code").inner_text()
        assert 'colour="classic", color="#008888"' in python
        assert svg == lens.figure(pins=[], colour="classic", color="#008888", caption=True).svg()

    def test_the_notes_of_the_page_are_drawn_unless_they_are_not_wanted(self, opened):
        lens = rising()
        dialog = opened([lens], report={"state": {"notes": [["3", 2, "It turns 👩."], ["0", 1, "Here."]]}})
        python = dialog.locator("code").inner_text()
        assert python.endswith('notes={("3", 2): "It turns \\U0001f469.", ("0", 1): "Here."})')
        with dialog.page.expect_download() as download:
            dialog.get_by_role("button", name="Download SVG").click()
        svg = Path(download.value.path()).read_text(encoding="utf-8")
        assert svg == lens.figure(notes={(3, 2): "It turns 👩.", (0, 1): "Here."}, caption=True).svg()
        dialog.get_by_label("notes").uncheck()
        assert "notes" not in dialog.locator("code").inner_text()

    def test_without_notes_none_are_offered(self, opened):
        expect(opened([rising()]).get_by_label("notes")).to_be_hidden()

    def test_it_begins_with_the_colour_of_the_page_and_draws_either_lens(self, opening):
        lens = followed(rising(), generated_from=3)
        page_shown, _, complaints = opening(page([lens, followed(rising(), stream="delta")], title="T"))
        page_shown.locator("figure.mounted").wait_for()
        page_shown.get_by_role("button", name="side by side").click()
        page_shown.get_by_label("find a token").fill(" b")
        page_shown.get_by_label("find a token").press("Enter")
        page_shown.get_by_label("Colour").select_option("rank")
        page_shown.locator("summary", has_text="Export").click()
        page_shown.get_by_role("button", name="Figure…").click()
        dialog = page_shown.get_by_role("dialog", name="Figure")
        expect(dialog.get_by_label("colour")).to_have_value("rank")
        expect(dialog.locator("code")).to_have_text(
            'lens.figure("figure.pdf", pins=[" b", " Paris"], colour="rank", caption=True)'
        )
        dialog.get_by_label("lens").select_option("delta")
        expect(dialog).to_have_count(1)
        expect(dialog.get_by_label("lens").locator("option:checked")).to_have_text("delta")
        with page_shown.expect_download() as download:
            dialog.get_by_role("button", name="Download SVG").click()
        assert "delta" in download.value.suggested_filename
        assert complaints == []

    def test_a_png_has_300_dots_an_inch(self, opened):
        dialog = opened([rising()])
        with dialog.page.expect_download() as download:
            dialog.get_by_role("button", name="Download PNG").click()
        width = int.from_bytes(Path(download.value.path()).read_bytes()[16:20], "big")
        assert abs(width - 170 / 25.4 * 300) <= 4

    def test_what_does_not_fit_is_said_and_cannot_be_saved(self, opened):
        dialog = opened([rising()])
        dialog.get_by_label("width").fill("25")
        dialog.get_by_label("width").press("Enter")
        assert "5 positions do not fit into 25 mm at 7 pt" in dialog.get_by_role("status").inner_text()
        assert dialog.get_by_role("button", name="Download SVG").is_disabled()
        expect(dialog.locator(".preview img")).to_have_count(0)

    @pytest.mark.parametrize("width", [1400, 412])
    def test_it_fits_the_page_and_closes(self, opened, width):
        dialog = opened([rising()], width=width)
        box = dialog.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert dialog.evaluate("each => each.scrollWidth <= each.clientWidth")
        dialog.page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)

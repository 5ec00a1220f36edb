"""The bar of pins and the charts in a real browser: sums and differences of pins, ranks, positions and files."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

import bauklens
from bauklens.show.page import fragment
from bauklens.show.page import page as page_html
from tests.made import made
from tests.test_access import AXE
from tests.test_viewer import TEXTS, cell, rising, told
from tests.tiny import tiny_model, tiny_tokenizer

MINUS, UNKNOWN = "\N{MINUS SIGN}", "\N{EN DASH}"


@pytest.fixture
def viewer(opening):
    """Opens results in the viewer -> the page; nothing may be fetched, and nothing complained of."""
    opened = []

    def open_viewer(results, **options):
        page, asked, complaints = opening(page_html(results, title="T"), **options)
        page.locator("figure.mounted").first.wait_for()
        opened.append((asked, complaints))
        return page

    yield open_viewer
    for asked, complaints in opened:
        assert (asked, complaints) == ([], [])


def target(token, probability, rank, *, part="token", ids=None, logit=None):
    grids = {"probability": np.full((6, 5), probability), "rank": np.full((6, 5), float(rank))}
    grids["logit"] = np.full((6, 5), np.log(probability) + 7) if logit is None else logit
    return {"text": TEXTS[token], "token_ids": ids or [token], "part": part, "note": "", **grids}


def followed(**changes):
    """A lens that follows " Paris", " b" and "a" in every cell."""
    return rising(targets=[target(4, 0.5, 1), target(1, 0.25, 300), target(0, 0.125, 20000)], **changes)


def chips(page):
    return [
        [" ".join(chip.inner_text().split()), chip.get_attribute("aria-pressed")]
        for chip in page.locator(".chip").all()
    ]


def combine(page, *, names=(), difference=None):
    page.locator("summary", has_text="Combine").click()
    for name in names:
        page.locator(".combine label.tick", has_text=name).locator("input").check()
    if names:
        page.get_by_role("button", name="Pin the sum").click()
    if difference:
        for label, name in zip(("Logit of", "less that of"), difference, strict=True):
            page.get_by_label(label, exact=True).select_option(label=name)
        page.get_by_role("button", name="Show the difference").click()


def ticks(page, chart=0):
    return page.locator(".chart").nth(chart).locator("text.tick[text-anchor=end]:not([transform])").all_text_contents()


class TestTheBar:
    def test_every_pin_has_a_chip_with_its_rank_and_one_is_active(self, viewer):
        page = viewer([followed()])
        assert chips(page) == [["● ␣Paris rank 1", "true"], ["▲ ␣b rank 300", "false"], ["■ a rank 20,000", "false"]]
        page.locator(".chip").nth(1).click()
        assert [pressed for _, pressed in chips(page)] == ["false", "true", "false"]
        assert page.locator(".heat figcaption").inner_text().startswith("▲ ␣b in every cell")
        weights = page.locator(".chip bdi").evaluate_all("all => all.map((each) => getComputedStyle(each).fontWeight)")
        assert weights == ["400", "700", "400"]  # it is marked by more than a colour
        page.get_by_role("button", name="remove ␣Paris").click()
        assert chips(page) == [["▲ ␣b rank 300", "true"], ["■ a rank 20,000", "false"]]
        for name in ("␣b", "a"):
            page.get_by_role("button", name=f"remove {name}").click()
        assert not page.locator(".pinbar").is_visible()

    def test_a_pin_whose_rank_is_not_known_says_so(self, viewer):
        page = viewer([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()
        assert chips(page) == [["● ␣Paris rank 1", "true"]]
        cell(page, 2, 1).click()
        assert chips(page) == [["● ␣Paris not known", "true"]]
        assert "outside the top 3" in page.locator(".chip").get_attribute("title")
        note = page.locator(".trajectories .note").inner_text()
        assert note == (
            '␣Paris is known only in cells with it in the top 3. To know it in every cell, pass targets=[" Paris"].'
        )

    def test_the_best_rank_of_the_active_pin_is_said_and_leads_to_its_cell(self, viewer):
        ranks = np.full((6, 5), 900.0)
        ranks[0, 0], ranks[3, 2] = 1, 12
        page = viewer([rising(targets=[{**target(1, 0.25, 1), "rank": ranks}, target(4, 0.5, 1)])])
        assert page.locator(".best").inner_text().split("\n") == ["Best rank", "12 at layer 2, position 2"]
        page.get_by_role("button", name="12 at layer 2, position 2").click()
        expect(page.locator(".place small")).to_have_text("layer 2, position 2")
        page.locator(".chip").nth(1).click()
        expect(page.locator(".best")).to_contain_text("1 at layer 0, position 0")

    def test_side_by_side_each_result_has_its_best_rank(self, viewer):
        page = viewer([followed(), followed(stream="delta")])
        page.get_by_role("button", name="side by side").click()
        expect(page.locator(".best button")).to_have_text(
            ["hidden: 1 at layer 0, position 0", "delta: 1 at layer 0, position 0"]
        )
        page.locator(".best button").nth(1).click()
        expect(page.locator(".place small")).to_have_text("layer 0, position 0")
        expect(page.locator(".detail .tops")).to_have_count(1)
        expect(page.locator(".detail p.whose")).to_have_text("delta")

    def test_pins_are_put_in_another_order_by_keys_and_by_the_pointer(self, viewer):
        page = viewer([followed()])
        page.locator(".chip").nth(2).focus()
        page.keyboard.press("Alt+ArrowLeft")
        assert [text[0] for text, _ in chips(page)] == ["●", "■", "▲"]
        assert page.evaluate("document.activeElement.textContent").startswith("■")
        page.keyboard.press("Alt+ArrowLeft")
        page.keyboard.press("Alt+ArrowLeft")
        assert [text[0] for text, _ in chips(page)] == ["■", "●", "▲"]
        assert [name.partition(":")[0] for name in told(page)[1]] == ["■ a", "● ␣Paris", "▲ ␣b"]
        page.locator(".chips li").nth(0).drag_to(page.locator(".chips li").nth(2))
        assert [text[0] for text, _ in chips(page)] == ["●", "▲", "■"]

    def test_pins_stay_at_another_cell_and_after_a_reload(self, viewer):
        page = viewer([followed()])
        page.get_by_role("button", name="remove a").click()
        page.locator(".chip").nth(1).click()
        cell(page, 2, 1).click()
        assert len(chips(page)) == 2
        page.wait_for_timeout(400)
        assert re.fullmatch(r"#lens-0=[\w-]+", page.evaluate("location.hash"))
        length = page.evaluate("history.length")
        page.reload()
        page.locator("figure.mounted").wait_for()
        assert chips(page) == [["● ␣Paris rank 1", "false"], ["▲ ␣b rank 300", "true"]]
        assert page.locator(".place small").inner_text() == "layer 2, position 1"
        assert page.evaluate("history.length") == length

    def test_each_of_two_viewers_keeps_its_own_pins(self, opening):
        page, _, _ = opening(page_html([("one", rising()), ("other", rising())], title="T"))
        rows = page.locator("table.overview tbody tr")
        for number, name in enumerate(("pin ␣Paris", "pin ␣b")):
            rows.nth(number).click()
            page.locator("figure.mounted").nth(number).get_by_role("button", name=name).click()
            page.wait_for_timeout(400)
        assert re.fullmatch(r"#result-2&lens-0=[\w-]+&lens-1=[\w-]+", page.evaluate("location.hash"))
        page.reload()
        page.locator("figure.mounted").first.wait_for()
        assert [text for text, _ in chips(page)] == ["● ␣b rank 2"]
        rows.nth(0).click()
        page.locator("figure.mounted").nth(1).wait_for(state="attached")
        assert [text.replace(" ", "") for text, _ in chips(page)] == [
            "●␣Parisrank1",
            "●␣brank2",
        ]  # the second is not seen

    def test_the_address_of_a_notebook_stays_as_it_is(self, opening):
        page, _, _ = opening(f"<!doctype html><meta charset=utf-8>{fragment(rising())}")
        page.locator("figure.mounted").wait_for()
        page.get_by_role("button", name="pin ␣Paris").click()
        page.wait_for_timeout(400)
        assert page.evaluate("location.hash") == ""


class TestSumsAndDifferences:
    def test_a_sum_is_a_pin_for_charts_maps_and_colours(self, viewer):
        page = viewer([followed()])
        combine(page, names=["␣Paris", "␣b"])
        assert chips(page)[-1] == ["◆ ␣Paris + ␣b rank 1", "true"]
        assert told(page)[1][-1] == "◆ ␣Paris + ␣b: 1"
        assert "The rank of a sum is that of its best token." in page.locator(".trajectories .note").inner_text()
        page.get_by_label("Plot").select_option("probability")
        assert told(page)[1][-1] == "◆ ␣Paris + ␣b: 0.750"
        page.get_by_label("Plot").select_option("log")
        assert told(page)[1][-1] == f"◆ ␣Paris + ␣b: {np.log(0.75):.4f}"
        assert page.locator(".heat figcaption").inner_text().startswith("◆ ␣Paris + ␣b in every cell")
        page.get_by_label("Colour").select_option("token")
        assert "probability of ␣Paris + ␣b, 0 to 1" in " ".join(page.locator(".legend").all_text_contents())
        assert cell(page, 0, 0).get_attribute("style").startswith("--p: 0.75")
        page.wait_for_timeout(400)
        page.reload()
        page.locator("figure.mounted").wait_for()
        assert chips(page)[-1] == ["◆ ␣Paris + ␣b rank 1", "true"]
        assert cell(page, 0, 0).get_attribute("style").startswith("--p: 0.75")
        page.get_by_label("find a token").fill("Paris")
        assert page.locator(".search [role=option]").all_text_contents() == ["␣Paris"]

    def test_what_has_a_token_in_common_is_not_added_up(self, viewer):
        towns = {**target(4, 0.5, 1, part="set", ids=[4, 70]), "text": "towns"}
        page = viewer([rising(targets=[towns, target(4, 0.5, 1)])])
        combine(page, names=["towns", "␣Paris"])
        assert "share a token" in page.locator(".combine [role=status]").inner_text()
        assert len(chips(page)) == 2

    def test_a_difference_is_that_of_the_logits(self, viewer):
        rows = np.arange(30.0).reshape(6, 5)
        page = viewer([rising(targets=[target(4, 0.5, 1, logit=rows), target(1, 0.25, 2, logit=20 - rows)])])
        combine(page, difference=("● ␣Paris", "▲ ␣b"))
        assert chips(page)[-1] == [f"● ␣Paris {MINUS} ▲ ␣b", "true"]
        assert told(page) == ("logit difference at layer 4, position 4 ␣Paris", [f"● ␣Paris {MINUS} ▲ ␣b: +38.00"])
        page.locator(".chart svg").first.focus()
        page.keyboard.press("Home")
        assert told(page)[1] == [f"● ␣Paris {MINUS} ▲ ␣b: {MINUS}12.00"]
        expect(page.locator(".chart .zero")).to_have_count(2)
        assert page.locator(".chart .axis").first.text_content() == "logit difference"
        page.locator(".chip").last.click()
        assert told(page)[0].startswith("rank at")
        page.get_by_role("button", name="remove the difference").click()
        assert len(chips(page)) == 2
        assert "difference" not in page.get_by_label("Plot").inner_text()

    def test_of_a_word_of_several_tokens_log_probabilities_differ(self, viewer):
        word = target(1, 0.125, np.nan, part="whole", ids=[1, 70], logit=np.full((6, 5), np.nan))
        page = viewer([rising(targets=[target(4, 0.5, 1), word])])
        combine(page, difference=("● ␣Paris", "▲ ␣b"))
        assert told(page) == (
            "log probability difference at layer 4, position 4 ␣Paris",
            [f"● ␣Paris {MINUS} ▲ ␣b: +{np.log(4):.2f}"],
        )

    @pytest.mark.parametrize("streams", [("delta",), ("attention", "mlp")])
    def test_what_layers_add_stacks_up_to_the_models_own_difference(self, viewer, streams):
        """The bars are Python's numbers, and with the embedding they add up to the last layer's."""
        options = {"norm": "final", "targets": [5, 9], "precision": "exact"}
        model, tokenizer = tiny_model("llama"), tiny_tokenizer()
        read = {
            stream: bauklens.logit_lens(model, tokenizer, "some words here", stream=stream, **options)
            for stream in ("hidden", *streams)
        }
        apart = {stream: lens.logit_difference(5, 9)[:, -1] for stream, lens in read.items()}
        added = np.sum([apart[stream] for stream in streams], axis=0)
        sums = apart["hidden"][0] + np.cumsum(added)
        assert sums == pytest.approx(apart["hidden"][1:], abs=1e-4)  # in Python
        page = viewer(list(read.values()))
        page.get_by_role("button", name=streams[0], exact=True).first.click()
        page.locator("summary", has_text="Combine").click()
        page.get_by_role("button", name="Show the difference").click()
        expect(page.locator(".chart").first.locator(".stack")).to_have_count(len(streams) * len(added))
        page.locator("summary", has_text="Values as a table").click()
        page.locator(".numbers table").first.wait_for()
        table = page.locator(".numbers table").first.locator("tbody tr").all()
        told_rows = [[float(each) for each in row.locator("td").all_text_contents()] for row in table]
        expected = np.array([*(apart[stream] for stream in streams), sums]).T
        assert np.array(told_rows) == pytest.approx(expected, rel=1e-3, abs=1e-4)
        said = page.locator(".trajectories .note").inner_text()
        final = f"{sums[-1]:+.2f}".replace("-", MINUS)
        assert re.search(rf"lead to {re.escape(final)}, the difference in the last layer\.", said), said


class TestCharts:
    def test_ranks_are_on_a_logarithmic_axis_at_first(self, viewer):
        page = viewer([followed()])
        assert page.get_by_label("Plot").input_value() == "rank"
        assert ticks(page) == ["1", "10", "100", "1k", "10k"]
        assert page.locator(".chart").first.locator(".axis").all_text_contents() == ["rank (log axis)", "layer"]
        heights = [
            float(line.get_attribute("y1"))
            for line in page.locator(".chart").first.locator(".rule[x1='42'][x2='320']").all()
        ]
        assert np.diff(heights) == pytest.approx([np.diff(heights)[0]] * 4)
        assert heights[0] < heights[-1]

    def test_logits_are_drawn_where_they_are_known(self, viewer):
        page = viewer([followed(measures={"max_logit": np.full((6, 5), 9.0)})])
        page.get_by_label("find a token").fill("c↵")
        page.keyboard.press("Enter")
        page.get_by_label("Plot").select_option("logit")
        last = np.log(0.125) + 9 - np.log(0.5)
        assert [each.rpartition(": ")[2] for each in told(page)[1]] == [
            *(f"{np.float32(np.log(each) + 7):.4g}" for each in (0.5, 0.25, 0.125)),
            UNKNOWN,
        ]
        cell(page, 2, 1).click()
        assert told(page)[1][-1] == f"◆ c↵: {last:.4g}"
        page = viewer([followed()])
        assert "logit" not in page.get_by_label("Plot").locator("option").all_text_contents()

    def test_the_legend_says_the_values_under_the_pointer(self, viewer):
        page = viewer([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()
        layers, positions = page.locator(".chart svg").all()
        layers.scroll_into_view_if_needed()
        box = layers.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 40)
        assert told(page) == ("rank at embedding, position 4 ␣Paris", ["● ␣Paris: 2"])
        positions.scroll_into_view_if_needed()
        box = positions.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.13, box["y"] + 40)
        assert told(page) == ("rank at layer 4, position 0 a", [f"● ␣Paris: {UNKNOWN}"])
        page.mouse.move(2, 2)
        assert told(page)[0] == "rank at layer 4, position 4 ␣Paris"

    def test_a_place_in_a_chart_is_chosen_by_keys(self, viewer):
        page = viewer([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()
        chart = page.locator(".chart svg").first
        chart.focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        assert chart.get_attribute("aria-valuetext") == "layer 2: ␣Paris 2"
        page.keyboard.press("Enter")
        assert page.locator(".place small").inner_text() == "layer 2, position 4"
        assert page.evaluate("document.activeElement.matches('.chart svg')")
        page.keyboard.press("ArrowRight")
        assert told(page) == ("rank at layer 3, position 4 ␣Paris", ["● ␣Paris: 1"])

    def test_several_positions_are_drawn_beside_each_other(self, viewer):
        page = viewer([rising()])
        page.get_by_role("button", name="pin ␣Paris").click()
        page.get_by_role("button", name="pin ␣b").click()
        cell(page, 4, 1).click(modifiers=["Shift"])
        assert page.evaluate("String(getSelection())") == ""
        heads = [each.strip() for each in page.locator(".followed .heads > span").all_text_contents()]
        assert heads == ["", "at 1 ␣b", "at 4 ␣Paris"]
        assert told(page)[1] == [f"● ␣Paris: {UNKNOWN}: 1", "▲ ␣b: 2: 2"]
        dashes = page.locator(".chart").first.locator("polyline")
        assert set(dashes.evaluate_all("all => all.map((each) => each.style.strokeDasharray)")) == {"", "5, 3"}
        assert (
            page.locator(".chart").first.locator("figcaption").inner_text() == "Across layers, at position 1 and 1 more"
        )
        cell(page, 4, 4).click()
        assert page.get_by_role("button", name="Drop position").get_attribute("aria-pressed") == "true"
        page.get_by_role("button", name="Drop position").click()
        expect(page.locator(".followed .heads")).to_have_count(0)
        page.get_by_role("button", name="Keep position").click()
        cell(page, 4, 2).click()
        expect(page.locator(".followed .heads")).to_have_count(1)

    def test_charts_of_very_many_positions_do_not_crash(self, viewer):
        """Four tokens at 32,768 positions are more numbers than a function can be called with."""
        count = 32768
        ids = np.zeros((2, count, 1), dtype=int)
        grid = np.tile(np.linspace(0.1, 0.9, count), (2, 1))
        targets = [target(each, 0.5, 1) | {"probability": grid, "logit": grid, "rank": 1 + grid} for each in range(4)]
        lens = made(2, count, 1, texts=TEXTS, top_ids=ids, targets=targets)
        page = viewer([lens])
        expect(page.locator(".chart").nth(1).locator("polyline")).to_have_count(4)
        points = page.locator(".chart").nth(1).locator("polyline").first.get_attribute("points").split()
        assert 300 < len(points) <= 640
        page.get_by_label("Plot").select_option("probability")
        assert [each.rpartition(": ")[2] for each in told(page)[1]] == ["0.900"] * 4
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def test_no_list_is_handed_to_a_function_as_its_arguments(self):
        for path in Path(bauklens.__file__).parent.glob("viewer/*.js"):
            assert not re.search(r"Math\.(max|min)\(([^()]|\([^()]*\))*\.\.\.", path.read_text(encoding="utf-8")), (
                path.name
            )

    def test_files_of_a_chart(self, viewer):
        page = viewer([followed()])
        page.locator("summary", has_text="Save").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV across layers").click()
        assert download.value.suggested_filename == "a-b-c-rank-across-layers.csv"
        text = Path(download.value.path()).read_text(encoding="utf-8")
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert rows[0] == ["layer", "␣Paris", "␣b", "a"]
        assert rows[1] == ["embed", "1", "300", "20000"]
        assert len(rows) == 7
        with page.expect_download() as download:
            page.get_by_role("button", name="SVG across positions").click()
        svg = Path(download.value.path()).read_text(encoding="utf-8")
        assert "var(" not in svg
        assert svg.count("<polyline") == 3
        for text in ("Across positions, at layer 4", "rank (log axis)", "␣Paris", "10k"):
            assert f">{text}<" in svg
        page.set_content(svg)
        expect(page.locator("svg parsererror")).to_have_count(0)
        assert len(set(re.findall(r'<polyline [^>]*stroke="(#\w+)"', svg))) == 3

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_finds_nothing_serious(self, opening, scheme):
        html = re.sub("<meta http-equiv=.*?>", "", page_html([followed()], title="T"))  # so that axe itself may run
        page, _, _ = opening(html, scheme=scheme, width=412)
        page.locator("figure.mounted").wait_for()
        combine(page, names=["␣Paris", "␣b"])
        combine(page, difference=("● ␣Paris", "▲ ␣b"))
        page.locator("summary", has_text="Values as a table").click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.add_script_tag(path=AXE)
        found = page.evaluate("axe.run().then((found) => found.violations)")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in serious] == []

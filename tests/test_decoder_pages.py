"""What a page, a terminal and a file show of decoders: captions, the strip of qualities, several beside each other."""

import io
import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from playwright.sync_api import expect
from rich.console import Console

import bauklens
from bauklens import LensError
from bauklens.cli import main
from bauklens.cli.results import write_json
from bauklens.show.averages_terminal import print_summary
from bauklens.show.page import fragment, page
from bauklens.show.static_table import table
from bauklens.show.terminal import print_comparison, print_decoders, print_position
from tests.made import HOSTILE, made

KL, AGREEMENT = (4.0, 2.0, 1.0), (0.0, 0.25, 0.5)


def through(decoder, kind="jacobian", **changes):
    """A result of three layers and four positions through a decoder."""
    provenance = {"decoder": {"name": decoder, "kind": kind}}
    return replace(made(3, 4, 2), decoder=decoder, provenance=provenance, **changes)


def three():
    """The logit lens, and two decoders, one of which knows its quality."""
    quality = {"kl": np.array(KL), "agreement": np.array(AGREEMENT)}
    return [made(3, 4, 2), through("mine", quality=quality), through("tuned one", "tuned", unmapped=("0",))]


class TestCaptions:
    def test_the_decoder_is_in_the_caption_the_label_and_under_the_table(self):
        html = page([through("mine")])
        caption = re.search(r'<p class="caption">(.*?)<span', html, re.DOTALL).group(1)
        assert "through the Jacobian lens “mine”, decoded with" in " ".join(caption.split())
        assert "States were mapped by the Jacobian lens “mine”." in html
        assert re.search(r'aria-label="[^"]* through the Jacobian lens “mine”, one row per layer', html)

    def test_a_decoder_of_another_kind_of_file_is_called_a_decoder(self):
        assert replace(through("x"), provenance={}).decoder_called == "decoder “x”"
        assert made(2, 2, 1).decoder_called == made(2, 2, 1).mapped == ""

    def test_a_contribution_is_called_one(self):
        assert through("mine", stream="delta").mapped == "Contributions, through the Jacobian lens “mine”."

    def test_a_decoder_that_was_forced_is_told(self):
        lens = through("mine")
        lens = replace(lens, provenance={"decoder": {"kind": "tuned", "made for": "a model with 9 blocks"}})
        assert "It was made for a model with 9 blocks, and its use was forced" in lens.mapped
        assert "use was forced" in page([lens])

    @pytest.mark.parametrize("name", HOSTILE)
    def test_no_name_is_markup(self, name):
        name = name.encode("utf-8", "replace").decode() or "x"
        html = page([through(name, unmapped=("0",)), made(3, 4, 2)])
        assert "<script>alert" not in html
        assert html.count("</script>") == html.count("<script")


class TestTheStrip:
    def test_a_bar_at_each_layer_is_as_long_as_its_kl(self):
        html = str(table(three()[1]))
        heads = re.findall(r'<th scope="row"([^>]*)>([^<]*)</th>', html)
        assert [re.search(r"--q:([\d.]+)", attributes).group(1) for attributes, _ in heads] == ["1", ".5", ".25"]
        assert "KL to the model’s own prediction 2 nats on held-out text; the same top token in 25 %" in heads[1][0]

    def test_a_layer_of_unknown_quality_has_none(self):
        html = str(table(through("mine", quality={"kl": np.array([np.nan, 2.0, np.nan])})))
        assert html.count("--q:") == 1
        assert "--q" not in str(table(made(3, 4, 2)))

    def test_rows_without_a_map_are_marked(self):
        html = page([three()[2]])
        assert re.findall(r'<th scope="row"[^>]*>([^<]*)</th>', html) == ["embed", "0*", "1"]
        assert "*: the decoder has no map for this row, shown as in the logit lens" in html
        assert "It has no map for 0: that row is shown as in the logit lens." in html


class TestSeveral:
    def data(self, html):
        return json.loads(re.search(r'class="bauklens-data">(.*?)</script>', html).group(1))

    def test_up_to_six_decoders_open_side_by_side(self):
        assert self.data(page(three()))["state"]["show"] == "beside"
        assert [each["head"]["name"] for each in self.data(page(three()))["lenses"]] == ["logit", "mine", "tuned one"]
        six = [*three(), *map(through, ("4", "5", "6"))]
        assert self.data(page(six))["state"]["show"] == "beside"
        for others in ([made(3, 4, 2)], [made(3, 4, 2)] * 2, [*six, through("7")]):
            assert "show" not in self.data(page(others))["state"]

    def test_each_check_says_whose_it_is(self):
        said = re.findall(r'<p class="check"><b>([^<]*)</b>', page(three()))
        assert said == [
            "Hidden states, logit lens",
            "Hidden states, Jacobian lens “mine”",
            "Hidden states, tuned lens “tuned one”",
        ]

    def test_streams_and_decoders_together_are_named_by_both(self):
        lenses = [replace(each, stream=stream) for stream in ("hidden", "delta") for each in three()[:2]]
        names = [each["head"]["name"] for each in self.data(page(lenses))["lenses"]]
        assert names == ["hidden, logit", "hidden, mine", "delta, logit", "delta, mine"]

    def test_a_fragment_of_several_shares_one_viewer(self):
        html = fragment(three())
        assert html.count('class="bauklens-data"') == 1
        assert len(self.data(html)["lenses"]) == 3

    def test_a_comparison_is_named_by_the_decoders(self):
        assert bauklens.compare(*three()[:2]).names == ("logit", "mine")

    def test_a_frame_and_a_data_set_say_which(self):
        lens = three()[1]
        assert set(lens.to_frame()["decoder"]) == {"mine"}
        assert lens.to_xarray().attrs["decoder"] == "mine"

    def test_no_file_of_one_is_written_over_that_of_another(self, tmp_path):
        lenses = [through(name) for name in ("a", "a", "a-2", "A")]
        written = write_json(str(tmp_path / "lens.json"), lenses)
        assert len({name.casefold() for name in written}) == 4
        assert [bauklens.LensResult.load(name).decoder for name in written] == ["a", "a", "a-2", "A"]

    def test_a_result_is_read_again_with_all_that_is_known(self, tmp_path):
        for lens in three():
            for name in ("lens.json", "lens.safetensors"):
                lens.save(tmp_path / name)
                again = bauklens.LensResult.load(tmp_path / name)
                assert again == lens
                assert again.unmapped == lens.unmapped
                assert {key: list(value) for key, value in again.quality.items()} == {
                    key: list(value) for key, value in lens.quality.items()
                }

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"unmapped": ("9",)}, "unmapped names rows that do not exist"),
            ({"quality": [1]}, "quality is not a mapping"),
            ({"quality": {"kl": [1.0]}}, "kl has shape"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, changes, message):
        with pytest.raises(LensError, match=message):
            through("mine", **changes)


class TestRowsWithoutAMap:
    """They are marked wherever a row is shown, and never silently those of the logit lens."""

    @staticmethod
    def printed(show, *arguments):
        console = Console(file=io.StringIO(), width=200)
        show(*arguments, console=console)
        return console.file.getvalue()

    def test_in_a_terminal(self):
        lens = three()[2]
        assert re.search(r"^\s*0\*\s", self.printed(print_position, lens, 3), re.MULTILINE)
        assert re.search(r"^\s*1\s", self.printed(print_position, lens, 3), re.MULTILINE)
        (row,) = re.findall(r"^\s+0  .*$", self.printed(print_decoders, three(), 3), re.MULTILINE)
        assert row.count("*") == 1
        compared = self.printed(print_comparison, bauklens.compare(*three()[1:]), 3)
        assert "It has no map for 0" in compared
        assert "*" in compared

    def test_in_a_comparison_and_an_average(self):
        html = page([bauklens.compare(*three()[1:])])
        assert re.findall(r'<th scope="row"[^>]*>([^<]*)</th>', html) == ["embed", "0*", "1"]
        summary = bauklens.summarize([three()[2]] * 2)
        assert summary.unmapped == ("0",)
        assert [row for row, _ in summary.ranking()["rows"]] == ["embed", "0*", "1"]
        assert "no map for this row" in summary.to_html()
        assert re.search(r"^\s*0\*\s", self.printed(print_summary, summary), re.MULTILINE)
        assert pickle.loads(pickle.dumps(summary)).unmapped == ("0",)
        with pytest.raises(LensError, match="all lenses must have the same"):
            bauklens.summarize([three()[2], replace(three()[2], unmapped=())])

    def test_in_a_frame(self):
        frame = three()[2].to_frame()
        assert dict(zip(frame["layer"], frame["decoder"], strict=True)) == {
            "embed": "tuned one",
            "0": "logit",
            "1": "tuned one",
        }

    def test_layers_that_only_one_decoder_has_are_printed(self):
        lenses = [through("a").part(("embed", "1"), range(4)), through("b").part(("0", "1"), range(4))]
        rows = re.findall(r"^\s*(embed|0|1)\s", self.printed(print_decoders, lenses, 3), re.MULTILINE)
        assert rows == ["embed", "0", "1"]


class TestInABrowser:
    def test_three_decoders_side_by_side_and_in_pairs(self, opening):
        page_, asked, complaints = opening(page(three()))
        panes = page_.locator(".pane")
        expect(panes).to_have_count(3)
        assert "through the Jacobian lens “mine”" in panes.nth(1).locator(".caption").inner_text()
        bars = panes.nth(1).locator(".head.layer[style*='--q']")
        expect(bars).to_have_count(3)
        assert "KL to the model’s own prediction" in bars.first.get_attribute("title")
        assert panes.nth(2).locator(".head.layer").nth(1).inner_text() == "0*"
        page_.get_by_role("button", name="logit ↔ tuned one", exact=True).click()
        expect(panes).to_have_count(1)
        assert not asked
        assert not complaints

    def test_pins_are_shared_and_drawn_through_every_decoder(self, opening):
        page_, _, complaints = opening(page(three()))
        page_.locator(".pane").nth(1).locator(".cell").last.click()
        page_.keyboard.press("p")
        assert page_.locator(".pane .cell[data-pin]").count() > 0
        heads = page_.locator(".followed .heads > span")
        assert [head.get_attribute("title") for head in heads.all()[1:]] == ["logit", "mine", "tuned one"]
        drawn = heads.locator("line").evaluate_all("all => all.map((each) => each.getAttribute('stroke-dasharray'))")
        assert drawn == [None, "5 3", "1.5 2.5"]
        dashes = page_.locator(".chart polyline").evaluate_all("all => all.map((each) => each.style.strokeDasharray)")
        assert len(set(dashes)) == 3
        page_.get_by_role("button", name="mine ↔ tuned one", exact=True).click()
        page_.get_by_label("Colour").select_option("rank")
        assert re.fullmatch(r"\S+ \| \S+", page_.locator(".cell").last.inner_text().split("\n")[-1].strip("●▲ "))
        assert not complaints

    @pytest.mark.parametrize("width", [1400, 412])
    def test_six_decoders_are_in_one_chart_and_its_legend_has_room_for_them(self, opening, width):
        target = {"text": "token", "token_ids": [0], "part": "token", "note": ""}
        target |= {"probability": np.full((3, 4), 0.1), "logit": np.zeros((3, 4)), "rank": np.full((3, 4), 20_000.0)}
        names = ["tuned", "mine", "a long name of a decoder", "ridge", "mean"]
        lenses = [made(3, 4, 2), *map(through, names)]
        page_, _, complaints = opening(page([replace(lens, targets=[target]) for lens in lenses]), width=width)
        lines = page_.locator(".chart").first.locator("polyline")
        expect(lines).to_have_count(6)
        dashes = lines.evaluate_all("all => all.map((each) => each.style.strokeDasharray)")
        assert len(set(dashes)) == 6
        heads = page_.locator(".followed .heads > span")
        assert [head.get_attribute("title") for head in heads.all()[1:]] == ["logit", *names]
        expect(page_.locator(".followed output")).to_have_text(["20,000"] * 6)
        legend = page_.locator(".followed")
        assert legend.evaluate("each => each.scrollWidth <= each.clientWidth")
        ends = [each.bounding_box()["x"] for each in page_.locator(".followed output").all()]
        assert ends == sorted(ends)
        assert page_.locator(".followed .token").first.bounding_box()["width"] > 30
        assert not complaints

    def test_the_same_layers_are_beside_each_other_if_one_has_no_embedding(self, opening):
        lenses = [made(3, 4, 2), through("mine").part(("0", "1"), range(4))]
        page_, _, _ = opening(page(lenses))
        tops = [
            page_.locator(".pane").nth(pane).locator(".head.layer", has_text="0").first.bounding_box()["y"]
            for pane in (0, 1)
        ]
        assert abs(tops[0] - tops[1]) < 1


@pytest.mark.slow
class TestTheCommand:
    PROMPT = "The Eiffel Tower is located in the city of"

    def test_several_decoders_are_printed_beside_each_other_and_written(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        options = ["--decoder", "logit", "--decoder", "demo", "--target", " Paris"]
        files = ["-o", "lens.html", "--json", "lens.json", "--csv", "lens.csv"]
        done = CliRunner().invoke(main, ["lens", self.PROMPT, *options, *files])
        assert done.exit_code == 0, done.output
        assert re.search(r"layer\s+logit\s+demo", done.output)
        found = re.findall(r"␣Paris\s+(logit|demo)\s+(\S+)\s+(\S+)\s+(\S+)", done.output)
        assert [name for name, *_ in found] == ["logit", "demo"]
        lenses = [bauklens.LensResult.load(tmp_path / f"lens-{name}.json") for name in ("logit", "demo")]
        for lens, (_, *layers) in zip(lenses, found, strict=True):
            assert layers == [lens.first_layer(" Paris", rank=rank) for rank in (1, 5, 10)]
        assert (lenses[0].top_probs[-1] == lenses[1].top_probs[-1]).all()
        assert "through the Jacobian lens “demo”" in (tmp_path / "lens.html").read_text(encoding="utf-8")
        text = (tmp_path / "lens.csv").read_text(encoding="utf-8")
        assert {",logit," in line for line in text.splitlines()[1:]} == {True, False}

    def test_averages_and_reports_are_made_for_each(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "prompts.txt").write_text(f"{self.PROMPT}\nThe sea is\n", encoding="utf-8")
        both = ["prompts.txt", "--decoder", "logit", "--decoder", "demo"]
        done = CliRunner().invoke(main, ["summarize", *both, "-o", "means.html", "--csv", "means.csv"])
        assert done.exit_code == 0, done.output
        assert done.output.count("means over 2 prompts") == 2
        assert "hidden through demo" in done.output
        assert (tmp_path / "means.html").read_text(encoding="utf-8").count("<table") == 2
        lines = (tmp_path / "means.csv").read_text(encoding="utf-8").splitlines()
        assert {line.rpartition(",")[2] for line in lines[1:]} == {"logit", "demo"}
        done = CliRunner().invoke(main, ["report", *both, "-o", "report.html"])
        assert done.exit_code == 0, done.output
        assert (tmp_path / "report.html").read_text(encoding="utf-8").count('class="bauklens-data"') == 2

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["lens", PROMPT, "--decoder", "nothing.safetensors"], "the file nothing.safetensors does not exist"),
            (["lens", PROMPT, "--decoder", "demo", "--norm", "final"], "--norm final takes no decoder"),
            (["compare", PROMPT, "x y", "--decoder", "logit", "--decoder", "demo"], "compare takes one --decoder"),
        ],
    )
    def test_what_cannot_be_is_refused_in_a_line(self, arguments, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 2
        assert message in done.output
        assert len(done.output.strip().splitlines()) == 1

    def test_the_demo_decoder_is_kept_and_says_what_it_is(self, demo):
        decoder = bauklens.load_decoder("demo")
        assert decoder.layers == tuple(str(layer) for layer in range(29))
        assert decoder.about["model"] == "SmolLM2-135M-Instruct"
        assert set(decoder.quality) == set(decoder.layers)
        assert decoder.quality["28"]["kl"] < decoder.quality["5"]["kl"]
        prompt = "Fact: The currency used in the country shaped like a boot is the"
        plain, found = bauklens.logit_lens(*demo, prompt, decoder=[None, decoder], targets=[" currency"])
        assert plain.first_layer(" currency") is None
        assert int(found.first_layer(" currency")) < 26

"""Positions that read pictures: what their columns are called, and how figures and static pages show them."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import bauklens
from bauklens import LensError, LensResult
from bauklens.result.columns import TIMES, bands_of, column_head, column_name
from bauklens.result.logitlenskit import to_logitlenskit
from bauklens.result.pictures import Picture
from bauklens.show.folding import folded
from bauklens.show.page import page as page_html
from bauklens.show.terminal import print_decoders, print_position
from tests.classifiers import build as classifier
from tests.classifiers import inputs_of as classifier_inputs
from tests.image_text import PROMPTS, build_for, picture, processor_of
from tests.pictured import DOG, SKY, followed, pictured, png

NO_GRID = np.zeros((0, 0), int)


@pytest.fixture
def llava():
    """The lens of a tiny LLaVA with its processor and a picture."""
    processor = processor_of("llava")
    model = build_for("llava", processor.tokenizer)
    return bauklens.logit_lens(model, processor, PROMPTS["llava"], images=[picture()])


class TestNames:
    def test_a_position_of_a_picture_is_called_by_its_place(self):
        lens = pictured((3, 4))
        assert [column_name(lens, column) for column in (0, 1, 12)] == [
            "␣Look",
            "image 1, row 1, column 1",
            "image 1, row 3, column 4",
        ]
        assert [column_head(lens, column) for column in (0, 1, 12, 13)] == ["␣Look", "1·1", "3·4", ":"]

    def test_a_label_without_a_place_and_a_hostile_one(self):
        lens = replace(pictured((1, 2)), columns=["", "image 1", "a\x1b[31m\u202e, row 1, column 2", "", ""])
        assert [column_head(lens, column) for column in (1, 2)] == ["image 1", "1·2"]
        assert column_name(lens, 2) == "a⟨U+001B⟩[31m⟨U+202E⟩, row 1, column 2"

    def test_the_terminal_says_it(self):
        for show in (print_position, lambda lens, *rest: print_decoders([lens, lens], *rest)):
            console = Console(file=io.StringIO(), width=200)
            show(pictured((3, 4)), 7, console)
            assert "position 7: image 1, row 2, column 3" in console.file.getvalue()

    def test_frames_and_files_have_a_column_for_it(self):
        lens = pictured((3, 4))
        frame = lens.to_frame()
        assert frame[frame.position == 7]["column"].unique().tolist() == ["image 1, row 2, column 3"]
        assert frame[frame.position == 0]["column"].unique().tolist() == [""]
        assert "column" not in pictured().to_frame()
        assert lens.to_xarray()["column"].sel(position=7).item() == "image 1, row 2, column 3"
        assert "column" not in pictured().to_xarray()
        both = bauklens.compare(lens, replace(lens, stream="delta")).to_frame()
        assert both["column other"][7] == "image 1, row 2, column 3"

    def test_another_tool_is_given_labels_as_its_input(self):
        lens = pictured((3, 4))
        data = to_logitlenskit(lens)
        assert data["input"][:2] == [" Look", "image 1, row 1, column 1"]
        assert data["bauklens"]["tokens"][1] == "<image>"


class TestBands:
    def test_pictures_are_bands(self):
        first, second = bands_of(pictured((3, 4), (2, 2)))
        assert (first.name, first.first, first.last, first.size) == ("image 1", 1, 12, f"3 {TIMES} 4")
        assert (second.name, second.picture, second.first, second.last) == ("image 2", 1, 13, 16)

    def test_the_ends_of_rows_are_folded_with_them(self):
        lens = pictured((3, 4))
        grid = np.array([[1, 2, 3], [5, 6, 7], [9, 10, 11]])
        (band,) = bands_of(replace(lens, pictures=[Picture("image 1", grid, grid.ravel())]))
        assert (band.first, band.last, band.size) == (1, 11, f"3 {TIMES} 3")

    def test_text_between_the_parts_of_a_picture_stays_text(self):
        positions = [1, 2, 3, 7, 8, 9]
        bands = bands_of(replace(pictured((3, 4)), pictures=[Picture("clip", NO_GRID, positions)]))
        assert [(band.first, band.last, band.size) for band in bands] == [(1, 3, "3 positions"), (7, 9, "3 positions")]

    def test_pictures_that_take_turns_are_not_folded_over_each_other(self):
        pictures = [Picture("a", NO_GRID, [1, 2, 5, 6]), Picture("b", NO_GRID, [3, 4])]
        bands = bands_of(replace(pictured((3, 4)), pictures=pictures))
        assert [(band.name, band.first, band.last) for band in bands] == [("a", 1, 2), ("b", 3, 4), ("a", 5, 6)]

    def test_a_part_of_a_table_has_what_is_left_of_them(self):
        lens = pictured((3, 4))
        (band,) = bands_of(lens.part(lens.layers, [0, 4, 5, 6, 13]))
        assert (band.first, band.last) == (1, 3)
        assert bands_of(lens.part(lens.layers, [0, 4, 13])) == []

    def test_a_static_table_folds_only_what_is_too_wide(self):
        assert folded(pictured((5, 8))) == list(range(43))
        assert [each if isinstance(each, int) else each.name for each in folded(pictured((6, 7)))] == [
            0,
            "image 1",
            43,
            44,
        ]

    def test_the_last_positions_of_a_very_long_prompt_keep_a_picture_whole(self):
        lens = pictured((10, 20), rows=600)
        html = page_html([lens])
        assert "the last 203 of 203 positions" not in html
        assert "image 1 is one column (200 positions)" in html


class TestFigures:
    def texts(self, figure, axes=0):
        return [each.get_text() for each in figure.axes[axes].texts]

    def test_a_picture_shows_its_top_tokens(self):
        figure = pictured((3, 4)).plot(kind="picture")
        assert self.texts(figure) == ["␣sky"] * 6 + ["␣grass"] * 5 + ["␣dog"]
        assert figure.get_suptitle() == "Top token of each patch, layer 2\nProbabilities in this layer: 0.500 to 0.500"
        assert figure.axes[-1].get_ylabel() == "probability of the top token"
        assert figure.axes[-1].get_ylim() == (0, 1)
        assert set(self.texts(pictured((3, 4)).plot(kind="picture", layer="embed"))) == {"␣sun"}
        assert figure.axes[0].images[0].get_array().shape == (30, 40, 3)
        figure.savefig(io.BytesIO())

    def test_a_token_is_known_where_it_is_in_the_top_k(self):
        figure = pictured((3, 4)).plot(kind="picture", token=" dog")
        assert self.texts(figure) == ["0.25"] * 6 + ["0.5"]
        hatched = [each for each in figure.axes[0].patches if each.get_hatch()]
        assert len(hatched) == 5
        first, second = figure.get_suptitle().split("\n")
        assert first == "Probability of “␣dog” in each patch, layer 2"
        assert second == "Probabilities in this layer: 0.250 to 0.500; hatched: not in the top 3"
        assert figure.axes[-1].get_ylabel() == "probability of “␣dog”, from 0 to 0.500,\nthe largest in any layer"
        assert figure.axes[-1].get_ylim() == (0, 0.5)
        assert "the embedding\n" in pictured((3, 4)).plot(kind="picture", layer="embed").get_suptitle()
        strengths = [each.get_facecolor()[3] for each in figure.axes[0].patches if not each.get_hatch()]
        assert strengths == pytest.approx([0.4] * 6 + [0.8])

    def test_a_target_is_known_everywhere(self):
        lens = pictured((3, 4))
        grid = np.linspace(0.01, 0.2, lens.magnitude.size).reshape(lens.magnitude.shape)
        figure = replace(lens, targets=[followed(lens, probability=grid)]).plot(kind="picture", token=DOG, layer=0)
        assert self.texts(figure) == [f"{each:.2g}" for each in grid[1, 1:13].astype(np.float32)]
        strengths = [each.get_facecolor()[3] for each in figure.axes[0].patches]
        assert strengths == pytest.approx(0.8 * grid[1, 1:13] / grid[-1, 12], abs=1e-3)
        assert "hatched" not in figure.get_suptitle()

    def test_several_pictures_stand_beside_each_other_and_small_patches_have_no_texts(self):
        figure = pictured((2, 2), (24, 24), (2, 3), (3, 2), image=False).plot(kind="picture")
        assert [len(self.texts(figure, axes)) for axes in range(4)] == [4, 0, 6, 6]
        assert [axes.get_title() for axes in figure.axes[:4]] == [f"image {number}" for number in range(1, 5)]

    def test_what_is_not_there_is_said(self):
        lens = pictured((3, 4))
        with pytest.raises(LensError, match="for no position of this lens is it known"):
            pictured().plot(kind="picture")
        with pytest.raises(LensError, match=r"'zebra' is not among the targets, and in no top 3 .* targets=\["):
            lens.plot(kind="picture", token="zebra")
        with pytest.raises(LensError, match="layer"):
            lens.plot(kind="picture", layer=99)
        with pytest.raises(LensError, match="the image of 'image 1' is damaged"):
            pictured((3, 4), changes={"image": png()[:60]}).plot(kind="picture")
        twice = replace(lens, vocabulary={**lens.vocabulary, SKY: " dog"})
        with pytest.raises(LensError, match="the text of 2 tokens: pass the id of one of them, 0, 2"):
            twice.plot(kind="picture", token=" dog")

    @pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
    def test_images_of_any_mode(self, mode):
        drawn = io.BytesIO()
        image = Image.new("L", (8, 6), 77)
        (Image.new(mode, (8, 6)) if mode == "I;16" else image.convert(mode)).save(drawn, "PNG")
        figure = pictured((3, 4), changes={"image": drawn.getvalue()}).plot(kind="picture")
        assert figure.axes[0].images[0].get_array().shape == (6, 8, 3)

    def test_columns_are_called_by_their_place(self):
        lens = pictured((3, 4))
        assert [each.get_text() for each in lens.plot().axes[0].get_xticklabels()][7] == "2·3"
        title = lens.plot(kind="trajectory", position=7).axes[0].get_title()
        assert title == "at image 1, row 2, column 3, position 7"
        assert lens.to_plotly().data[0].x[7] == "7 2·3"

    def test_a_heat_map_of_a_large_picture_can_be_drawn(self):
        figure = pictured((24, 24)).plot()
        assert figure.get_figwidth() < 100
        assert not figure.axes[0].texts
        assert len(figure.axes[0].get_xticks()) <= 120


class TestOfModels:
    def test_the_lens_of_a_model_with_a_picture(self, llava, tmp_path):
        (band,) = bands_of(llava)
        assert (band.last - band.first, band.size) == (3, f"2 {TIMES} 2")
        html = page_html([llava])
        assert f'title="position {band.first + 1}: image 1, row 1, column 2"' in html
        assert html.count("data:image/png;base64,") == 1
        llava.save(tmp_path / "lens.safetensors")
        again = LensResult.load(tmp_path / "lens.safetensors")
        assert again == llava
        assert page_html([again]).count("data:image/png;base64,") == 1
        bauklens.save_report(again, tmp_path / "report.html")
        assert "data-image" in (tmp_path / "report.html").read_text(encoding="utf-8")
        assert len(llava.plot(kind="picture").axes[0].texts) == 4

    def test_a_classifier_says_labels(self):
        lens = bauklens.logit_lens(classifier("bert sequence"), None, classifier_inputs("bert sequence"))
        assert lens.predicts == "labels"
        html = page_html([lens])
        static = html[: html.index("<script")]
        assert "probability of the top label" in static
        assert "top token" not in static[static.index("<body") :]
        assert {"surprisal", "rank_of_next"}.isdisjoint(lens.measures)
        assert lens.vocabulary[int(lens.top_ids[-1, 0, 0])] in html

    def test_a_classifier_of_pictures_counts_labels(self):
        html = page_html([pictured((10, 20), predicts="labels")])
        assert "Top labels in the last row" in html


def test_neurons_and_neighbours_call_a_position_of_a_picture_by_its_place():
    processor = processor_of("llava")
    model = build_for("llava", processor.tokenizer)
    given = processor(text=PROMPTS["llava"], images=[picture()], return_tensors="pt")
    (place,) = np.flatnonzero([each == "image 1, row 1, column 2" for each in near_of(model, processor, given).columns])
    found = bauklens.top_neurons(model, processor, given, layer=0, position=int(place))
    assert found.column == "image 1, row 1, column 2"
    assert found._repr_html_().count(f"at position {place}: image 1, row 1, column 2") >= 1
    assert bauklens.top_neurons(model, processor, given, layer=0, position=-1).column == ""


def test_the_neighbours_at_a_picture_are_said_to_be_those_of_a_placeholder():
    processor = processor_of("llava")
    model = build_for("llava", processor.tokenizer)
    near = near_of(model, processor, processor(text=PROMPTS["llava"], images=[picture()], return_tensors="pt"))
    assert near._repr_html_().count("image 1, row 2, column 1 (its placeholder)") >= 1
    frame = near.to_frame()
    assert frame["column"].tolist() == [near.columns[each] for each in frame["position"]]
    assert "column" not in bauklens.nearest_tokens(model, processor, PROMPTS["llava"].replace("<image>", "")).to_frame()


def near_of(model, processor, given):
    return bauklens.nearest_tokens(model, processor, given, k=2)

"""Figures of matplotlib and plotly, drawn for real."""

import io
import pickle
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import bauklens
from bauklens import LensError
from bauklens.show.figures import leaders
from tests.made import HOSTILE, made


def texts_in(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_trajectory_tells_tokens_of_one_text_apart():
    result = made(2, 1, 2, texts=["same", "same"], top_ids=np.array([[[0, 1]], [[1, 0]]]))
    legend = result.plot(kind="trajectory").axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["same [0]", "same [1]"]


@pytest.fixture(scope="module")
def lens(demo):
    return bauklens.logit_lens(*demo, "The Eiffel Tower is in", targets=[" Paris"])


def test_a_heat_map_of_tokens_of_numbers_or_of_nothing(lens):
    figure = lens.plot()
    assert texts_in(figure)[-1] == lens.vocabulary[int(lens.top_ids[-1, -1, 0])].replace(" ", "␣")
    assert np.array_equal(figure.axes[0].images[0].get_array(), lens.top_probs[..., 0])
    assert texts_in(lens.plot("entropy", tokens="numbers"))[0] == f"{lens.measures['entropy'][0, 0]:.3g}"
    assert set(texts_in(lens.plot(" Paris", tokens=False))) == {""}


def test_the_trajectory_of_targets(lens):
    (line,) = lens.plot(kind="trajectory").axes[0].lines
    assert np.allclose(line.get_ydata(), lens.target(" Paris").probability[:, -1])


def test_a_trajectory_without_targets_is_of_what_leads_in_some_layer():
    """In the order in which they come to lead; the token that is in every top k and never leads is not drawn."""
    ids = np.array([[[0, 3]], [[1, 0]], [[1, 3]], [[2, 0]]])
    result = made(4, 1, 2, top_ids=ids, texts=["a", "detour", "end", "never"])
    zero, one, two = result.plot(kind="trajectory", position=0).axes[0].lines
    assert [line.get_label() for line in (zero, one, two)] == ["a", "detour", "end"]
    assert np.allclose(zero.get_ydata(), [0.5, 0.1, np.nan, 0.1], equal_nan=True)
    assert np.allclose(one.get_ydata(), [np.nan, 0.5, 0.5, np.nan], equal_nan=True)
    assert np.allclose(two.get_ydata(), [np.nan, np.nan, np.nan, 0.5], equal_nan=True)


def test_of_many_that_lead_those_with_the_most_probability_are_drawn_and_the_last_rows():
    rows = 12
    texts = [f"t{number}" for number in range(rows)]
    probabilities = np.full((rows, 1, 1), 0.2)
    probabilities[[1, 10], 0, 0] = 0.05
    probabilities[-1] = 0.01
    ids = np.arange(rows)[:, None, None].copy()
    ids[5] = 4  # leads twice
    result = made(rows, 1, 1, top_ids=ids, probabilities=probabilities, texts=texts)
    found, count = leaders(result, 0)
    assert count == 11
    assert [texts[token] for token in found] == ["t2", "t3", "t4", "t6", "t7", "t8", "t9", "t11"]
    legend = result.plot(kind="trajectory").axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [texts[token] for token in found]
    assert legend.get_title().get_text() == "tokens that lead in some layer\n(8 of 11)"


def test_the_detour_of_the_demo_model_is_drawn(demo):
    lens = bauklens.logit_lens(*demo, "The Eiffel Tower is located in the city of", decoder="demo")
    drawn = [line.get_label() for line in lens.plot(kind="trajectory").axes[0].lines]
    assert {"␣Germany", "␣Berlin", "␣Paris"} <= set(drawn)
    assert drawn[-1] == "␣Paris"


def test_plotly_has_the_tokens_in_its_cells(lens):
    figure = lens.to_plotly()
    (drawn,) = figure.data
    assert np.array_equal(np.array(drawn.z, dtype=np.float32), lens.top_probs[..., 0])
    assert drawn.text[-1][-1] == lens.vocabulary[int(lens.top_ids[-1, -1, 0])].replace(" ", "␣")
    assert drawn.customdata[-1][-1].count("<br>") == lens.topk


@pytest.mark.filterwarnings("ignore:Glyph")  # the font of the tests has no emoji
def test_hostile_texts_are_texts(tmp_path):
    result = made(2, len(HOSTILE), 2, texts=[*HOSTILE[:-1], "$\\frac{1}{0}$"])
    for kind in ("heatmap", "trajectory"):
        result.plot(kind=kind).savefig(tmp_path / f"{kind}.svg")
    html = result.to_plotly().to_html(include_plotlyjs=False)
    assert not re.search(r"<(img|h1|b)\b", html)


def test_a_figure_can_be_pickled():
    figure = made().plot()
    again = pickle.loads(pickle.dumps(figure))
    assert texts_in(again) == texts_in(figure)
    assert again._repr_png_() == figure._repr_png_()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "pie"}, "unknown kind 'pie'"),
        ({"measure": "loss"}, "unknown measure 'loss'"),
        ({"tokens": "all"}, "unknown tokens 'all'"),
        ({"kind": "trajectory", "position": 99}, "position 99 is not in this table"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(LensError, match=message):
        made().plot(**arguments)


@pytest.mark.parametrize("plotted", [made(), bauklens.summarize([made()])], ids=["lens", "summary"])
def test_without_matplotlib_it_says_what_to_install(plotted, monkeypatch):
    monkeypatch.delitem(sys.modules, "bauklens.show.shown_figure", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(LensError, match="a plot needs matplotlib: pip install matplotlib"):
        plotted.plot()


def test_plotly_shows_quotation_marks_as_they_are():
    pytest.importorskip("plotly")
    figure = made(texts=['"', "it's", "<b>", "&amp;"]).to_plotly()
    inside = {text for row in figure.data[0].text for text in row} | set(figure.data[0].x)
    assert '"' in inside
    assert "1 it's" in inside
    assert "&lt;b&gt;" in inside
    assert "3 &amp;amp;" in inside
    hovers = "".join(text for row in figure.data[0].customdata for text in row)
    assert "&quot;" not in hovers
    assert "&#x27;" not in hovers


LABELS = ["not at all angry", "fear"]


@pytest.fixture
def labelled():
    """A classifier's lens, whose head reads position 0, and whose probabilities are nearly the same everywhere."""
    probabilities = np.tile([0.52, 0.48], (2, 3, 1))
    probabilities[1, 2] = [0.53, 0.47]
    check = {"max_abs_logit_difference": 0.0, "only_position": 0}
    return made(
        2, 3, 2, texts=LABELS, probabilities=probabilities, check=check, tokens=["a", " b", "c"], predicts="labels"
    )


def test_the_probabilities_of_labels_are_drawn_from_0_to_1(labelled):
    figure = labelled.plot()
    assert figure.axes[0].images[0].get_clim() == (0, 1)
    assert figure.axes[1].get_ylabel() == "probability of the top label"
    (drawn,) = labelled.to_plotly().data
    assert (drawn.zmin, drawn.zmax, drawn.colorbar.title.text) == (0, 1, "probability of the top label")
    target = {"text": "fear", "token_ids": [1], "part": "token", "note": ""}
    target |= dict.fromkeys(("probability", "logit", "rank"), np.full((2, 3), 0.01))
    assert replace(labelled, targets=[target]).plot("fear").axes[0].images[0].get_clim() == (0, 1)


def test_labels_have_plain_spaces_and_columns_grow_with_them(labelled):
    figure = labelled.plot()
    assert set(texts_in(figure)) == {LABELS[0]}
    assert figure.get_figwidth() > made(2, 3, 2).plot().get_figwidth()
    figure.canvas.draw()
    width = figure.axes[0].get_window_extent().width / 3
    assert all(text.get_window_extent().width <= width for text in figure.axes[0].texts)
    assert {line.get_label() for line in labelled.plot(kind="trajectory").axes[0].lines} <= set(LABELS)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["a", "␣b", "c"]
    (cut,) = set(texts_in(replace(labelled, vocabulary=dict.fromkeys((0, 1), "x" * 99)).plot()))
    assert cut == "x" * 23 + "…"


def test_a_label_is_read_at_a_position_and_a_token_follows_one(labelled):
    assert labelled.plot(kind="trajectory").axes[0].get_title() == "at a, position 0"
    assert made(2, 3).plot(kind="trajectory").axes[0].get_title() == "after c↵, position 2"


def test_values_that_are_nearly_the_same_look_so():
    """A scale from the least to the largest would draw them in its two extreme colours."""
    near = np.array([[3.2, 3.3]])
    result = made(1, 2, 1, measures={"entropy": near, "max_logit": -near, "rank_of_next": np.array([[5, np.nan]])})
    limits = {name: result.plot(name).axes[0].images[0].get_clim() for name in result.measures}
    assert limits["entropy"] == pytest.approx((0, 3.3))
    assert limits["max_logit"] == pytest.approx((-3.3, 0))
    assert limits["rank_of_next"] == (1, 5)
    assert limits["max_probability"] == (0, 0.5)
    assert result.to_plotly("entropy").data[0].zmin == 0


def test_every_text_of_a_heat_map_can_be_read():
    steps = np.linspace(0, 1, 41)
    figure = made(1, 41, 1, probabilities=steps[None, :, None]).plot()
    image = figure.axes[0].images[0]
    for value, text in zip(steps, figure.axes[0].texts, strict=True):
        pair = [luminance(to_rgb(colour)) for colour in (text.get_color(), image.to_rgba([value])[0][:3])]
        assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5


def luminance(colour):
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def test_a_character_of_several_tokens_is_at_the_first_of_them():
    result = made(2, 3, 1, tokens=["a", "⟨E2⟩⟨82⟩", "⟨AC⟩"])
    assert [text.get_text() for text in result.plot().axes[0].get_xticklabels()] == ["a", "€", "←"]
    assert list(result.to_plotly().data[0].x) == ["0 a", "1 €", "2 ←"]
    titles = [result.plot(kind="trajectory", position=place).axes[0].get_title() for place in (1, 2)]
    assert titles == ["after ⟨E2⟩⟨82⟩, part of €, position 1", "after ⟨AC⟩, part of €, position 2"]


def test_title_colormap_and_limits_of_a_heat_map():
    figure = made(2, 3).plot(title="a $title$", cmap="gray", limits=(0.2, 0.3))
    axes, _ = figure.axes
    assert axes.get_title() == "a $title$"
    assert (axes.images[0].get_cmap().name, axes.images[0].get_clim()) == ("gray", (0.2, 0.3))
    assert axes.images[0].colorbar.extend == "max"
    assert made().plot(kind="trajectory", title="T").axes[0].get_title() == "T"
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("cmap", ["viridis", "gray", "RdBu", "magma"])
def test_texts_can_be_read_on_every_colormap(cmap):
    steps = np.linspace(0, 1, 41)
    figure = made(1, 41, 1, probabilities=steps[None, :, None]).plot(cmap=cmap)
    image = figure.axes[0].images[0]
    for value, text in zip(steps, figure.axes[0].texts, strict=True):
        pair = [luminance(to_rgb(colour)) for colour in (text.get_color(), image.to_rgba([value])[0][:3])]
        assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5


def test_what_was_generated_is_marked():
    lens = made(2, 4, generated_from=2)
    (axes, _) = lens.plot().axes
    assert [line.get_xdata()[0] for line in axes.lines] == [1.5]
    assert [label.get_fontstyle() for label in axes.get_xticklabels()] == ["normal", "normal", "italic", "italic"]
    assert axes.get_xlabel() == "position (green, after the line: generated)"
    assert not made(2, 4).plot().axes[0].lines
    drawn = lens.to_plotly().layout
    assert drawn.shapes[0].x0 == 1.5
    assert drawn.xaxis.title.text == "position (after the line: generated)"
    assert not made(2, 4).to_plotly().layout.shapes


def test_range_midpoint_and_scale_of_plotly():
    lens = made(2, 3)
    (drawn,) = lens.to_plotly(range=(-1, 2), colorscale="RdBu").data
    assert (drawn.zmin, drawn.zmax) == (-1, 2)
    assert drawn.colorscale[0][1] == "rgb(103,0,31)"
    (drawn,) = lens.to_plotly(midpoint=0.4).data
    assert (drawn.zmin, drawn.zmax) == pytest.approx((0, 0.8))
    (drawn,) = lens.to_plotly(range=(0, 2), midpoint=1).data
    assert (drawn.zmin, drawn.zmax) == (0, 2)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("plot", {"cmap": "nope"}, "unknown colormap 'nope'"),
        ("plot", {"limits": (1, 0)}, r"limits is \(1, 0\): pass two numbers, the lower one first"),
        ("plot", {"kind": "trajectory", "limits": (0, 1)}, "cmap and limits apply to a heat map"),
        ("to_plotly", {"range": (0, "x")}, "range is .*: pass two numbers, the lower one first"),
        ("to_plotly", {"colorscale": "nope"}, "unknown colorscale 'nope'"),
        ("to_plotly", {"midpoint": "x"}, "midpoint is 'x': pass a number"),
        ("to_plotly", {"range": (0, 1), "midpoint": 0.9}, "midpoint 0.9 is not in the middle of range 0 to 1"),
    ],
)
def test_bad_scales(method, arguments, message):
    with pytest.raises(LensError, match=message):
        getattr(made(), method)(**arguments)


def test_no_text_of_plotly_has_entities_of_quotation_marks():
    """Titles, axes, hovers, and the scale of a target whose text is one."""
    grid = np.full((3, 4), 0.25)
    target = {
        "text": '"',
        "token_ids": [0],
        "part": "token",
        "note": "",
        "probability": grid,
        "logit": grid,
        "rank": grid,
    }
    lens = replace(made(texts=['"', "'", "<", "&"], layers=['"', "'", "<"]), targets=[target])
    figure = lens.to_plotly('"', title='"it\'s" <b>')
    told = str(figure.to_dict())
    assert "&quot;" not in told
    assert "&#" not in told
    assert figure.layout.title.text == '"it\'s" &lt;b&gt;'
    assert figure.data[0].colorbar.title.text == 'probability of "'

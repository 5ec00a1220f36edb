"""Figures of matplotlib and plotly, drawn for real."""

import pickle
import re
import sys

import numpy as np
import pytest

import bauklens
from bauklens import LensError
from tests.made import HOSTILE, made


def texts_in(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_trajectory_tells_tokens_of_one_text_apart():
    legend = made(2, 1, 2, texts=["same", "same"]).plot(kind="trajectory").axes[0].get_legend()
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


def test_a_trajectory_without_targets_is_of_the_last_rows_top_k():
    ids = np.array([[[0, 1]], [[1, 0]], [[2, 0]]])
    result = made(3, 1, 2, top_ids=ids)
    two, zero = result.plot(kind="trajectory", position=0).axes[0].lines
    assert np.isnan(two.get_ydata()[:2]).all()
    assert two.get_ydata()[2] == 0.5
    assert zero.get_ydata().tolist() == pytest.approx([0.5, 0.1, 0.1])


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

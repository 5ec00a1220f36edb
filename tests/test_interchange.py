"""LogitLensKit's JSON: ours in its shape, and its files in ours."""

import json

import numpy as np
import pytest
from playwright.sync_api import expect

import bauklens
from bauklens import LensError, LensResult
from tests.made import made

THEIRS = {
    "meta": {"version": 2, "model": "gpt2", "timestamp": "2026-01-02T03:04:05+00:00"},
    "layers": [0, 5, 11],
    "input": ["The", " city"],
    "topk": [
        [[" of", ","], [" a", " b"]],
        [[" of", "."], [" a", " c"]],
        [[" Paris", " of"], [" a", " b", "extra"]],
    ],
    "tracked": [
        {" of": [0.5, 0.4, 0.1], ",": [0.2, 0.0, 0.0], ".": [0.0, 0.3, 0.0], " Paris": [0.0, 0.0, 0.8]},
        {" a": [0.9, 0.8, 0.7], " b": [0.05, 0.01, 0.02], " c": [0.01, 0.1, 0.01], "extra": [0, 0, 0]},
    ],
    "entropy": [[1, 2], [3, 4], [5, 6]],
    "unknown": "passed over",
}


@pytest.fixture(scope="module")
def lens(demo):
    return bauklens.logit_lens(*demo, "The Eiffel Tower is in", targets=[" Paris", " Rome"], topk=4)


class TestOurs:
    def test_it_has_their_shape(self, lens):
        data = lens.to_logitlenskit()
        assert data["meta"]["version"] == 2
        assert data["meta"]["timestamp"]
        assert data["layers"] == list(range(30))
        assert data["input"] == list(lens.tokens)
        assert np.shape(data["topk"][0]) == (len(lens.tokens), 4)
        for row, layer in enumerate(lens.layers[1:], 1):
            for column in range(len(lens.tokens)):
                texts = data["topk"][int(layer)][column][:4]
                assert texts == [lens.vocabulary[token] for token in lens.top_ids[row, column].tolist()]
                for text, probability in zip(texts, lens.top_probs[row, column], strict=True):
                    assert data["tracked"][column][text][int(layer)] >= round(float(probability), 5) - 1e-9
        assert data["entropy"][29][-1] == pytest.approx(float(lens.measures["entropy"][-1, -1]), abs=1e-5)
        json.dumps(data, allow_nan=False)

    def test_targets_are_tracked_everywhere_and_their_widget_shows_them(self, lens):
        data = lens.to_logitlenskit()
        for column, tracked in enumerate(data["tracked"]):
            found = lens.target(" Rome").probability[1:, column]
            assert tracked[" Rome"] == pytest.approx(found.tolist(), abs=1e-5)
            assert any(" Rome" in row[column] for row in data["topk"])

    def test_it_comes_back_to_the_last_digit(self, lens):
        assert LensResult.from_logitlenskit(json.loads(json.dumps(lens.to_logitlenskit()))) == lens

    def test_ids_that_share_a_text_are_kept_apart_by_our_own_data(self):
        result = made(2, 2, 2, texts=["same", "same"])
        assert LensResult.from_logitlenskit(result.to_logitlenskit()) == result
        assert result.to_logitlenskit()["tracked"][0] == {"same": [0.5]}

    def test_rows_without_numbers(self):
        with pytest.raises(LensError, match="rows only for numbered layers; found embed"):
            made(1, 2).to_logitlenskit()


class TestTheirs:
    def test_a_file_of_version_2(self):
        result = LensResult.from_logitlenskit(THEIRS)
        assert result.layers == ("0", "5", "11")
        assert result.tokens == ("The", " city")
        assert result.topk == 2
        assert [result.vocabulary[token] for token in result.top_ids[2, 0].tolist()] == [" Paris", " of"]
        assert result.top_probs[2, 0].tolist() == pytest.approx([0.8, 0.1])
        assert result.measures["entropy"][2].tolist() == [5, 6]
        assert result.magnitudes_are_unknown
        assert (result.top_ids < 0).all()
        assert result.checked == "Not checked: this was read from a LogitLensKit file, which records no check."

    def test_a_file_of_version_1(self):
        cell = {"token": " a", "prob": 0.5, "trajectory": [0.5], "topk": [{"token": " a", "prob": 0.5}]}
        data = {"layers": [3], "tokens": ["x", "y"], "cells": [[cell], [cell]]}
        result = LensResult.from_logitlenskit(data)
        assert result.layers == ("3",)
        assert result.top_probs.tolist() == [[[0.5], [0.5]]]

    def test_it_is_saved_and_loaded(self, tmp_path):
        result = LensResult.from_logitlenskit(THEIRS)
        for name in ("lens.json", "lens.safetensors"):
            result.save(tmp_path / name)
            assert LensResult.load(tmp_path / name) == result

    def test_the_viewer_says_what_is_missing(self, opening):
        page, asked, complaints = opening(LensResult.from_logitlenskit(THEIRS).to_html())
        page.locator("figure.mounted").wait_for()
        assert "no magnitudes in this file" in page.locator(".pane .legend").text_content()
        assert "magnitude" not in page.locator(".measures").inner_text()
        page.locator("summary", has_text="Export").click()
        assert page.get_by_role("button", name="Download CSV").is_visible()
        expect(page.get_by_role("button", name="Download JSON")).to_have_count(0)
        page.get_by_role("button", name="pin ␣a").click()
        assert page.locator(".told").text_content() == "● ␣a leads from layer 0 on."
        assert "no check" in page.locator(".check").text_content()
        assert (asked, complaints) == ([], [])

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ([], "looked for an object"),
            ({}, "or it is damaged"),
            (
                {**THEIRS, "meta": {"version": 3}},
                "version 3 of LogitLensKit's JSON; this bauklens reads versions 1 and 2",
            ),
            ({**THEIRS, "topk": THEIRS["topk"][:2]}, "topk does not match layers and input"),
            ({**THEIRS, "tracked": []}, "tracked does not match the input"),
            ({**THEIRS, "layers": ["a", "b", "c"]}, "or it is damaged"),
            ({**THEIRS, "topk": [[[], []]] * 3}, "a cell of topk is empty"),
            ({**THEIRS, "tracked": [{" of": "x"}] * 2}, "or it is damaged"),
            ({**THEIRS, "layers": [0, 5, float("inf")]}, "or it is damaged"),
            ({**THEIRS, "layers": [0, 5, float("nan")]}, "or it is damaged"),
            ({**THEIRS, "tracked": [{" of": [10**500] * 3}] * 2}, "or it is damaged"),
            ({**THEIRS, "entropy": [[10**500] * 2] * 3}, "entropy contains values that are not numbers"),
            ({**THEIRS, "positions": [0, 10**500]}, "positions contains values that are not numbers"),
        ],
    )
    def test_what_is_not_of_that_shape(self, data, message):
        with pytest.raises(LensError, match=message):
            LensResult.from_logitlenskit(data)

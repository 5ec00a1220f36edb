"""The cells that an edit changed: which they are, and how the tables, the viewer and the terminal mark them."""

import io
import json
import re

import numpy as np
import pytest
from playwright.sync_api import expect
from rich.console import Console

import bauklens
from bauklens import edits
from bauklens.show.page import fragment, page
from bauklens.show.terminal import print_position
from tests.made import made
from tests.tiny import PROMPT, tiny_model

ZERO = {"edit": "zero", "where": "mlp", "layers": ["0", "1"], "positions": [1, 3]}


def edited(*several, **changes):
    """A table of the rows "embed", "0", "1" and of four columns, with edits."""
    return made(provenance={"model": "made", "edits": several or [ZERO]}, **changes)


def marked(lens):
    """The (layer, position) of the cells that are marked."""
    rows, columns = lens.edited_cells.nonzero()
    return {(lens.layers[row], int(lens.positions[column])) for row, column in zip(rows, columns, strict=True)}


class TestWhich:
    def test_the_edited_layers_at_the_edited_positions(self):
        assert marked(edited()) == {("0", 1), ("0", 3), ("1", 1), ("1", 3)}
        assert not edited().edited_cells.flags.writeable
        assert not made().edited_cells.any()

    @pytest.mark.parametrize(
        ("positions", "columns"), [(None, {0, 1, 2, 3}), ("prompt", {0, 1}), ("new", {2, 3}), ([7], set()), (2, {2})]
    )
    def test_positions_by_name(self, positions, columns):
        lens = edited(ZERO | {"layers": ["1"], "positions": positions}, generated_from=2)
        assert marked(lens) == {("1", column) for column in columns}

    @pytest.mark.parametrize(
        ("stream", "wheres"),
        [
            ("hidden", {"hidden", "attention", "mlp", "mid", 1}),
            ("delta", {"hidden", "attention", "mlp", "mid", 1}),
            ("mid", {"attention", "mid", 1}),
            ("attention", {"attention", "mid", 1}),
            ("mlp", {"mlp"}),
            ("given", set()),
        ],
    )
    def test_streams_that_show_what_was_edited(self, stream, wheres):
        for where in ("hidden", "attention", "mlp", "mid", 1):
            assert bool(marked(edited(ZERO | {"where": where}, stream=stream))) == (where in wheres)

    def test_of_heads_the_one_that_was_edited(self):
        lens = edited(ZERO | {"where": 1}, stream="heads", layers=["0.h0", "0.h1", "0.bias"])
        assert marked(lens) == {("0.h1", 1), ("0.h1", 3)}

    @pytest.mark.parametrize("given", ["edits", [3], [{"edit": "zero"}], [ZERO | {"layers": 5, "positions": {}}]])
    def test_a_file_may_hold_anything(self, given):
        assert not made(provenance={"edits": given}).edited_cells.any()

    def test_of_a_model(self):
        lens = bauklens.logit_lens(
            tiny_model("llama"), None, PROMPT, edits=edits.zero("mlp", layers=[1], positions=[-1, 2])
        )
        assert marked(lens) == {("1", 2), ("1", len(PROMPT) - 1)}
        assert marked(lens.part(lens.layers, [2, 3])) == {("1", 2)}

    @pytest.mark.parametrize(
        ("options", "columns"),
        [
            ({}, range(len(PROMPT))),
            ({"positions": "prompt"}, range(len(PROMPT))),
            ({"positions": [4]}, [4]),
            ({"align": {-1: 3, 2: 2}}, [2, len(PROMPT) - 1]),
            ({"align": {-1: 3, 2: 2}, "positions": "prompt"}, [2, len(PROMPT) - 1]),
            ({"align": {-1: 3, 2: 2}, "positions": [2]}, [2]),
        ],
    )
    def test_a_patch_changes_only_positions_that_have_a_counterpart(self, options, columns):
        edit = edits.patch([5, *PROMPT[:-1]], layers=[1], **options)
        lens = bauklens.logit_lens(tiny_model("llama"), None, PROMPT, edits=edit, max_new_tokens=2)
        assert marked(lens) == {("1", column) for column in columns}

    def test_a_strength_of_zero_changes_none(self):
        edit = edits.steer(None, 5, strength=0)
        assert not bauklens.logit_lens(tiny_model("llama"), None, PROMPT, edits=edit).edited_cells.any()


class TestShown:
    def data(self, html):
        return json.loads(re.search(r'class="bauklens-data">(.*?)</script>', html)[1])

    def test_the_page_holds_them_as_runs_and_nothing_of_a_clean_lens(self):
        head = self.data(page([edited(rows=9, columns=6)]))["lenses"][0]["head"]
        assert head["edited"] == {
            "what": "zero",
            "cells": [{"rows": [[1, 2]], "positions": [[1, 1], [3, 3]]}],
        }
        assert "edited" not in self.data(page([made()]))["lenses"][0]["head"]

    @pytest.mark.parametrize("draw", [lambda lens: page([lens]), fragment], ids=["page", "notebook"])
    def test_the_table_without_script(self, draw):
        html = draw(edited())
        cells = re.findall(r'<td class="edited"[^>]*>.*?</td>', html)
        assert len(cells) == 4
        assert all(each.endswith('<span class="said">, edited</span></td>') for each in cells)
        assert "edited here: zero" in html
        assert 'class="said"' not in draw(made())

    def test_a_comparison_marks_what_was_edited_in_one(self):
        html = page([bauklens.compare(made(), edited())])
        assert len(re.findall(r'<td class="edited"', html)) == 4
        assert "edited here: in zero" in html
        assert ["edited" in each["head"] for each in self.data(html)["lenses"]] == [False, True]

    def test_the_terminal(self):
        out = io.StringIO()
        print_position(edited(), 1, Console(file=out))
        print_position(edited(), 2, Console(file=out))
        lines = out.getvalue().splitlines()
        assert sum(line.lstrip().startswith("▌0") or line.lstrip().startswith("▌1") for line in lines) == 2
        assert lines.count("▌ edited here") == 1

    def test_a_figure(self):
        lens = edited()
        svg = lens.figure().svg()
        assert svg.count('width="1.75"') == 4 + 1  # 0.25 of the font size; one in the legend
        assert ">edited here: zero<" in svg
        assert "edited here" not in lens.figure(layers=["embed"]).svg()


class TestViewer:
    @pytest.fixture
    def viewer(self, opening):
        """Opens results in the viewer -> the page."""
        return lambda results, **options: opening(page(results), **options)[0]

    def test_edited_cells_have_an_edge_and_are_announced(self, viewer):
        shown = viewer([edited()])
        cells = shown.locator(".cell.edited")
        expect(cells).to_have_count(4)
        assert all(each.endswith("; edited") for each in cells.evaluate_all("all => all.map((each) => each.ariaLabel)"))
        assert set(cells.evaluate_all("all => all.map((each) => getComputedStyle(each).borderLeftWidth)")) == {"4px"}
        expect(shown.locator(".pane .legend")).to_contain_text("▌ edited here: zero")
        cells.first.click()
        expect(shown.locator(".place small")).to_have_text("layer 0, position 1, edited")

    def test_beside_a_clean_lens_only_the_edited_one_is_marked(self, viewer):
        shown = viewer([bauklens.compare(made(), edited())])
        expect(shown.locator(".cell.edited")).to_have_count(4)
        expect(shown.locator(".pane .legend")).to_contain_text("▌ edited here: in zero")
        shown.locator(".cell.edited").first.click()
        expect(shown.locator(".place small")).to_have_text("layer 0, position 1, edited in zero")
        shown.get_by_role("button", name="side by side", exact=True).click()
        panes = shown.locator(".pane")
        expect(panes.nth(0).locator(".cell.edited")).to_have_count(0)
        expect(panes.nth(1).locator(".cell.edited")).to_have_count(4)

    def test_the_picture_has_the_edges(self, viewer):
        shown = viewer([edited()])
        shown.get_by_role("button", name="Export").or_(shown.locator("summary", has_text="Export")).first.click()
        with shown.expect_download() as found:
            shown.get_by_role("button", name="SVG", exact=False).first.click()
        assert found.value.path().read_text(encoding="utf-8").count('width="4" height') == 4

    def test_forced_colours(self, viewer):
        shown = viewer([edited()])
        shown.emulate_media(forced_colors="active")
        edges = shown.locator(".cell.edited").evaluate_all(
            "all => all.map((each) => getComputedStyle(each).borderLeftColor)"
        )
        inks = shown.locator(".cell.edited").evaluate_all("all => all.map((each) => getComputedStyle(each).color)")
        assert edges == inks


def test_blocks_of_cells():
    from bauklens.result.edited_cells import in_blocks

    cells = np.zeros((5, 6), dtype=bool)
    cells[1:4, [1, 2, 5]] = True
    assert in_blocks(cells) == [([[1, 3]], [[1, 2], [5, 5]])]

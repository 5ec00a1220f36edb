"""How far two lenses are apart, which of their columns correspond, what they are called, and how a page shows that."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr, softmax

import bauklens
from bauklens import compare
from bauklens.result.alignment import aligned
from bauklens.result.divergence import LARGEST, js_bound
from bauklens.result.naming import short_names
from bauklens.result.targets import Target
from bauklens.result.tracked import tracked_of
from bauklens.show.page import page
from tests.made import made, unpacked
from tests.tiny import PROMPT, VOCABULARY

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
TEXTS = [" Paris", " Rome", "a", "b", "c", "d"]


def one_cell(ids, probabilities, **changes):
    """A result of one cell with this top k."""
    fields = {"top_ids": np.array([[ids]]), "probabilities": np.array([[probabilities]])}
    return made(1, 1, len(ids), texts=TEXTS, **fields | changes)


def by_hand(p, q):
    """What tokens of these probabilities add to the Jensen-Shannon divergence, in nats."""
    p, q = np.array(p, dtype=float), np.array(q, dtype=float)
    return (rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)).sum() / 2


class TestTheBound:
    def test_it_is_0_for_equal_cells_and_log_2_if_nothing_is_in_common(self):
        lens = one_cell([0, 2], [0.7, 0.1])
        assert js_bound(lens, lens) == 0
        assert js_bound(one_cell([0, 1], [0.9, 0.1]), one_cell([2, 3], [0.9, 0.1])) == pytest.approx(LARGEST, abs=1e-5)

    def test_a_token_out_of_the_top_k_is_at_most_as_probable_as_its_last(self):
        """By hand: each name has 0.01 at most in the other; what is left is 0.178 to 0.188 and 0.154 to 0.164."""
        paris, rome = one_cell([0, 2, 3], [0.702, 0.1, 0.01]), one_cell([1, 2, 3], [0.726, 0.1, 0.01])
        assert js_bound(paris, rome) == pytest.approx(by_hand([0.702, 0.01, 0.178], [0.01, 0.726, 0.164]), rel=1e-5)

    def test_what_is_left_is_at_most_what_the_top_k_leave(self):
        """By hand: the top token has 0.01 at most in the other, whose own has 0.01 at most here."""
        one, other = one_cell([0], [0.99]), one_cell([1], [0.99])
        assert js_bound(one, other) == pytest.approx(by_hand([0.99, 0.01], [0.01, 0.99]), rel=1e-5)

    def test_different_tokens_of_nearly_the_same_probability_are_far_apart(self):
        """Which a subtraction of the two top probabilities calls nearly the same."""
        top = [0.1, 0.004, 0.003, 0.002]
        paris, rome = one_cell([0, 2, 3, 4, 5], [0.702, *top]), one_cell([1, 2, 3, 4, 5], [0.726, *top])
        comparison = compare(paris, rome)
        assert comparison.distance.item() > 0.8
        assert compare(paris, paris).distance.item() == 0

    def test_tracked_tokens_and_targets_are_known_out_of_the_top_k(self):
        tracked = tracked_of(
            [1], np.log(np.full((1, 1, 1), 1e-6)).astype(np.float16), np.full((1, 1, 1), 9), np.full((1, 1), 9)
        )
        paris = one_cell([0, 2], [0.702, 0.1], tracked=tracked)
        grid = np.full((1, 1), 1e-6, dtype=np.float32)
        target = Target(" Paris", (0,), "token", "", grid, grid, np.full((1, 1), 5))
        rome = one_cell([1, 2], [0.726, 0.1], targets=[target])
        rest = by_hand([1 - 0.802], [1 - 0.826])
        assert js_bound(paris, rome) == pytest.approx(by_hand([0.702, 0], [0, 0.726]) + rest, rel=1e-3)

    @pytest.mark.parametrize("options", [{"topk": 1}, {"topk": 5}, {"topk": 5, "track": 0}, {"topk": 20, "track": 10}])
    def test_it_is_never_more_than_the_divergence_of_the_full_predictions(self, gpt2, options):
        other = copy.deepcopy(gpt2)
        other.transformer.h[1].mlp.c_proj.weight.mul_(3)
        other.lm_head.weight.data.mul_(4)
        lenses = [bauklens.logit_lens(model, None, PROMPT, **options) for model in (gpt2, other)]
        full = [bauklens.logit_lens(model, None, PROMPT, targets=range(VOCABULARY)) for model in (gpt2, other)]
        p, q = (
            softmax(np.stack([each.logit for each in lens.targets], axis=-1).astype(np.float64), axis=-1)
            for lens in full
        )
        exact = (jensenshannon(p, q, axis=-1) ** 2).astype(np.float32)
        bound = js_bound(*lenses)
        assert (bound <= exact + 1e-6).all()
        assert (bound > 0).any()
        assert np.allclose(js_bound(*full), exact, atol=2e-6)  # every token is known

    def test_many_cells_are_read_in_parts(self):
        lens = made(40, 30, 3, texts=TEXTS)
        turned = replace(lens, top_ids=lens.top_ids[:, ::-1])
        bound = js_bound(lens, turned)
        assert bound.shape == (40, 30)
        alone = js_bound(lens.part(["30"], [7]), turned.part(["30"], [7]))
        assert bound[31, 7] == alone

    def test_for_two_models_the_divergence_itself_is_known(self, gpt2):
        other = copy.deepcopy(gpt2)
        other.transformer.h[1].mlp.c_proj.weight.mul_(1.5)
        found = bauklens.compare_models(gpt2, other, None, PROMPT)
        assert found.distance_is_known
        assert "js_bound" not in found.measures
        assert np.allclose(found.distance**2, found.measures["js"] / LARGEST, atol=1e-6)


class TestAlignment:
    def test_words_that_change_places_are_set_against_each_other(self):
        one, other = ["When", "Mary", "and", "John", "went"], ["When", "John", "and", "Mary", "went"]
        assert aligned(one, other) == [(place, place) for place in range(5)]

    def test_what_only_one_has_is_a_gap(self):
        assert aligned([1, 2, 3, 4], [1, 2, 9, 3, 4]) == [(0, 0), (1, 1), (None, 2), (2, 3), (3, 4)]
        assert aligned("abc", "bcd") == [(0, None), (1, 0), (2, 1), (None, 2)]
        assert aligned([], [5]) == [(None, 0)]

    def test_a_stretch_of_another_length_has_no_counterpart(self):
        found = aligned([1, 2, 3, 4], [1, 7, 8, 9, 4])
        assert found == [(0, 0), (1, None), (2, None), (None, 1), (None, 2), (None, 3), (3, 4)]

    def test_every_place_occurs_once_in_order(self):
        random = np.random.default_rng(0)
        for _ in range(50):
            one, other = (random.integers(0, 4, random.integers(0, 12)).tolist() for _ in range(2))
            found = aligned(one, other)
            assert [here for here, _ in found if here is not None] == [*range(len(one))]
            assert [there for _, there in found if there is not None] == [*range(len(other))]

    def test_very_long_texts_are_aligned_too(self):
        text = np.random.default_rng(0).integers(0, 9999, 5000).tolist()
        found = aligned([1, *text, 2], [3, 4, *text[:2500], 5, *text[2500:]])
        assert (1, 2) in found
        assert (5000, 5002) in found

    def test_a_comparison_keeps_the_whole_lenses(self):
        one = made(token_ids=[0, 1, 2, 3])
        other = made(token_ids=[0, 1, 3, 2], positions=[0, 1, 2, 3])
        found = compare(one, other)
        again = pickle.loads(pickle.dumps(found))
        assert again.alignment == found.alignment
        assert [len(lens.positions) for lens in found.whole] == [4, 4]


class TestNames:
    @pytest.mark.parametrize(
        ("prompts", "names"),
        [
            (("Mary and John went, John gave", "Mary and John went, Mary gave"), ["John", "Mary"]),
            (("When Mary and John left, John", "When John and Mary left, Mary"), ["Mary … John", "John … Mary"]),
            (("in the store, now", "in the shop, now"), ["store", "shop"]),
            (("Paris is", "Hello. Paris is"), ["without “Hello.”", "Hello."]),
            (("a  b", "a b"), ["a  b", "a b"]),
        ],
    )
    def test_of_two_prompts_the_words_that_differ(self, prompts, names):
        assert short_names(prompts, "prompt") == names

    def test_of_models_what_they_are_called_without_their_owner(self):
        assert short_names(["org/one-1B", "org/two-1B"], "model") == ["one-1B", "two-1B"]
        assert short_names(["a/same", "b/same"], "model") == ["a/same", "b/same"]

    def test_of_edits_what_is_done_and_the_decoder_only_if_they_differ_in_it(self):
        swap = "swap ' Paris' → ' Rome'"
        assert short_names(["clean", f"{swap} (demo)"], "edited") == ["clean", swap]
        apart = ["steer ' a' (one)", "steer ' a' (two)"]
        assert short_names(apart, "edited") == apart
        assert short_names(["clean", "zero; steer ' a' (one)"], "edited") == ["clean", "zero; steer ' a' (one)"]

    def test_long_ones_are_cut_and_stay_apart(self):
        names = short_names(["x" * 40 + "a", "x" * 40 + "b"], "decoder")
        assert names == ["…" + "x" * 12 + "a", "…" + "x" * 12 + "b"]
        long = short_names(["one " + "two three four five six seven", "other"], "decoder")
        assert long == ["one two three four five…", "other"]


def two_texts():
    """The second text has a token more in the middle."""
    texts = ["a", " b", "c", " new", "d"]
    one = made(3, 4, 2, texts=texts, token_ids=[0, 1, 2, 4], tokens=["a", " b", "c", "d"], prompt="a b cd")
    other = made(3, 5, 2, texts=texts, token_ids=[0, 1, 3, 2, 4], tokens=["a", " b", " new", "c", "d"])
    return compare(one, replace(other, prompt="a b new cd"))


class TestInAPage:
    def test_the_page_without_script_and_the_viewer_draw_the_same_numbers(self, opening):
        comparison = two_texts()
        html = page([comparison])
        held = unpacked(html)["between 1 distance"].reshape(3, 4)
        assert np.array_equal(held, comparison.distance)
        still, _, _ = opening(html, script=False)
        cells = "each => each.map((e) => Number(e.style.getPropertyValue('--p')))"
        plain = still.locator("tbody td:not(.gap)").evaluate_all(cells)
        live, asked, complaints = opening(html)
        drawn = live.locator(".cell:not(.none)").evaluate_all(cells)
        assert plain == drawn == pytest.approx(comparison.distance.ravel().tolist(), abs=6e-4)
        told = "least Jensen-Shannon distance that the known probabilities allow: 0 the same, 1 nothing in common"
        assert told in still.locator(".legend").inner_text()
        assert told in live.locator(".pane .legend").inner_text()
        expect(still.locator("td.gap")).to_have_count(3)
        expect(live.locator(".cell.none")).to_have_count(3)
        assert still.locator("tbody th").all_inner_texts() == ["embed", "0", "1"]
        assert (asked, complaints) == ([], [])

    def test_side_by_side_a_gap_is_a_hatched_column_and_equal_tokens_are_in_one_place(self, opening):
        live, _, complaints = opening(page([two_texts()]))
        live.get_by_role("button", name="side by side").click()
        panes = live.locator(".pane")
        heads = [panes.nth(pane).locator(".head.position bdi").all_inner_texts() for pane in (0, 1)]
        assert heads == [["a", "␣b", "", "c", "d"], ["a", "␣b", "␣new", "c", "d"]]
        expect(panes.nth(0).locator(".cell.none")).to_have_count(3)
        panes.nth(0).locator(".cell.none").first.click()
        assert live.locator(".place span").inner_text() == "after ␣new"
        assert live.locator(".whose").first.inner_text() == "new"
        live.locator(".tabs button").first.click()
        assert live.locator(".head.position bdi").all_inner_texts() == ["a", "␣b", "c", "d"]
        expect(live.locator(".cell.none")).to_have_count(0)
        assert complaints == []

    def test_an_export_has_the_columns_of_its_own_lens_only(self, opening, tmp_path):
        comparison = two_texts()
        live, _, _ = opening(page([comparison]))
        live.locator(".tabs button").first.click()
        live.get_by_text("Export").click()
        with live.expect_download() as saved:
            live.get_by_role("button", name="Download JSON").click()
        saved.value.save_as(tmp_path / "lens.json")
        again = bauklens.LensResult.load(tmp_path / "lens.json")
        assert again.tokens == comparison.whole[0].tokens
        assert np.allclose(again.top_probs, comparison.whole[0].top_probs)

    def test_tabs_are_named_by_what_differs_and_say_all_of_it_on_hover(self, opening):
        prompts = ["When Mary and John went, John", "When Mary and John went, Mary"]
        lenses = [replace(made(3, 4, 2), prompt=prompt) for prompt in prompts]
        live, _, _ = opening(page([compare(*lenses)]))
        tabs = live.locator(".tabs button")
        assert tabs.all_inner_texts() == ["John", "Mary", "side by side", "John ↔ Mary"]
        assert tabs.nth(3).get_attribute("title") == " ↔ ".join(prompts)

    def test_a_pin_shows_what_becomes_of_its_log_p(self, opening):
        one = made(2, 2, 2, probabilities=np.broadcast_to([0.5, 0.25], (2, 2, 2)))
        other = replace(one, top_ids=one.top_ids[..., ::-1], prompt="other")
        live, _, complaints = opening(page([compare(one, other)]))
        live.locator(".cell").first.click()
        live.keyboard.press("p")
        cells = live.locator(".cell")
        assert [text.strip("● ") for text in cells.all_inner_texts()] == [f"{MINUS}0.7", DASH] * 2
        assert cells.first.evaluate("e => e.classList.contains('less')")
        assert cells.nth(1).evaluate("e => e.classList.contains('none')")
        legend = live.locator(".pane .legend").inner_text()
        assert f"{MINUS}0.7 (orange) to +0.7 (blue) nats; hatched: a is not known in both, only in the top k" in legend
        live.get_by_label("Colour").select_option("top")
        assert "Jensen-Shannon distance" in live.locator(".pane .legend").inner_text()
        assert complaints == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_every_change_can_be_read_on_its_colour(self, opening, scheme):
        live, _, _ = opening(page([two_texts()]), scheme=scheme)
        contrasts = live.evaluate(
            """() => {
              const cell = document.querySelector(".cell:not(.none)");
              cell.classList.remove("chosen");
              const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
              const luminance = (color) => {
                paint.fillStyle = color;
                paint.fillRect(0, 0, 1, 1);
                const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].map((byte) => byte / 255)
                  .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              return ["less", "more"].flatMap((side) => Array.from({ length: 11 }, (_, step) => {
                cell.classList.remove("less", "more");
                cell.classList.add(side);
                cell.style.setProperty("--p", step / 10);
                const style = getComputedStyle(cell);
                const pair = [luminance(style.color), luminance(style.backgroundColor)].sort((a, b) => b - a);
                return (pair[0] + 0.05) / (pair[1] + 0.05);
              }));
            }"""
        )
        assert min(contrasts) >= 4.5

    @pytest.mark.parametrize("show", ["side by side", "↔"])
    def test_eight_columns_fit_a_page_of_1400_pixels(self, opening, show):
        lens = made(31, 8, 5)
        live, _, _ = opening(page([compare(lens, replace(lens, prompt="other"))]), width=1400)
        live.locator(".tabs button", has_text=show).click()
        for box in live.locator(".scroll").all():
            assert box.evaluate("e => e.scrollWidth <= e.clientWidth")
        tops = {box.bounding_box()["y"] for box in live.locator(".pane").all()}
        assert len(tops) == 1

    def test_four_decoders_are_side_by_side_and_any_two_are_compared(self, opening):
        lenses = [made(3, 4, 2), *(replace(made(3, 4, 2), decoder=name) for name in ("x", "y", "z"))]
        lenses[2] = replace(lenses[2], top_ids=(lenses[2].top_ids + 1) % 4)
        live, _, complaints = opening(page(lenses))
        expect(live.locator(".pane")).to_have_count(4)
        live.get_by_label("Compare").select_option("1-2")
        assert live.locator(".pane .caption").inner_text() == "x ↔ y"
        cell = live.locator(".cell").first
        expected = float(compare(*lenses[1:3]).distance[0, 0])
        assert cell.evaluate("e => Number(e.style.getPropertyValue('--p'))") == pytest.approx(expected, abs=6e-4)
        assert expected > 0
        live.get_by_label("Compare").select_option("")
        expect(live.locator(".pane")).to_have_count(4)
        assert complaints == []

    def test_both_lenses_of_a_comparison_are_in_one_chart(self, opening):
        one = made(3, 4, 2)
        live, _, _ = opening(page([compare(one, replace(one, prompt="other", top_probs=one.top_probs / 2))]))
        dashes = live.locator(".chart polyline").evaluate_all("all => all.map((each) => each.style.strokeDasharray)")
        assert len(set(dashes)) == 2

"""A head in int8: its products, margins of its logits, what one look at them finds, and heads that are remembered."""

import gc
import hashlib
import os
import subprocess
import sys
import weakref
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torch import nn

import bauklens
from bauklens.decode import compiled, compiled_pass, low_head
from bauklens.decode import int8_product as products
from bauklens.decode.cpu import has_int8, int8_product
from bauklens.decode.low_head import LowPrecisionHead
from bauklens.decode.quantizing import quantized_head, turned_back
from bauklens.decode.reading import Reading
from bauklens.decode.readout import Exact
from bauklens.decode.remembered_heads import remembered
from bauklens.decode.rest import LEAST
from bauklens.decode.rounding import BITS
from bauklens.decode.survey import DRAWN, Wanted, places
from tests.test_mixed import PROMPT, wide_model
from tests.test_rounding import FAMILIES, WIDTH, in_float64, made

needs_int8 = pytest.mark.skipif(not has_int8(), reason="this CPU does not multiply int8")
WANTED = Wanted(count=64, weighted=True, kept=True)


class TestThreads:
    @pytest.fixture(autouse=True)
    def two_threads(self):
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        yield
        torch.set_num_threads(before)

    def test_each_computes_by_itself_and_those_of_torch_are_as_many_as_before(self):
        within, later = [], []
        compiled.side_by_side(lambda some: within.append((some, torch.get_num_threads())), 101)
        assert sorted(within, key=str) == [(slice(0, 51), 1), (slice(51, 101), 1)]
        other = Thread(target=lambda: later.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert (torch.get_num_threads(), later) == (2, [2])

    def test_a_slice_can_have_slices_of_its_own(self):
        counted = []
        compiled.side_by_side(lambda _: compiled.side_by_side(lambda some: counted.append(some.stop), 7), 4)
        assert counted == [7, 7]

    def test_a_slice_that_is_divided_waits_for_no_other_whatever_torch_has_in_its_thread(self, monkeypatch):
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        counted = []
        divided = partial(compiled.side_by_side, lambda some: counted.append(some.stop), 7)
        whole = Thread(target=compiled.side_by_side, args=(lambda _: divided(), 4), daemon=True)
        whole.start()
        whole.join(30)
        assert counted == [7, 7]

    def test_what_one_raises_is_raised(self):
        with pytest.raises(ValueError, match="slice"):
            compiled.side_by_side(lambda some: (_ for _ in ()).throw(ValueError("slice")), 10)

    @needs_int8
    def test_tensors_of_inference_mode_can_be_written_there(self):
        torch.manual_seed(0)
        head, inputs = nn.Linear(64, 9_000, bias=False).requires_grad_(False), torch.randn(300, 64)
        columns = torch.arange(300)

        def read():
            return LowPrecisionHead(head, 9_000, 1.0, inputs, "int8").read(inputs, Reading(3), columns)[0]

        plain = read()
        with torch.inference_mode():
            within = read()
        assert torch.equal(plain["top_ids"], within["top_ids"])
        assert torch.equal(plain["top_probs"], within["top_probs"])
        torch.set_num_threads(1)
        assert torch.equal(plain["top_probs"], read()["top_probs"])


@pytest.fixture(autouse=True)
def compiled_code(monkeypatch):
    monkeypatch.setattr(compiled, "READ_BEFORE", -1)
    assert compiled.starts(1)  # numba is among the packages that the tests need


def logits_of(head, inputs):
    """(row, vocabulary) float64, x and the margins h g, in bits, from a quantized head's own numbers."""
    whole, steps, row_margins = head.quantized(BITS * inputs)
    products = whole.double() @ head.weights.double().T
    bias = head.bias.double() if len(head.bias) else 0.0
    return steps.double()[:, None] * head.scales.double() * products + bias, row_margins[:, None] * head.margins


def product_of(head, inputs, scale=1.0):
    bias = torch.zeros(head.out_features) if head.bias is None else scale * head.bias
    product = products.product_of(head.weight, head.weight, bias)
    inputs = scale * inputs
    return product, inputs, inputs @ product.mean[:, None]


@needs_int8
@pytest.mark.parametrize("rows", [1, 31, 128])
@pytest.mark.parametrize("extreme", [False, True])
def test_products_are_exact(rows, extreme):
    generator = torch.Generator().manual_seed(0)
    one, other = (
        torch.randint(-127, 128, (each, 576), generator=generator, dtype=torch.int8) for each in (rows, 1_003)
    )
    if extreme:
        one, other = one.sign() * 127, other.sign() * 127
    assert torch.equal(int8_product(one, other).long(), one.long() @ other.long().T)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_lies_above_its_logit_and_its_margin(family):
    for seed in range(3):
        head, inputs, scale = made(family, seed)
        bias = torch.zeros(head.out_features) if head.bias is None else scale * head.bias
        rounded, inputs = quantized_head(head.weight, BITS * bias), scale * inputs
        found, margins = logits_of(rounded, inputs)
        true = BITS * (in_float64(head, inputs)[0] - (0 if head.bias is None else head.bias.double()) + bias.double())
        true = true - BITS * inputs.double() @ rounded.mean.double()[:, None]
        best = true.amax(dim=-1)
        slack = rounded.beside(BITS * inputs, best)[:, None]
        over = true - found - margins - slack
        assert (over[true.isfinite() & found.isfinite()] <= 0).all()


def test_what_a_row_may_lose_is_nearly_reached_where_every_number_is_half_a_step_off():
    """So nothing much smaller than the margin would do, but for Cauchy and Schwarz."""
    torch.manual_seed(0)
    steps = torch.full((1, 64), 126.5) * torch.randn(1, 64).sign()
    steps[0, 0] = 127.0
    head, row = quantized_head(torch.randn(200, 64), torch.zeros(200)), turned_back(steps, 64)
    whole, step, margin = head.quantized(row)
    lost = torch.linalg.vector_norm(steps - whole * step[:, None])
    assert 0.9 < lost / (0.5 * 63**0.5) < 1.1
    assert margin >= lost / head.ratio


def test_what_is_turned_is_turned_back():
    rows = torch.randn(5, 200)
    head = quantized_head(torch.randn(300, 200), torch.zeros(300))
    assert head.weights.shape[1] == 256
    whole, steps, _ = head.quantized(rows)
    assert torch.allclose(turned_back(whole.float() * steps[:, None], 200), rows, atol=0.05)


@pytest.mark.parametrize("spoiled", [torch.nan, torch.inf, -torch.inf])
def test_a_head_that_is_not_finite_is_not_rounded(spoiled):
    weights = torch.randn(300, 64)
    weights[7, 3] = spoiled
    assert quantized_head(weights, torch.zeros(300)) is None


@pytest.mark.parametrize(("bias", "is_none"), [(torch.nan, True), (torch.inf, True), (-torch.inf, False)])
def test_a_bias_that_is_not_finite(bias, is_none):
    biases = torch.zeros(300)
    biases[7] = bias
    assert (quantized_head(torch.randn(300, 64), biases) is None) == is_none


@needs_int8
class TestALook:
    @pytest.fixture
    def looked(self):
        torch.manual_seed(2)
        head = nn.Linear(WIDTH, 5_003).requires_grad_(False)
        head.bias[3_000:] = -torch.inf
        inputs = 12 * torch.randn(40, WIDTH)
        product, inputs, common = product_of(head, inputs)
        quantized = quantized_head(head.weight, BITS * head.bias)
        return product.survey(inputs, common, WANTED), *logits_of(quantized, inputs)

    def test_finds_those_that_reach_highest_and_says_what_no_other_reaches(self, looked):
        seen, logits, margins = looked
        reach = (logits + margins - seen.expected).float()
        best = reach.topk(64)
        assert (reach.gather(1, seen.ids).sort(descending=True).values - best.values).abs().max() < 1e-4
        assert torch.allclose(seen.found, (logits - seen.expected).gather(1, seen.ids).float(), atol=1e-4)
        others = reach.scatter(1, seen.ids, -torch.inf).amax(dim=-1)
        assert (others <= seen.lowest + 1e-4).all()
        assert (seen.lowest - best.values[:, -1]).abs().max() < 1e-4

    def test_sums_over_the_rest(self, looked):
        seen, logits, _ = looked
        rest = (logits - seen.expected.double()).scatter(1, seen.ids, -torch.inf)
        powers = rest.exp2()
        weighted, total = powers * rest.clamp_min(-1e9), (logits - seen.expected.double()).exp2().sum(dim=-1)
        assert ((seen.mass.double() - powers.sum(dim=-1)).abs() <= 1e-6 * total).all()
        assert ((seen.weighted.double() - weighted.sum(dim=-1)).abs() <= 1e-5 * total).all()

    def test_what_is_drawn_is_of_the_rest(self, looked):
        seen, logits, _ = looked
        assert seen.is_drawn.all()
        assert not (seen.drawn_ids[:, :, None] == seen.ids[:, None, :]).any()
        assert torch.allclose(seen.drawn, (logits - seen.expected).gather(1, seen.drawn_ids).float(), atol=1e-4)
        assert (seen.drawn_ids < 3_000).all()
        rest = (logits - seen.expected.double()).scatter(1, seen.ids, -torch.inf).exp2()
        mean = (seen.drawn.double().exp2() / seen.mass[:, None]).mean()
        assert 0.5 < mean / (rest / rest.sum(dim=-1, keepdim=True)).square().sum(dim=-1).mean() < 2

    def test_what_is_kept_are_the_logits_to_the_nearest_bfloat16(self, looked):
        seen, logits, _ = looked
        expected = (logits - seen.expected).float().scatter(1, seen.ids, LEAST * -1)
        near = (seen.logits.float() - expected).abs() <= 2.0**-8 * expected.abs() + 1e-4
        assert (near | (expected == -torch.inf)).all()
        assert (seen.logits[:, 3_000:] == -torch.inf).all()

    def test_the_first_tokens_all_left_out(self):
        torch.manual_seed(0)
        head = nn.Linear(WIDTH, 5_003).requires_grad_(False)
        head.bias[:2_500] = -torch.inf
        inputs = torch.randn(9, WIDTH)
        product, inputs, common = product_of(head, inputs)
        seen = product.survey(inputs, common, WANTED)
        assert seen.mass.isfinite().all()
        assert (seen.ids >= 2_500).all()

    def test_one_far_above_what_the_first_tokens_have(self):
        """So far that powers would not be finite if all were taken less the first tokens' largest."""
        torch.manual_seed(0)
        head = nn.Linear(WIDTH, 5_003).requires_grad_(False)
        head.bias[4_000:] = 400.0
        product, inputs, common = product_of(head, torch.randn(9, WIDTH))
        seen = product.survey(inputs, common, WANTED)
        assert seen.mass.isfinite().all()
        assert (seen.ids >= 4_000).all()
        assert (seen.mass > 0).all()

    @pytest.mark.parametrize("left", [0, 1, 63])
    def test_too_few_tokens_are_not_vouched_for(self, left):
        head = nn.Linear(WIDTH, 5_003).requires_grad_(False)
        head.bias[left:] = -torch.inf
        inputs = torch.randn(9, WIDTH)
        low = LowPrecisionHead(head, head.out_features, 1.0, inputs, "int8")
        assert not low.read(inputs, Reading(5), torch.zeros(9, dtype=torch.int64))[1].any()

    @pytest.mark.parametrize("spoiled", [torch.nan, torch.inf, -torch.inf, 1e38])
    def test_a_state_that_is_not_finite_is_not_vouched_for(self, spoiled):
        torch.manual_seed(0)
        head = nn.Linear(WIDTH, 5_003, bias=False).requires_grad_(False)
        inputs = 9 * torch.randn(9, WIDTH)
        inputs[4, 7] = spoiled
        low = LowPrecisionHead(head, head.out_features, 1.0, inputs, "int8")
        certain = low.read(inputs, Reading(5), torch.zeros(9, dtype=torch.int64))[1]
        assert not certain[4]
        assert certain.sum() > 2

    def test_mean_weights(self):
        torch.manual_seed(0)
        head = nn.Linear(200, 9_000).requires_grad_(False)
        low = LowPrecisionHead(head, 9_000, 1.0, torch.randn(4, 200), "int8")
        probabilities = torch.randn(3, 9_000).mul_(3).softmax(-1)
        found, exact = low.mean_weights(probabilities), probabilities.double() @ head.weight.double()
        assert (found - exact).abs().max() < 0.01 * head.weight.abs().max()


class TestRemembered:
    def test_a_head_is_rounded_once(self):
        head = nn.Linear(WIDTH, 300).requires_grad_(False)
        made_once = []
        found = [remembered(head.weight, head.weight, head.bias, "kind", lambda: made_once.append(1)) for _ in range(3)]
        assert made_once == [1]
        assert found[0] is found[1] is found[2]
        assert remembered(head.weight, head.weight, head.bias, "other", lambda: 2).converted == 2

    @pytest.mark.parametrize(
        "change",
        [
            lambda head: head.weight.data.mul_(2),
            lambda head: head.weight.data[17].neg_(),
            lambda head: head.weight.data[17:19].copy_(head.weight.data[[18, 17]]),
            lambda head: head.bias.data[3:4].add_(1e-6),
            lambda head: head.weight.data[5, 7:8].add_(1e-4),
        ],
    )
    def test_a_head_that_was_changed_in_place_is_rounded_anew(self, change):
        torch.manual_seed(0)
        head = nn.Linear(WIDTH, 300).requires_grad_(False)
        remembered(head.weight, head.weight, head.bias, "kind", lambda: 1).is_right = True
        change(head)
        anew = remembered(head.weight, head.weight, head.bias, "kind", lambda: 2)
        assert (anew.converted, anew.is_right) == (2, False)
        assert remembered(head.weight, head.weight, head.bias, "kind", lambda: 3) is anew

    def test_what_is_remembered_goes_with_the_head(self):
        head = nn.Linear(WIDTH, 300).requires_grad_(False)
        converted = nn.Linear(1, 1)
        gone = weakref.ref(converted.bias)
        remembered(head.weight, head.weight, head.bias, "kind", partial(getattr, converted, "bias"))
        del converted
        gc.collect()
        assert gone() is not None
        del head
        gc.collect()
        assert gone() is None

    @needs_int8
    def test_rows_are_compared_until_they_were_right_once(self, monkeypatch):
        """Also if the first trial had too few certain rows, or was not right; afterwards no more."""
        monkeypatch.setattr("bauklens.decode.low_precision.FEWEST_ROWS", 100)
        model, read, wrong = wide_model("llama", "plain"), LowPrecisionHead.read, []

        def changed(self, inputs, *rest):
            values, certain = read(self, inputs, *rest)
            if wrong[-1] == "uncertain":
                return values, certain & False
            return values | {"top_probs": values["top_probs"] + 0.01}, certain

        monkeypatch.setattr(LowPrecisionHead, "read", changed)
        for each in ("uncertain", "off", "off"):
            wrong.append(each)
            assert bauklens.logit_lens(model, None, PROMPT).provenance["decoding"]["precision"] == "float32"
        monkeypatch.setattr(LowPrecisionHead, "read", read)
        assert bauklens.logit_lens(model, None, PROMPT).provenance["decoding"]["precision"] == "int8"
        exact, rows = Exact.read, []
        monkeypatch.setattr(Exact, "read", lambda self, some, reading: rows.append(some) or exact(self, some, reading))
        again = bauklens.logit_lens(model, None, PROMPT, track=0).provenance["decoding"]["decoded again"]
        assert sum(each.count for each in rows) == again  # nothing but what was in doubt


@needs_int8
def test_a_page_of_text_with_tracked_tokens_and_sets(demo):
    model, tokenizer = demo
    prompt = tokenizer("The Danube flows through ten countries, more than any other river in the world. " * 6)
    ids = prompt["input_ids"][:90]
    sets = {"first": list(range(300, 1_500)), "second": [1, 2, 3]}
    auto, exact = (
        bauklens.logit_lens(model, tokenizer, ids, precision=each, mass=sets, track=60) for each in ("auto", "exact")
    )
    assert auto.provenance["decoding"]["precision"] == "int8"
    assert auto.provenance["decoding"]["decoded again"] < 0.1 * auto.provenance["decoding"]["rows"]
    assert np.array_equal(auto.top_ids, exact.top_ids)
    assert np.abs(auto.top_probs - exact.top_probs).max() < low_head.TOLERANCE
    assert np.abs(auto.mass["first"] - exact.mass["first"]).max() < 0.005
    both = np.isin(auto.tracked.token_ids, exact.tracked.token_ids)
    tokens = auto.tracked.token_ids[both]
    assert len(tokens) > 40
    places_of = [np.flatnonzero(exact.tracked.token_ids == token)[0] for token in tokens]
    own, right = auto.tracked.rank[both].astype(int), exact.tracked.rank[places_of].astype(int)
    sure = own <= auto.tracked.exact_to[None]
    assert (np.abs(own - right)[sure & (right <= exact.tracked.exact_to[None])]).max() == 0
    off = np.abs(own - right) / right
    assert np.quantile(off, 0.99) < 0.025


@needs_int8
@pytest.mark.parametrize("stream", ["attention", "mlp"])
def test_few_flat_rows_are_in_doubt(demo, stream):
    """What a sublayer adds predicts next to nothing, so that nearly all of the mass is in tokens that are estimated."""
    model, tokenizer = demo
    ids = tokenizer("The Danube flows through ten countries, more than any other river in the world. " * 3)["input_ids"]
    lens = bauklens.logit_lens(model, tokenizer, ids[:40], stream=stream, measures=[], track=0)
    decoding = lens.provenance["decoding"]
    assert decoding["precision"] == "int8"
    assert decoding["decoded again"] < 0.12 * decoding["rows"]


def test_a_survey_needs_no_multiple_of_a_group():
    """Any vocabulary will do, and any number of rows."""
    for vocabulary in (130, 1_023, 1_024, 1_025):
        products = torch.randint(-9_000, 9_000, (3, vocabulary), dtype=torch.int32)
        ones = torch.ones(vocabulary)
        into = compiled_pass.Surveyed.of(3, 64, DRAWN)
        of_rows = products.clone(), torch.full((3,), 0.001), torch.zeros(3)
        nothing = torch.empty(0, vocabulary, dtype=torch.bfloat16)
        compiled_pass.survey_int8(of_rows, (ones, ones, ones[:0]), places(ones.device), -1e30, into, nothing)
        best = products.topk(64).values.float() * 0.001
        found = (into.found + into.sums[:, 2:3]).sort(descending=True).values
        assert torch.allclose(found, best, atol=1e-5)


@needs_int8
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_a_cpu_whose_products_are_not_exact_does_without(instructions):
    """Instructions that are older add pairs of products in two bytes, which cannot hold them."""
    code = "from bauklens.decode.cpu import has_int8; print(has_int8())"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["pass_kernels", "int8_kernels"])
def test_loops_are_compiled_anew_if_what_they_have_in_common_changes(name):
    """If this fails, put the hash that it shows into both modules."""
    module = import_module(f"bauklens.decode.{name}")
    parts = Path(module.__file__).with_name("kernel_parts.py")
    assert hashlib.sha256(parts.read_bytes()).hexdigest()[:12] == module.PARTS

"""What rounding to bfloat16 and int8 can do at most, and heads in both, against float64: worst cases and families."""

import pytest
import torch
from torch import nn

from bauklens.decode.low_head import TOLERANCE, LowPrecisionHead
from bauklens.decode.reading import Reading
from bauklens.decode.rounding import BITS, rounded_head

WIDTH, VOCABULARY, ROWS = 48, 3_001, 12
DOWN = 1 + 2.0**-8 * (1 - 2.0**-7)
"""Rounds down to 1, by almost 2^-8 of it."""


def gaussian(weights, inputs):
    return weights, inputs


def heavy_tails(weights, inputs):
    return weights * weights.abs() ** 2, inputs * inputs.abs()


def common_offset(weights, inputs):
    return weights - 3, inputs + 1


def common_direction(weights, inputs):
    """All tokens share a long component that the inputs do not see."""
    shared = nn.functional.normalize(weights[0], dim=0)
    return weights + 40 * shared, inputs - (inputs @ shared)[:, None] * shared


def rounded_alike(weights, inputs):
    """Half of the tokens have weights of the same size that all round down."""
    alike = weights.clone()
    alike[::2] = 0.25 * DOWN * weights[::2].sign()
    return alike, inputs


def all_round_down(weights, inputs):
    return _downward(weights), _downward(inputs)


def leaders_round_down(weights, inputs):
    """What would be the best token is rounded down, all others are exact."""
    rounded = weights.bfloat16().float()
    rounded[:40] = _downward(2 * weights[:40])
    return rounded, inputs


def _downward(values):
    return DOWN * values.sign() * 2.0 ** values.abs().clamp_min(1e-3).log2().floor()


def near_ties(weights, inputs):
    return weights[torch.arange(len(weights)) % 97] + 1e-4 * weights, inputs


def low_rank(weights, inputs):
    return weights[:, :3] @ weights[:3], inputs


def huge(weights, inputs):
    return 3e3 * weights, inputs


def tiny(weights, inputs):
    return 1e-3 * weights, inputs


def tiny_times_large(weights, inputs):
    """The squares of the weights are 0 in float32."""
    return 1e-25 * weights, 1e25 * inputs


def sparse(weights, inputs):
    return torch.where(weights > 1.5, weights, 0), inputs


def duplicates(weights, inputs):
    return weights[torch.arange(len(weights)) // 3], inputs


def sorted_lengths(weights, inputs):
    return weights * torch.linspace(0, 2, len(weights))[:, None], inputs


def one_giant(weights, inputs):
    weights[77] *= 100
    return weights, inputs


def two_large_inputs(weights, inputs):
    inputs[:, :2] = 300 + torch.rand(len(inputs), 1)
    weights[:, 0] = -weights[:, 1]
    return weights, inputs


def zipf(weights, inputs):
    """A third of the mass in a long tail."""
    return weights / 4 + 0.1 * torch.log1p(torch.arange(len(weights)))[:, None].neg(), inputs.abs()


def one_hot(weights, inputs):
    return weights * (torch.arange(len(weights))[:, None] % WIDTH == torch.arange(WIDTH)) * 3, inputs


def powers_of_two(weights, inputs):
    return 2.0 ** weights.round() * weights.sign(), 2.0 ** inputs.round()


FAMILIES = [
    gaussian,
    heavy_tails,
    common_offset,
    common_direction,
    rounded_alike,
    all_round_down,
    leaders_round_down,
    near_ties,
    low_rank,
    huge,
    tiny,
    tiny_times_large,
    sparse,
    duplicates,
    sorted_lengths,
    one_giant,
    two_large_inputs,
    zipf,
    one_hot,
    powers_of_two,
]


def made(family, seed):
    """A head, inputs of which some make a token certain and some none, and what the logits are multiplied by."""
    torch.manual_seed(seed)
    weights, inputs = family(torch.randn(VOCABULARY, WIDTH), torch.randn(ROWS, WIDTH))
    head = nn.Linear(WIDTH, VOCABULARY, bias=seed % 3 == 0).requires_grad_(False)
    head.weight.copy_(weights)
    if head.bias is not None:
        head.bias.normal_(0, 2)
        if seed % 2:
            head.bias[100:600] = (-torch.inf, -1e4, torch.finfo(torch.float32).min)[seed % 9 // 3]
    return head, inputs * torch.logspace(-1, 0.7, ROWS)[:, None], (1.0, 0.25)[seed % 2]


def in_float64(head, inputs, scale=1.0):
    """(row, vocabulary), and how far off float32 may be."""
    bias = 0 if head.bias is None else head.bias.double()
    logits = scale * (inputs.double() @ head.weight.double().T + bias)
    sizes = scale * (inputs.double().abs() @ head.weight.double().abs().T)
    return logits, 2.0**-24 * (WIDTH + 3) * (sizes.amax(dim=-1) + logits.amax(dim=-1).abs())


def read(head, inputs, k, scale=1.0, numbers="bfloat16"):
    low = LowPrecisionHead(head, head.out_features, scale, inputs, numbers)
    assert low.precision == numbers
    return low.read(inputs, Reading(k), torch.zeros(len(inputs), dtype=torch.int64))


def assert_what_is_certain_is_right(head, inputs, k, scale=1.0, numbers="bfloat16"):
    """The top k in order, but for what float32 cannot tell apart, and probabilities; returns which rows are certain."""
    found, certain = read(head, inputs, k, scale, numbers)
    logits, slack = in_float64(head, inputs, scale)
    chosen, best = logits.gather(1, found["top_ids"]), logits.topk(k).values
    assert (((chosen - best).abs() <= 2 * slack[:, None]) | ~certain[:, None]).all()
    assert all(len(set(row)) == k for row in found["top_ids"].tolist())
    off = (found["top_probs"] - logits.softmax(-1).gather(1, found["top_ids"])).abs()
    assert ((off <= TOLERANCE + 2 * slack[:, None]) | ~certain[:, None]).all()
    return certain


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_certain_is_right_in_thirty_heads_of_each_family(family, numbers):
    for seed in range(30):
        assert_what_is_certain_is_right(*made(family, seed)[:2], (1, 5, 20)[seed % 3], made(family, seed)[2], numbers)


@pytest.mark.parametrize("family", [gaussian, sparse, sorted_lengths, tiny, common_direction])
def test_many_rows_are_certain(family, numbers):
    certain = [assert_what_is_certain_is_right(*made(family, seed)[:2], 5, numbers=numbers) for seed in range(4)]
    assert torch.cat(certain).float().mean() > 0.3


@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_lies_higher_above_its_low_logit_than_the_bound(family):
    for seed in range(3):
        head, inputs, scale = made(family, seed)
        assert share_of_the_bound(head, inputs, scale).amax() <= 1


def share_of_the_bound(head, inputs, scale=1.0):
    """(row, token), how far each token lies above what was computed, as a part of the bound; for all that lie above."""
    mean = head.weight.mean(dim=0)
    bias = torch.zeros(len(head.weight)) if head.bias is None else scale * head.bias
    rounded, scaled = rounded_head(head.weight, mean, BITS * bias), scale * inputs
    common = scaled.double() @ mean.double()[:, None]
    true = BITS * (in_float64(head, inputs, scale)[0] - common)
    expected = true[:, :256].amax(dim=-1, keepdim=True).bfloat16().float()
    low = torch.mm(rounded.extended(scaled, expected), rounded.weights.T)[:, : len(head.weight)].double()
    true = true - expected
    bound = torch.stack(
        [
            rounded.largest_error(scaled, expected[:, 0], low[:, token].float(), true[:, token].float())
            for token in range(0, len(head.weight), 7)
        ],
        dim=1,
    )
    above = (true - low)[:, ::7]
    return torch.where(true[:, ::7].isfinite() & bound.isfinite(), above / bound, 0)


def test_the_bound_is_reached_where_everything_rounds_down():
    """Weights and inputs that all lose almost 2^-8: nothing much smaller would be a bound."""
    head = nn.Linear(WIDTH, VOCABULARY, bias=False).requires_grad_(False)
    head.weight.fill_(DOWN)
    rounded = rounded_head(head.weight, torch.zeros(WIDTH), torch.zeros(VOCABULARY))
    inputs, expected = torch.full((1, WIDTH), DOWN / BITS), torch.full((1, 1), 48.0)
    low = torch.mm(rounded.extended(inputs, expected), rounded.weights.T)[:, 300].float()
    true = BITS * (inputs.double() @ head.weight[300].double()) - expected[:, 0]
    assert 0.9 < (true - low) / rounded.largest_error(inputs, expected[:, 0], low, true.float()) <= 1


def ordinary(seed=0):
    """A head and rows whose first 24 dimensions are for a case to fill in, and whose others are random."""
    torch.manual_seed(seed)
    weights, inputs = torch.randn(VOCABULARY, WIDTH) / 16, 16 * torch.randn(ROWS, WIDTH)
    weights[:, :24] = inputs[:, :24] = 0
    inputs[0] = 0
    head = nn.Linear(WIDTH, VOCABULARY, bias=False).requires_grad_(False)
    head.weight.copy_(weights)
    return head, inputs, [token for token in range(VOCABULARY) if token % (VOCABULARY // 256)]


def test_weights_of_the_best_token_that_all_round_toward_zero():
    """Five others are exact and almost as good, seventy more are as good as what the best is rounded to."""
    head, inputs, free = ordinary()
    signs, sizes = torch.tensor([1.0, 1, -1] * 8), 2.0 ** (torch.arange(24) % 4)
    inputs[0, :24] = 4 * signs / BITS  # a sum of sizes of 90 bits
    pattern = signs * sizes / 4
    head.weight[free[1000], :24] = DOWN * pattern
    head.weight[[22, *free[:70]], :24] = pattern * (1 + 2.0**-7 * (torch.arange(24) == 1))
    head.weight[free[70:75], :24] = pattern * (1 + 2.0**-7 * (torch.arange(24) % 4 < 3) * (torch.arange(24) != 0))
    check_case(head, inputs)


def test_a_best_token_that_loses_in_its_weight_and_in_the_sum():
    """It is 80 bits above what was expected, where neighbours in bfloat16 are half a bit apart."""
    head, inputs, free = ordinary()
    inputs[0, 0], inputs[0, 1] = 80 / BITS, 1 / BITS
    head.weight[free[2000], 0], head.weight[free[2000], 1] = DOWN, 0.24
    head.weight[free[:205], 0] = 1.0
    head.weight[free[200:205], 1] = 0.54
    check_case(head, inputs)


def test_inputs_that_round_down_for_the_best_token_and_up_for_others():
    head, inputs, free = ordinary()
    inputs[0, :12], inputs[0, 12:24] = 4 * DOWN / BITS, 4 * (2 - DOWN + 2.0**-8) / BITS
    head.weight[free[1000], :12] = 1.0
    head.weight[free[:90], 12:24] = 1.0
    check_case(head, inputs)


def check_case(head, inputs):
    """Its row is not certain, or right; the proof has not given up on the other rows."""
    for k in (1, 5):
        certain = assert_what_is_certain_is_right(head, inputs, k)
        assert certain[1:].any()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_mass_in_tokens_that_are_off_alike_and_in_no_sample(share):
    """A token that is exact against 1,500 that an input decides which loses almost 2^-8."""
    head, inputs, free = ordinary()
    inputs[0, 0], inputs[0, 1] = 8 * DOWN / BITS, 8 / BITS
    hidden = free[100:1600]
    head.weight[hidden, 0] = 1.0
    level = 8 * DOWN + torch.tensor(len(hidden) * (1 - share) / share).log2()
    head.weight[free[0], 1] = level / 8
    head.weight[free[1:6], 1], head.weight[free[6:90], 1] = 9.5 / 8, 8.5 / 8
    logits, _ = in_float64(head, inputs)
    assert 0.1 < logits[0].softmax(-1)[free[0]] < 0.9
    assert_what_is_certain_is_right(head, inputs, 5)


def test_ranks_below_underflow_are_those_of_float64():
    """Logits over 300 nats: the probabilities of all but the best are 0 in float32."""
    torch.manual_seed(0)
    head = nn.Linear(WIDTH, VOCABULARY, bias=False).requires_grad_(False)
    head.weight.zero_()
    head.weight[torch.randperm(VOCABULARY)[:20], 0] = torch.linspace(0.2, 1, 20)
    inputs = torch.zeros(2, WIDTH)
    inputs[:, 0] = torch.tensor([300.0, 280.0])
    found, _ = read(head, inputs, 10)
    assert (found["top_probs"][:, 9] == 0).all()
    logits, _ = in_float64(head, inputs)
    assert torch.equal(found["top_ids"], logits.topk(10).indices)

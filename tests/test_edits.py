"""Edits of tiny models, beside the same changes made by plain hooks and plain torch."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from transformers import MixtralConfig

import bauklens
from bauklens import JacobianLens, LensError, edits
from tests.by_hand import matrices
from tests.tiny import (
    LAYERS,
    PROMPT,
    TEXT,
    VOCABULARY,
    WIDTH,
    block_list,
    hook_count,
    tiny_model,
    tiny_tokenizer,
    with_random_weights,
)

KINDS = ["gpt2", "gptj", "llama", "gemma2", "bloom", "mixtral"]
NORMS = {"gpt2": "transformer.ln_f", "gptj": "transformer.ln_f", "bloom": "transformer.ln_f"}
ONE, OTHER = 44, 118
WHERES = ["hidden", "attention", "mlp", "mid", 2]


@pytest.fixture(params=KINDS)
def model(request):
    """A tiny model, with its kind as an attribute."""
    if request.param == "mixtral":
        found = with_random_weights(
            MixtralConfig(
                hidden_size=WIDTH,
                num_hidden_layers=LAYERS,
                num_attention_heads=4,
                num_key_value_heads=2,
                intermediate_size=24,
                num_local_experts=4,
                vocab_size=VOCABULARY,
                max_position_embeddings=64,
            )
        )
    else:
        found = tiny_model(request.param)
    found.norm_name = NORMS.get(request.param, "model.norm")
    return found


@contextmanager
def hooked(model, change, blocks=range(LAYERS)):
    """The model with a function on the states that some blocks return."""

    def after(module, inputs, output):
        state = output if torch.is_tensor(output) else output[0]
        changed = change(state)
        return changed if torch.is_tensor(output) else (changed, *output[1:])

    handles = [block_list(model)[number].register_forward_hook(after) for number in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def logits(model, prompt=PROMPT):
    """(position, vocabulary), the model's own."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([prompt])).logits[0].float()


def final_states(model):
    """(position, hidden), what the last block returns."""
    kept = []
    with hooked(model, lambda state: kept.append(state[0]) or state, [LAYERS - 1]):
        logits(model)
    return kept[0]


def direction(model, token, matrix=None):
    """(hidden,), of a token: by autograd, through the final norm at the mean of the final states."""
    head = model.get_output_embeddings().weight.float()
    norm = model.get_submodule(model.norm_name)
    mean = final_states(model)[1:].mean(dim=0).requires_grad_()
    with torch.enable_grad():
        score = norm(mean[None])[0] @ (head[token] - head.mean(dim=0))
        (found,) = torch.autograd.grad(score, mean)
    found = found if matrix is None else matrix.T @ found
    return found / found.norm()


def answer(model, edit, **options):
    """(position, vocabulary), the probabilities that the edited model goes on with."""
    lens = bauklens.logit_lens(model, None, PROMPT, topk=VOCABULARY, edits=edit, layers=[-1], **options)
    found = np.zeros((len(PROMPT), VOCABULARY), np.float32)
    np.put_along_axis(found, lens.top_ids[0], lens.top_probs[0], axis=-1)
    return found


def assert_same(found, right):
    assert np.allclose(found, right.softmax(dim=-1).numpy(), atol=2e-5)


def swapped(one, other, strength=1.0):
    return lambda state: state + strength * (state @ one)[..., None] * (other - one)


def test_a_swap_is_the_formula(model):
    one, other = direction(model, ONE), direction(model, OTHER)
    with hooked(model, swapped(one, other, 1.5), [0, 1]):
        right = logits(model)
    assert_same(answer(model, edits.swap(None, ONE, OTHER, strength=1.5, layers=[0, 1])), right)
    assert not np.allclose(right.softmax(dim=-1), logits(model).softmax(dim=-1), atol=1e-3)


def test_of_a_text_of_several_tokens_the_first_is_said():
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    ids = tokenizer("tower is", add_special_tokens=False).input_ids
    assert len(ids) > 1
    first = tokenizer.decode(ids[:1])
    lens = bauklens.logit_lens(model, tokenizer, TEXT, edits=edits.steer(None, "tower is", layers=1))
    assert f"first token {first!r} of 'tower is'" in lens.edited
    assert lens.provenance["edits"][0]["token ids"] == (ids[0],)
    single = bauklens.logit_lens(model, tokenizer, TEXT, edits=edits.steer(None, first, layers=1))
    assert "first token" not in single.edited
    assert np.array_equal(lens.top_probs, single.top_probs)


def test_a_swap_reads_a_jacobian_lens_backwards(model):
    maps = matrices()
    lens = JacobianLens(maps)
    one, other = (direction(model, token, maps["1"]) for token in (ONE, OTHER))
    with hooked(model, swapped(one, other), [1]):
        right = logits(model)
    assert_same(answer(model, edits.swap(lens, ONE, OTHER, layers=1)), right)


def test_steering_is_in_units_of_the_typical_coordinate(model):
    toward = direction(model, OTHER)
    change = lambda state: state + 2 * state.square().mean(dim=-1, keepdim=True).sqrt() * toward  # noqa: E731
    with hooked(model, change, [1]):
        right = logits(model)
    assert_same(answer(model, edits.steer(None, OTHER, strength=2, layers=1)), right)


def test_the_span_of_several_tokens_is_ablated(model):
    some = torch.stack([direction(model, token) for token in (ONE, OTHER, 7)])
    projection = torch.linalg.pinv(some) @ some  # onto their span
    with hooked(model, lambda state: state - state @ projection, [0]):
        right = logits(model)
    assert_same(answer(model, edits.ablate(None, [ONE, OTHER, 7], layers=0)), right)


def test_what_leads_at_each_position_is_ablated(model):
    maps = matrices()
    lens = JacobianLens(maps)
    table = bauklens.logit_lens(model, None, PROMPT, decoder=lens, topk=3, layers=[1], precision="exact")

    spans = [torch.stack([direction(model, token, maps["1"]) for token in ids]) for ids in table.top_ids[0].tolist()]

    def change(state):
        rows = [row - row @ torch.linalg.pinv(some) @ some for row, some in zip(state[0], spans, strict=True)]
        return torch.stack(rows)[None]

    with hooked(model, change, [1]):
        right = logits(model)
    assert_same(answer(model, edits.ablate_top(lens, 3, layers=1)), right)


def test_a_vector_is_added_at_some_positions(model):
    vector = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0))

    def change(state):
        state = state.clone()
        state[:, [2, len(PROMPT) - 1]] += 3 * vector
        return state

    with hooked(model, change, [1]):
        right = logits(model)
    assert_same(answer(model, edits.add(vector, strength=3, layers=1, positions=[2, -1])), right)


def test_the_states_of_another_prompt(model):
    other, kept = [*PROMPT[:4], 200, *PROMPT[5:]], []
    with hooked(model, lambda state: kept.append(state) or state, [1]):
        logits(model, other)

    def change(state):
        state = state.clone()
        state[:, 4] = kept[0][:, 4]
        return state

    with hooked(model, change, [1]):
        right = logits(model)
    assert_same(answer(model, edits.patch(other, layers=1, positions=4)), right)
    assert_same(answer(model, edits.patch([9, *other], layers=1, align={4: 4})), logits_with(model, [9, *other], 4, 4))


def logits_with(model, other, here, there):
    """The logits with the state of another prompt after block 1."""
    kept = []
    with hooked(model, lambda state: kept.append(state) or state, [1]):
        logits(model, other)

    def change(state):
        state = state.clone()
        state[:, here] = kept[0][:, there]
        return state

    with hooked(model, change, [1]):
        return logits(model)


OTHERS = {
    "patch": lambda layers: edits.patch(PROMPT[::-1], layers=layers),
    "mean": lambda layers: edits.mean_ablate("hidden", [PROMPT[::-1], PROMPT[1:]], layers=layers),
}


@pytest.mark.parametrize("edit", OTHERS.values(), ids=OTHERS)
def test_other_prompts_run_once_however_many_layers_are_edited(model, edit):
    runs = []
    model.get_input_embeddings().register_forward_hook(lambda *_: runs.append(1))
    counts = []
    for layers in ([1], [1], [0, 1, 2]):  # the first time, the model is looked at
        runs.clear()
        bauklens.logit_lens(model, None, PROMPT, edits=edit(layers))
        counts.append(len(runs))
    assert counts[1] == counts[2]


def test_a_mean_is_over_all_positions_of_the_texts_but_their_first(gpt2):
    texts = [PROMPT[::-1], PROMPT[1:5]]
    states = [bauklens.get_hidden_states(gpt2, None, text) for text in texts]
    mean = torch.cat([each[1, 0, 1:] for each in states]).mean(dim=0)
    lens = bauklens.logit_lens(gpt2, None, PROMPT, layers=[1], edits=edits.mean_ablate("hidden", texts, layers=1))
    by_hand = bauklens.decode_states(gpt2, None, mean[None], ["mean"], topk=5)
    assert lens.top_ids[0].tolist() == [by_hand.top_ids[0, 0].tolist()] * len(PROMPT)
    assert np.allclose(lens.top_probs[0], by_hand.top_probs[0, 0], atol=1e-5)


@pytest.mark.parametrize("where", ["attention", "mlp"])
def test_what_a_sublayer_writes_is_taken_away(model, where):
    streams = bauklens.logit_lens(model, None, PROMPT, stream=["hidden", "attention", "mlp"], norm=None, track=0)
    lens = bauklens.logit_lens(model, None, PROMPT, stream=[where, "hidden"], edits=edits.zero(where, layers=1))
    assert np.all(lens[0].magnitude[1] == 0)
    assert np.allclose(lens[0].magnitude[0], streams[1 if where == "attention" else 2].magnitude[0], rtol=1e-5)
    mean = bauklens.logit_lens(model, None, PROMPT, stream=where, edits=edits.mean_ablate(where, layers=1))
    assert np.ptp(mean.magnitude[1]) < 1e-4 * mean.magnitude[1].max()


def test_the_middle_of_a_block_is_changed():
    model = tiny_model("llama")
    vector = torch.ones(WIDTH)
    block = block_list(model)[1]
    handle = block.self_attn.register_forward_hook(lambda _, __, out: (out[0] + vector, *out[1:]))
    right = logits(model)
    handle.remove()
    assert_same(answer(model, edits.add(vector, layers=1, where="mid")), right)
    assert_same(answer(model, edits.add(vector, layers=1, where="attention")), right)


def test_the_middle_of_a_block_keeps_the_last_digit_of_other_positions():
    model = tiny_model("llama")
    edit = edits.add(torch.ones(WIDTH), layers=1, positions=-1, where="mid")
    clean = bauklens.logit_lens(model, None, PROMPT, stream="attention")
    edited = bauklens.logit_lens(model, None, PROMPT, stream="attention", edits=edit)
    assert (clean.magnitude != edited.magnitude)[:, -1].any()
    assert np.array_equal(clean.magnitude[:, :-1], edited.magnitude[:, :-1])
    assert np.array_equal(clean.top_probs[:, :-1], edited.top_probs[:, :-1])


def test_before_the_first_block(model):
    vector = torch.ones(WIDTH)

    def before(module, inputs, keywords):
        if inputs:
            return (inputs[0] + vector, *inputs[1:]), keywords
        return inputs, {**keywords, "hidden_states": keywords["hidden_states"] + vector}

    handle = block_list(model)[0].register_forward_pre_hook(before, with_kwargs=True)
    right = logits(model)
    handle.remove()
    assert_same(answer(model, edits.add(vector, layers="embed")), right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_strength_zero_changes_nothing_to_the_last_bit(dtype):
    model = tiny_model("llama", dtype)
    plain = bauklens.logit_lens(model, None, PROMPT, topk=VOCABULARY)
    nothing = (
        edits.swap(None, ONE, OTHER, strength=0)
        + edits.steer(None, OTHER, strength=0)
        + edits.ablate(None, ONE, strength=0, where="mid")
        + edits.ablate_top(None, 3, strength=0)
        + edits.add([0.5] * WIDTH, strength=0, where="mlp")
    )
    edited = bauklens.logit_lens(model, None, PROMPT, topk=VOCABULARY, edits=nothing)
    assert np.array_equal(edited.top_probs, plain.top_probs)
    assert np.array_equal(edited.magnitude, plain.magnitude)


VECTOR = torch.linspace(-1, 1, WIDTH)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        *(
            (edits.add(VECTOR * 1e5, layers=1, where=where), "infinity after an edit at layer 1: add")
            for where in WHERES
        ),
        (edits.add(VECTOR * 1e5, layers="embed"), "infinity after an edit at layer embed: add"),
        (
            edits.add(VECTOR * 6e4, layers=0, where="mlp") + edits.add(VECTOR * 6e4, layers=0, where=1),
            "NaN after an edit",
        ),
    ],
)
def test_what_overflows_in_the_dtype_of_the_model_names_the_edit(edit, said):
    model = tiny_model("llama", torch.float16)
    for run in (bauklens.intervene, bauklens.generate, bauklens.logit_lens):
        prompt = (PROMPT, edit) if run is bauklens.intervene else (PROMPT,)
        with pytest.raises(LensError, match=said):
            run(model, None, *prompt, **({} if prompt[1:] else {"edits": edit}))
    assert hook_count(model) == 0


def test_they_act_in_their_order(model):
    vector, toward = torch.ones(WIDTH), direction(model, OTHER)
    first = lambda state: (state + vector) - ((state + vector) @ toward)[..., None] * toward  # noqa: E731
    with hooked(model, first, [1]):
        right = logits(model)
    both = edits.add(vector, layers=1) + edits.ablate(None, OTHER, layers=1)
    assert_same(answer(model, both), right)
    assert not np.allclose(answer(model, edits.ablate(None, OTHER, layers=1) + edits.add(vector, layers=1)), right)


def test_generation_goes_on_with_the_edit(model):
    toward = direction(model, OTHER)
    change = lambda state: state + 4 * state.square().mean(dim=-1, keepdim=True).sqrt() * toward  # noqa: E731
    with hooked(model, change, [1]):
        right = model.generate(torch.tensor([PROMPT]), max_new_tokens=5, do_sample=False, pad_token_id=0)[0].tolist()
    lens = bauklens.logit_lens(
        model, None, PROMPT, edits=edits.steer(None, OTHER, strength=4, layers=1), max_new_tokens=5
    )
    assert lens.token_ids.tolist() == right
    assert lens.check["max_abs_logit_difference"] < 1e-3


@pytest.mark.parametrize(("positions", "first"), [("prompt", 0), ("new", len(PROMPT))])
def test_the_prompt_alone_or_what_is_new(positions, first):
    model, vector = tiny_model("llama"), 2 * torch.ones(WIDTH)
    ids = list(PROMPT)
    for _ in range(4):

        def change(state):
            state = state.clone()
            state[:, slice(len(PROMPT)) if first == 0 else slice(first, None)] += vector
            return state

        with hooked(model, change, [1]):
            ids.append(int(logits(model, ids)[-1].argmax()))
    lens = bauklens.logit_lens(
        model, None, PROMPT, edits=edits.add(vector, layers=1, positions=positions), max_new_tokens=4
    )
    assert lens.token_ids.tolist() == ids


def test_a_result_says_what_was_done(tmp_path):
    model = tiny_model("llama")
    edit = edits.swap(None, ONE, OTHER, layers=[0, -1], positions=-1) + edits.zero("mlp", layers=1)
    lens = bauklens.logit_lens(model, None, PROMPT, edits=edit)
    said = [dict(each) for each in lens.provenance["edits"]]
    assert said[0]["edit"] == "swap"
    assert list(said[0]["layers"]) == ["0", "2"]
    assert list(said[0]["positions"]) == [len(PROMPT) - 1]
    assert said[1]["where"] == "mlp"
    lens.save(tmp_path / "edited.json")
    assert bauklens.LensResult.load(tmp_path / "edited.json").provenance["edits"] == lens.provenance["edits"]
    assert "swap" in str(edit)
    with pytest.raises(AttributeError):
        edit.parts[0].where = "mlp"


def test_the_model_is_left_as_it_was(model):
    before = {name: each.clone() for name, each in model.state_dict().items()}
    plain = logits(model)
    with pytest.raises(LensError, match="NaN or infinity after an edit at layer 1"):
        bauklens.logit_lens(model, None, PROMPT, edits=edits.add([1.0] * WIDTH, strength=1e39, layers=1))
    bauklens.logit_lens(model, None, PROMPT, edits=edits.zero("attention", layers=1), max_new_tokens=2)
    assert torch.equal(logits(model), plain)
    assert all(torch.equal(model.state_dict()[name], each) for name, each in before.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: edits.zero("mlp", layers=7), "unknown layer 7"),
        (lambda: edits.zero("mlp", layers=1, positions=40), "unknown position 40"),
        (lambda: edits.patch([5, 6], layers=1), "this prompt has 10 tokens and the one to patch from has 2"),
        (lambda: edits.patch(PROMPT, layers=1, align={2: 3}, positions=[2, 4]), "position 4 has no counterpart"),
        (lambda: edits.patch(PROMPT, layers=1, positions="new"), "no states for generated tokens"),
        (lambda: edits.patch(PROMPT, layers=1, align={40: 3}), "unknown position 40"),
        (lambda: edits.swap(None, 4000, 5), "4000"),
        (lambda: edits.swap(None, {"one": [5, 6]}, 7), "an edit takes single tokens"),
        (lambda: edits.steer(None, {"one": [5, 6]}), "an edit takes single tokens"),
        (lambda: edits.ablate(None, {"one": [5, 6]}), "an edit takes single tokens"),
        (lambda: edits.swap(None, 5, 5), "same token"),
        (lambda: edits.swap(JacobianLens({0: torch.eye(WIDTH)}), 5, 6, layers=1), "has no map for layer 1"),
        (lambda: edits.swap(lambda states, layers: states, 5, 6, layers=1), "has no matrix"),
        (lambda: edits.add([1.0, 2.0], layers=1), "the vector has shape"),
        (lambda: edits.add([float("nan")] * WIDTH), "finite"),
        (lambda: edits.ablate(None, []), "tokens to ablate are missing"),
        (lambda: edits.zero("heads"), "unknown where"),
        (lambda: edits.steer(None, 5, strength=float("inf")), "strength"),
        (lambda: "swap", "edits must be made by bauklens.edits"),
    ],
)
def test_what_cannot_be_is_one_line(make, said):
    model = tiny_model("llama")
    with pytest.raises(LensError, match=said) as found:
        bauklens.logit_lens(model, None, PROMPT, edits=make())
    assert "\n" not in str(found.value)


def test_the_targets_of_an_intervention_are_single_tokens():
    with pytest.raises(LensError, match="targets must be single tokens"):
        bauklens.intervene(tiny_model("llama"), None, PROMPT, edits.zero("mlp", layers=1), targets={"one": [5, 6]})


class TestHeadsThatAreNotTheirWeights:
    """Tokens have directions only if the head's weights can be read, and are all that the head does."""

    EDIT = edits.steer(None, ONE, layers=1)

    @pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
    def test_an_adapter_on_the_head(self):
        peft = pytest.importorskip("peft")
        model = peft.get_peft_model(tiny_model("llama"), peft.LoraConfig(r=2, target_modules=["lm_head"]))
        bauklens.logit_lens(model, None, PROMPT, edits=self.EDIT)  # a fresh adapter does nothing
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        with pytest.raises(LensError, match="does more than multiply by its weights"):
            bauklens.logit_lens(model, None, PROMPT, edits=self.EDIT)

    def test_an_offloaded_head(self):
        accelerate = pytest.importorskip("accelerate")
        model = accelerate.cpu_offload(tiny_model("llama"), execution_device=torch.device("cpu"))
        with pytest.raises(LensError, match="cannot be read"):
            bauklens.logit_lens(model, None, PROMPT, edits=self.EDIT)


def test_there_is_no_middle_in_parallel_blocks():
    with pytest.raises(LensError, match="no 'mid'"):
        bauklens.logit_lens(tiny_model("gptj"), None, PROMPT, edits=edits.zero("mid", layers=1))

"""Learned decoders in a lens, against maps in plain torch and the model's own norm and head."""

import accelerate
import numpy as np
import pytest
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import bauklens
from bauklens import JacobianLens, LensError, LensResult, MeanLens, RidgeLens, TunedLens, logit_lens
from bauklens.decode import low_precision
from bauklens.decoders.chosen import told_apart
from bauklens.decoders.fingerprint import fingerprint
from bauklens.decoders.score import quality_of
from bauklens.decoders.texts import SKIP_FIRST
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from tests.by_hand import MAPPED, TAILS, assert_shows, logits_of, matrices, states_of, vectors, wide
from tests.test_coverage import PROMPT as SHORT
from tests.test_coverage import build
from tests.test_mixed import PROMPT as LONG
from tests.test_mixed import wide_model
from tests.tiny import LAYERS, PROMPT, TEXT, VOCABULARY, WIDTH, block_list, pass_output_through, tiny_model

TEMPERATURES = {"embed": 0.5, "0": 1.7, "1": 0.8}


def jacobian(width=WIDTH, **known):
    return JacobianLens(matrices(width=width), **known)


def tuned():
    return TunedLens(matrices(), vectors())


def ridge(width=WIDTH):
    return RidgeLens(matrices(width=width), vectors(width=width), TEMPERATURES)


def mean():
    return MeanLens(vectors())


def function(states, layers):
    """As the Jacobian lens, by the caller's own code."""
    assert len(states) == len(layers)
    return torch.stack([state.float() @ matrices()[layer].T for state, layer in zip(states, layers, strict=True)])


def shifted_copy(states, layers):
    return states.roll(1, dims=-1)


def shifted_in_place(states, layers):
    return states.copy_(states.roll(1, dims=-1))


DECODERS = {"jacobian": jacobian, "tuned": tuned, "ridge": ridge, "mean": mean, "function": lambda: function}

LINEAR = {"jacobian": jacobian, "tuned": lambda: TunedLens(matrices()), "ridge": lambda: RidgeLens(matrices())}
"""Those without a constant part."""

BY_HAND = {
    "jacobian": lambda state, matrix, vector: torch.einsum("ts,ps->pt", matrix, state),
    "tuned": lambda state, matrix, vector: state + torch.einsum("ts,ps->pt", matrix, state) + vector,
    "ridge": lambda state, matrix, vector: torch.einsum("ts,ps->pt", matrix, state) + vector,
    "mean": lambda state, matrix, vector: vector.expand_as(state),
    "function": lambda state, matrix, vector: torch.einsum("ts,ps->pt", matrix, state),
}


def mapped_by_hand(kind, states):
    """(1 + LAYERS, position, hidden) float64; the last row as it is."""
    parts = zip(states, matrices().values(), vectors().values(), strict=False)
    return torch.stack([*(BY_HAND[kind](*(each.double() for each in part)) for part in parts), states[-1].double()])


def logits_by_hand(name, model, kind, prompt=PROMPT):
    """(1 + LAYERS, position, vocabulary) float64."""
    temperatures = TEMPERATURES if kind == "ridge" else {}
    return logits_of(name, model, mapped_by_hand(kind, states_of(model, prompt)), temperatures)


def assert_same(one, other, *, atol=1e-6):
    """Two lenses show the same but for rounding."""
    assert one.layers == other.layers
    assert np.array_equal(one.top_ids, other.top_ids)
    assert np.allclose(one.top_probs, other.top_probs, atol=atol)


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("name", TAILS)
class TestByHand:
    def test_every_row_is_the_mapped_state_through_the_models_own_norm_and_head(self, name, kind):
        model = tiny_model(name)
        lens = logit_lens(model, None, PROMPT, decoder=DECODERS[kind](), topk=VOCABULARY)
        assert lens.layers == (*MAPPED, "2")
        assert lens.unmapped == ()
        assert lens.decoder == kind
        assert_shows(lens, logits_by_hand(name, model, kind))
        assert lens.check["max_abs_logit_difference"] < 1e-3
        assert lens.check["cells"] > 0

    def test_every_measure_is_that_of_the_mapped_rows(self, name, kind):
        model = tiny_model(name)
        lens = logit_lens(model, None, PROMPT, decoder=DECODERS[kind](), measures="all")
        logits, states = logits_by_hand(name, model, kind), states_of(model).double()
        log, final = logits.log_softmax(-1), logits[-1:].log_softmax(-1)
        mixed = ((log.exp() + final.exp()) / 2).log()
        following = torch.tensor(PROMPT[1:])[None, :, None].expand(len(log), -1, 1)
        cosine = torch.nn.functional.cosine_similarity
        expected = {
            "max_probability": log.exp().amax(-1),
            "max_logit": logits.amax(-1),
            "magnitude": states.norm(dim=-1),
            "entropy": -(log.exp() * log).sum(-1),
            "kl": (final.exp() * (final - log)).sum(-1),
            "js": -(mixed.exp() * mixed).sum(-1) + ((log.exp() * log).sum(-1) + (final.exp() * final).sum(-1)) / 2,
            "cosine_to_final": cosine(states, states[-1:].expand_as(states), dim=-1),
        }
        best = logits.topk(5).indices
        expected["overlap"] = torch.tensor(
            [
                [len({*row.tolist()} & {*own.tolist()}) / 5 for row, own in zip(layer, best[-1], strict=True)]
                for layer in best
            ]
        )
        for measure, values in expected.items():
            assert np.allclose(lens.measures[measure], values.numpy(), atol=2e-4, rtol=1e-4), measure
        chosen = logits[:, :-1].gather(-1, following)
        expected_last = {
            "surprisal": -log[:, :-1].gather(-1, following)[..., 0],
            "rank_of_next": 1 + (logits[:, :-1] > chosen).sum(-1).double(),
        }
        for measure, values in expected_last.items():
            assert np.allclose(lens.measures[measure][:, :-1], values.numpy(), atol=2e-4, rtol=1e-4), measure
        assert np.allclose(lens.measures["cosine_to_previous"][1:], cosine(states[1:], states[:-1], dim=-1), atol=1e-5)
        best = logits.topk(2)
        clear = (best.values[..., 0] - best.values[..., 1] > 1e-4).numpy()
        agree = (best.indices[..., 0] == best.indices[-1, :, 0]).numpy()
        sure = clear & clear[-1]
        assert np.array_equal(lens.measures["agreement"][sure], agree[sure])

    def test_targets_are_followed_through_it(self, name, kind):
        model = tiny_model(name)
        lens = logit_lens(model, None, PROMPT, decoder=DECODERS[kind](), targets=[17, 203], topk=1)
        logits = logits_by_hand(name, model, kind)
        for target in (17, 203):
            found = lens.target(target)
            assert np.allclose(found.logit, logits[..., target], atol=1e-3, rtol=1e-4)
            assert np.allclose(found.probability, logits.softmax(-1)[..., target], atol=1e-5)
            assert np.array_equal(found.rank, 1 + (logits > logits[..., target, None]).sum(-1))
        ranks = lens.target(17).rank[:, -1]
        reached = [layer for layer, rank in zip(lens.layers, ranks, strict=True) if rank <= ranks.min()]
        assert lens.first_layer(17, rank=int(ranks.min())) == reached[0]


@pytest.mark.parametrize("kind", DECODERS)
def test_a_word_of_several_tokens_is_followed_through_it(tokenizer, kind):
    model, text = tiny_model("llama"), TEXT[:12]
    prompt, word = tokenizer(text)["input_ids"], tokenizer(" zebra")["input_ids"]
    assert len(word) > 1
    lens = logit_lens(model, tokenizer, text, decoder=DECODERS[kind](), targets=" zebra", positions=-1)
    logits = logits_by_hand("llama", model, kind, prompt + word[:-1])
    each = logits.softmax(-1)[:, len(prompt) - 1 :].gather(-1, torch.tensor(word)[None, :, None].expand(4, -1, 1))
    assert np.allclose(lens.target(" zebra").probability[:, -1], each[..., 0].prod(-1), atol=1e-6)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["jacobian", "ridge"])
@pytest.mark.parametrize(
    ("name", "axis"), [("gemma3n_text", 2), ("deepseek_v4", 1), ("reformer", 1)], ids=lambda each: str(each)
)
def test_several_streams_are_mapped_together_flattened(name, axis, kind):
    """By hand: a forward pass in which every block hands on the mapped state of one."""
    if name not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        pytest.skip(f"transformers {transformers.__version__} has no {name}")
    model = build(name)
    anatomy = resolve(model, Inputs(torch.tensor([SHORT])))
    blocks = [model.get_submodule(block) for block in anatomy.blocks]
    labels = anatomy.labels[:-1]
    size = {"gemma3n_text": 4 * 32, "deepseek_v4": 4 * 32, "reformer": 2 * 32}[name]
    weights, biases = matrices(width=size, layers=labels), vectors(width=size, layers=labels)
    decoder = JacobianLens(weights) if kind == "jacobian" else RidgeLens(weights, biases)
    lens = logit_lens(model, None, SHORT, decoder=decoder, topk=anatomy.vocabulary)
    assert lens.layers == anatomy.labels
    plain = logit_lens(model, None, SHORT, topk=anatomy.vocabulary)
    assert np.array_equal(lens.top_probs[-1], plain.top_probs[-1])

    def parts_of(output):
        return [output] if torch.is_tensor(output) else [output[part] for part in anatomy.parts]

    for row, label in enumerate(labels):
        handed = []

        def hand_on(module, inputs, output, row=row, label=label, handed=handed):
            if len(handed) < row:
                handed.append(None)
                return None
            if len(handed) == row:
                state = torch.stack(parts_of(output)) if len(anatomy.parts) > 1 else parts_of(output)[0]
                here = axis + 1 if len(anatomy.parts) > 1 else axis
                apart = state.movedim(here, 0)
                new = apart.flatten(1) @ weights[label].T + (biases[label] if kind == "ridge" else 0)
                handed.append(new.view(apart.shape).movedim(0, here))
            if torch.is_tensor(output):
                return handed[-1]
            items = list(output)
            for place, part in enumerate(anatomy.parts):
                items[part] = handed[-1][place] if len(anatomy.parts) > 1 else handed[-1]
            return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)

        hooks = [block.register_forward_hook(hand_on) for block in blocks]
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([SHORT]), use_cache=False).logits[0].float().softmax(-1)
        for hook in hooks:
            hook.remove()
        found = expected.gather(-1, torch.from_numpy(lens.top_ids[row].copy()))
        assert np.allclose(lens.top_probs[row], found, atol=1e-5), label


class TestTheLastRow:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
    def test_it_is_the_models_own_bit_for_bit_under_every_decoder(self, model, dtype):
        model = model.to(dtype)
        each = logit_lens(model, None, PROMPT, decoder=["logit", *(make() for make in DECODERS.values())], targets=7)
        for lens in each[1:]:
            for name in ("top_ids", "top_probs", "magnitude"):
                assert np.array_equal(getattr(lens, name)[-1], getattr(each[0], name)[-1])
            for name, values in lens.measures.items():
                if name != "cosine_to_previous":
                    assert np.array_equal(values[-1], each[0].measures[name][-1], equal_nan=True), name
            assert np.array_equal(lens.target(7).logit[-1], each[0].target(7).logit[-1])
            assert lens.check["max_abs_logit_difference"] == each[0].check["max_abs_logit_difference"]

    def test_a_map_and_a_temperature_of_it_are_refused_unless_they_change_nothing(self, gpt2):
        """A target before the last block is written with an identity, and its row is that of the logit lens."""
        whole = {**matrices(layers=("0",)), "1": torch.eye(WIDTH)}
        lens = logit_lens(gpt2, None, PROMPT, decoder=JacobianLens(whole, about={"target": "1"}))
        assert_same(lens.part(["1"], range(10)), logit_lens(gpt2, None, PROMPT, layers=[1]))
        last = JacobianLens({**whole, "2": torch.eye(WIDTH)})
        assert logit_lens(gpt2, None, PROMPT, decoder=last).layers == ("0", "1", "2")
        warm = RidgeLens({**whole, "2": torch.eye(WIDTH)}, None, {"2": 3.0})
        own, through = logit_lens(gpt2, None, PROMPT, decoder=["logit", warm])
        assert np.array_equal(through.top_probs[-1], own.top_probs[-1])
        with pytest.raises(LensError, match="it has a map for the last of GPT2LMHeadModel, 2, which needs none"):
            logit_lens(gpt2, None, PROMPT, decoder=JacobianLens({**whole, "2": 2 * torch.eye(WIDTH)}))


class TestSeveral:
    def test_they_share_one_forward_pass_and_each_is_as_if_alone(self, gpt2):
        decoders = ["logit", *(make() for make in DECODERS.values())]
        alone = [logit_lens(gpt2, None, PROMPT, decoder=each) for each in decoders]
        calls = []
        pass_output_through(block_list(gpt2)[0], lambda *_: calls.append(1))
        logit_lens(gpt2, None, PROMPT)  # reads the changed model again
        calls.clear()
        together = logit_lens(gpt2, None, PROMPT, decoder=decoders)
        assert len(calls) == 1
        assert [each.decoder for each in together] == ["logit", *DECODERS]
        for one, other in zip(alone, together, strict=True):
            assert_same(one, other, atol=0)
            assert one.provenance["arguments"] == {**other.provenance["arguments"]}

    def test_a_list_of_one_gives_a_list_and_streams_come_first(self, gpt2):
        (one,) = logit_lens(gpt2, None, PROMPT, decoder=[jacobian()])
        assert isinstance(one, LensResult)
        each = logit_lens(gpt2, None, PROMPT, decoder=[None, jacobian()], stream=["hidden", "delta"])
        assert [(lens.stream, lens.decoder) for lens in each] == [
            ("hidden", "logit"),
            ("hidden", "jacobian"),
            ("delta", "logit"),
            ("delta", "jacobian"),
        ]

    def test_prompts_are_run_together_and_each_is_as_if_alone(self, gpt2):
        prompts, decoders = [PROMPT, PROMPT[:4], PROMPT[::-1], [5]], [None, ridge(), function]
        each = logit_lens(gpt2, None, prompts, decoder=decoders, targets=7)
        for prompt, lenses in zip(prompts, each, strict=True):
            for lens, decoder in zip(lenses, decoders, strict=True):
                alone = logit_lens(gpt2, None, prompt, decoder=decoder, targets=7)
                assert_same(lens, alone, atol=1e-5)
                assert np.allclose(lens.target(7).logit, alone.target(7).logit, atol=1e-3)

    def test_one_that_is_given_twice_is_refused(self, gpt2, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        one = jacobian()
        one.save(tmp_path / "one.safetensors")
        path = tmp_path / "one.safetensors"
        for twice in (
            [one, one],
            [None, "logit"],
            [function, function],
            [path, str(path)],
            ["one.safetensors", "./one.safetensors"],
        ):
            with pytest.raises(LensError, match=r"the decoder '\w+' is given twice: pass it once"):
                logit_lens(gpt2, None, PROMPT, decoder=twice)
        two = logit_lens(gpt2, None, PROMPT, decoder=[jacobian(name="a"), jacobian(name="b")])
        assert [lens.decoder for lens in two] == ["a", "b"]


class TestRowsWithoutAMap:
    @pytest.fixture
    def some(self):
        return JacobianLens(matrices(layers=("1",)))

    def test_they_are_left_out_or_shown_plain_and_marked(self, gpt2, some):
        plain, whole = logit_lens(gpt2, None, PROMPT), logit_lens(gpt2, None, PROMPT, decoder=some, missing="plain")
        left = logit_lens(gpt2, None, PROMPT, decoder=some)
        assert left.layers == ("1", "2")
        assert left.unmapped == ()
        assert whole.layers == plain.layers
        assert whole.unmapped == ("embed", "0")
        assert_same(whole.part(["embed", "0"], range(10)), plain.part(["embed", "0"], range(10)))
        assert_same(whole.part(["1", "2"], range(10)), left)
        assert "It has no map for embed, 0: these rows are shown as in the logit lens." in whole.mapped
        assert "It has no map for embed, 0, left out here" in left.mapped

    def test_a_temperature_is_of_mapped_rows_alone(self, gpt2):
        some = RidgeLens(matrices(layers=("1",)), None, {"1": 3.0})
        lens = logit_lens(gpt2, None, PROMPT, decoder=some, missing="plain", targets=7)
        plain = logit_lens(gpt2, None, PROMPT, targets=7)
        assert np.allclose(lens.target(7).logit[[0, 1, 3]], plain.target(7).logit[[0, 1, 3]], atol=1e-4)

    def test_layers_that_are_asked_for_and_have_no_map(self, gpt2, some):
        assert logit_lens(gpt2, None, PROMPT, decoder=some, layers=[0, 1]).layers == ("1",)
        assert logit_lens(gpt2, None, PROMPT, decoder=some, layers=0, missing="plain").unmapped == ("0",)
        with pytest.raises(LensError, match=r"'jacobian' has no map for embed, 0: pass missing='plain' to see these"):
            logit_lens(gpt2, None, PROMPT, decoder=some, layers=["embed", 0])

    def test_a_result_keeps_them_and_the_quality_of_its_rows(self, gpt2, tmp_path):
        quality = {"1": {"kl": 2.5, "agreement": 0.25}, "embed": {"kl": 7.0}}
        known = JacobianLens(matrices(layers=("embed", "1")), quality=quality)
        lens = logit_lens(gpt2, None, PROMPT, decoder=known, missing="plain")
        assert lens.unmapped == ("0",)
        assert np.array_equal(lens.quality["kl"], np.float32([7, np.nan, 2.5, np.nan]), equal_nan=True)
        assert np.array_equal(lens.quality["agreement"], np.float32([np.nan, np.nan, 0.25, np.nan]), equal_nan=True)
        for name in ("lens.json", "lens.safetensors"):
            lens.save(tmp_path / name)
            again = LensResult.load(tmp_path / name)
            assert again == lens
            assert (again.unmapped, again.mapped) == (lens.unmapped, lens.mapped)
            assert np.array_equal(again.quality["kl"], lens.quality["kl"], equal_nan=True)
        part = lens.part(["0", "1"], [3])
        assert part.unmapped == ("0",)
        assert np.array_equal(part.quality["kl"], np.float32([np.nan, 2.5]), equal_nan=True)


class TestFunctions:
    def test_it_is_given_states_and_the_labels_of_their_rows(self, gpt2):
        seen = []

        def same(states, layers):
            seen.append((tuple(states.shape), tuple(layers)))
            return states

        lens = logit_lens(gpt2, None, PROMPT, decoder=same, positions=[2, 3])
        assert_same(lens, logit_lens(gpt2, None, PROMPT, positions=[2, 3]))
        assert lens.decoder == "same"
        assert ((3, 2, WIDTH), MAPPED) in seen or {label for _, labels in seen for label in labels} == set(MAPPED)
        assert all(shape[0] == len(layers) and shape[2] == WIDTH for shape, layers in seen)
        assert lens.mapped == "States were mapped by the custom map “same”."

    def test_any_float_dtype_and_layout_may_come_back(self, gpt2):
        expected = logit_lens(gpt2, None, PROMPT, decoder=jacobian())
        for change in (torch.Tensor.double, lambda states: states.transpose(0, 1).contiguous().transpose(0, 1)):
            turned = lambda states, layers, change=change: change(function(states, layers))  # noqa: E731
            assert_same(logit_lens(gpt2, None, PROMPT, decoder=turned), expected, atol=1e-5)

    def test_a_module_is_one(self, gpt2):
        class Doubled(torch.nn.Module):
            def forward(self, states, layers):
                return 2 * states

        lens = logit_lens(gpt2, None, PROMPT, decoder=Doubled())
        assert lens.decoder == "Doubled"
        assert_same(lens, logit_lens(gpt2, None, PROMPT), atol=1e-3)  # the norm undoes it, but for its epsilon

    def test_it_may_change_its_states_in_place(self, gpt2):
        """Those of a tile are a view of the run's, which are decoded again for the check, and by the next decoder."""
        alone = [logit_lens(gpt2, None, PROMPT, decoder=each) for each in (shifted_copy, None)]
        each = logit_lens(gpt2, None, PROMPT, decoder=[shifted_in_place, None])
        for one, other in zip(alone, each, strict=True):
            assert_same(one, other, atol=0)
            assert np.array_equal(one.magnitude, other.magnitude)

    @pytest.mark.parametrize(
        ("returned", "got"),
        [
            (lambda states: states[:, :, :5], r"got shape \(\d+, \d+, 5\)"),
            (lambda states: states[0], r"got shape \(\d+, 32\)"),
            (lambda states: None, "got NoneType"),
            (lambda states: states.numpy(), "got ndarray"),
            (lambda states: list(states), "got list"),
            (lambda states: states.int(), r"got shape \("),
            (lambda states: states.bool(), r"got shape \("),
        ],
    )
    def test_what_is_not_states_of_that_shape_is_refused(self, gpt2, returned, got):
        def odd(states, layers):
            return returned(states)

        told = "the decoder 'odd' must return states of shape .*; "
        with pytest.raises(LensError, match=told + got):
            logit_lens(gpt2, None, PROMPT, decoder=odd)

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_nan_and_infinity_are_refused_with_the_row(self, gpt2, bad):
        def broken(states, layers):
            found = states.clone()
            for place, layer in enumerate(layers):
                if layer == "1":
                    found[place, -1, 3] = bad
            return found

        with pytest.raises(LensError, match=r"the decoder 'broken' returns NaN or infinity for row 1$"):
            logit_lens(gpt2, None, PROMPT, decoder=broken)

    def test_its_own_error_is_its_own(self, gpt2):
        def failing(states, layers):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            logit_lens(gpt2, None, PROMPT, decoder=failing)
        assert logit_lens(gpt2, None, PROMPT).layers == (*MAPPED, "2")


class TestRefusals:
    @pytest.mark.parametrize("stream", ["delta", "attention", "mlp", "mid"])
    @pytest.mark.parametrize("kind", ["tuned", "ridge", "mean", "function"])
    def test_contributions_under_a_decoder_with_a_constant_part(self, gpt2, stream, kind):
        with pytest.raises(LensError, match=f"has a constant part, .* stream '{stream}' needs a linear"):
            logit_lens(gpt2, None, PROMPT, stream=stream, decoder=DECODERS[kind]())

    @pytest.mark.parametrize("stream", ["attention", "mlp"])
    def test_a_stream_that_it_does_not_map(self, gpt2, stream):
        decoder = JacobianLens(matrices(), stream=stream)
        assert logit_lens(gpt2, None, PROMPT, stream=stream, decoder=decoder).stream == stream
        for other in {"hidden", "delta", "attention", "mlp"} - {stream}:
            with pytest.raises(LensError, match=f"not stream '{other}': pass stream='{stream}'"):
                logit_lens(gpt2, None, PROMPT, stream=other, decoder=decoder)

    @pytest.mark.parametrize("kind", DECODERS)
    def test_the_scale_of_the_final_state(self, gpt2, kind):
        with pytest.raises(LensError, match=r"norm='final' takes no decoder"):
            logit_lens(gpt2, None, PROMPT, norm="final", decoder=DECODERS[kind]())

    @pytest.mark.parametrize("force", [False, True])
    def test_another_width(self, gpt2, tmp_path, force):
        jacobian(width=16).save(tmp_path / "narrow.safetensors")
        decoder = bauklens.load_decoder(tmp_path / "narrow.safetensors", force=force)
        with pytest.raises(LensError, match=r"maps states of width 16, but those of GPT2LMHeadModel have 32$"):
            logit_lens(gpt2, None, PROMPT, decoder=decoder)

    @pytest.mark.parametrize("shape", [(32, 128), (128, 32), (32, 16)])
    def test_a_map_that_is_not_square(self, gpt2, shape):
        decoder = JacobianLens({0: torch.ones(shape), 1: torch.ones(shape)})
        told = rf"maps states of width {shape[1]} to {shape[0]}, but those of GPT2LMHeadModel have width 32"
        with pytest.raises(LensError, match=told):
            logit_lens(gpt2, None, PROMPT, decoder=decoder)

    @pytest.mark.parametrize(
        ("layers", "about", "told"),
        [
            (["0", "1", "2", "3"], {}, r"has maps for layers 0 \.\. 3, but GPT2LMHeadModel has the blocks 0 \.\. 2"),
            (["one"], {}, "has maps for layers one, but"),
            (["-1"], {}, "has maps for layers -1, but"),
            (["0", "1", "2"], {}, "a model with more blocks: it has a map for the last"),
            (["0"], {"blocks": 2}, "was made for a model with 2 blocks, but GPT2LMHeadModel has 3: pass force=True"),
            (["0"], {"prompts": 5}, "was made for a model with 2 blocks, judging by its layers, but .* has 3"),
            (["0"], {"target": "7"}, "was made for the output of block 7, which GPT2LMHeadModel does not have"),
        ],
    )
    def test_another_number_of_blocks(self, gpt2, layers, about, told):
        with pytest.raises(LensError, match=told) as error:
            logit_lens(gpt2, None, PROMPT, decoder=JacobianLens(matrices(layers=layers), about=about))
        assert len(str(error.value).splitlines()) == 1

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ([], "decoder is empty: pass at least one, or None for the logit lens"),
            (5, "unknown decoder 5: pass 'logit', a file, a decoder, or a function"),
            (torch.nn.Linear, "Linear is a class: pass a decoder of it"),
            (torch.eye(2), r"decoder is a Tensor: pass it with its layers"),
            ([["logit"]], r"unknown decoder \['logit'\]"),
            ({"a": 1}, "decoder is a dict: pass it with its layers"),
            (
                "no such decoder",
                "the file 'no such decoder' does not exist; pass 'logit', 'demo', a file, a folder, or a hub",
            ),
            ("", "a decoder's name must be text, not ''"),
            ("a\0b", "does not exist"),
            ("/nowhere/a.safetensors", "the file /nowhere/a.safetensors does not exist"),
            ("./nowhere", r"the file or folder \./nowhere does not exist"),
        ],
    )
    def test_what_is_no_decoder(self, gpt2, given, told):
        with pytest.raises(LensError, match=told) as error:
            logit_lens(gpt2, None, PROMPT, decoder=given)
        assert len(str(error.value).splitlines()) == 1

    @pytest.mark.parametrize("name", ["", 5, "a\udc80"])
    def test_a_name_that_no_page_can_show(self, gpt2, name):
        class Odd:
            layers = None

            def __call__(self, states, layers):
                return states

        odd = Odd()
        odd.name = name
        with pytest.raises(LensError, match="the name of a decoder must be text"):
            logit_lens(gpt2, None, PROMPT, decoder=odd)

    def test_a_word_that_names_no_way(self, gpt2):
        with pytest.raises(LensError, match="unknown missing 'drop': pass one of 'skip', 'plain'"):
            logit_lens(gpt2, None, PROMPT, decoder=jacobian(), missing="drop")


class TestAnotherModel:
    @pytest.fixture
    def of_gpt2(self, tmp_path):
        model = tiny_model("gpt2")
        anatomy = resolve(model, Inputs(torch.tensor([PROMPT])))
        about = {"model": "tiny", "fingerprint": fingerprint(model, anatomy)}
        JacobianLens(matrices(), name="mine", about=about).save(tmp_path / "of_gpt2.safetensors")
        return tmp_path / "of_gpt2.safetensors"

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
    def test_its_own_model_in_any_dtype_is_known(self, of_gpt2, dtype):
        lens = logit_lens(tiny_model("gpt2", dtype), None, PROMPT, decoder=of_gpt2)
        assert lens.mapped == "States were mapped by the Jacobian lens “mine”."
        assert lens.provenance["decoder"] == {"name": "mine", "kind": "jacobian", "model": "tiny"}

    @pytest.mark.parametrize(
        ("other", "told"),
        [
            (lambda: tiny_model("gpt2", seed=1), "a model whose head has other weights"),
            (lambda: tiny_model("llama"), "a model of the kind gpt2, but this one has llama"),
        ],
    )
    def test_another_is_refused_and_with_force_the_page_says_so(self, of_gpt2, other, told):
        with pytest.raises(LensError, match=rf"the decoder 'mine' was made for {told}: pass force=True to load_decode"):
            logit_lens(other(), None, PROMPT, decoder=of_gpt2)
        forced = bauklens.load_decoder(of_gpt2, force=True)
        lens = logit_lens(other(), None, PROMPT, decoder=forced)
        assert f"It was made for {told}, and its use was forced: its rows may be meaningless." in lens.mapped
        assert lens.provenance["decoder"]["made for"] == told
        assert told in lens.to_html()
        plain = logit_lens(other(), None, PROMPT, decoder=jacobian())
        assert np.array_equal(lens.top_ids, plain.top_ids)

    def test_a_head_whose_weights_change_is_seen(self, of_gpt2):
        model = tiny_model("gpt2")
        assert logit_lens(model, None, PROMPT, decoder=of_gpt2).decoder == "mine"
        model.lm_head.weight.mul_(1.5)
        with pytest.raises(LensError, match="a model whose head has other weights"):
            logit_lens(model, None, PROMPT, decoder=of_gpt2)


class TestContributions:
    """A map without a constant part is that of a sum, too."""

    @pytest.mark.parametrize("kind", LINEAR)
    @pytest.mark.parametrize("stream", ["delta", "attention", "mlp", "mid"])
    def test_a_row_is_the_mapped_contribution(self, kind, stream):
        model, decoder = tiny_model("llama"), LINEAR[kind]()
        states = states_of(model)
        parts = self.parts_of(model, states)[stream]
        lens = logit_lens(model, None, PROMPT, stream=stream, decoder=decoder, topk=VOCABULARY)
        assert lens.layers == ("0", "1", "2")
        for row, label in enumerate(lens.layers):
            part = parts[row].double()
            if label != "2":
                turned = part @ matrices()[label].double().T
                part = part + turned if kind == "tuned" else turned
            logits = TAILS["llama"](wide(model), part)[None]
            assert_shows(lens.part([label], range(len(PROMPT))), logits)
        begins = "States between attention and MLP were" if stream == "mid" else "Contributions, through the "
        assert lens.mapped.startswith(begins)

    @staticmethod
    def parts_of(model, states):
        """Stream -> (layer, position, hidden), by hooks on the sublayers."""
        found = {"attention": [], "mlp": []}
        hooks = []
        for block in block_list(model):
            for name, module in (("attention", block.self_attn), ("mlp", block.mlp)):

                def keep(module, inputs, output, name=name):
                    found[name].append((output if torch.is_tensor(output) else output[0])[0])

                hooks.append(module.register_forward_hook(keep))
        with torch.no_grad():
            model(input_ids=torch.tensor([PROMPT]), use_cache=False)
        for hook in hooks:
            hook.remove()
        attention, mlp = (torch.stack(each) for each in found.values())
        return {"delta": states[1:] - states[:-1], "attention": attention, "mlp": mlp, "mid": states[:-1] + attention}

    @pytest.mark.parametrize("kind", LINEAR)
    def test_through_one_map_they_add_up_to_the_state(self, kind):
        """Without a norm, and with the same map at each layer, logits add up as states do."""
        model = tiny_model("llama")
        one = matrices(layers=("0",))["0"]
        decoder = type(LINEAR[kind]())(dict.fromkeys(MAPPED, one))
        streams = ["hidden", "delta", "attention", "mlp", "mid"]
        each = logit_lens(model, None, PROMPT, decoder=decoder, stream=streams, norm=None, targets=[7, 203])
        for target in (7, 203):
            hidden, delta, attention, mlp, mid = (lens.target(target).logit for lens in each)
            for row in (0, 1):
                assert np.allclose(hidden[row + 1] - hidden[row], delta[row], atol=1e-3)
                assert np.allclose(attention[row] + mlp[row], delta[row], atol=1e-3)
                assert np.allclose(hidden[row] + attention[row], mid[row], atol=1e-3)

    def test_a_function_may_say_that_it_is_linear(self, gpt2):
        def linear(states, layers):
            return function(states, layers)

        linear.is_linear = True
        expected = logit_lens(gpt2, None, PROMPT, stream="delta", decoder=jacobian())
        assert_same(logit_lens(gpt2, None, PROMPT, stream="delta", decoder=linear), expected, atol=1e-5)

    @pytest.mark.parametrize("kind", ["jacobian", "ridge"])
    def test_a_decoder_of_a_sublayer_may_have_a_constant_part(self, kind):
        model = tiny_model("llama")
        known = {"stream": "attention"}
        decoder = JacobianLens(matrices(), **known) if kind == "jacobian" else RidgeLens(matrices(), vectors(), **known)
        lens = logit_lens(model, None, PROMPT, stream="attention", decoder=decoder, topk=VOCABULARY)
        part = self.parts_of(model, states_of(model))["attention"]
        turned = part[0].double() @ matrices()["0"].double().T + (vectors()["0"] if kind == "ridge" else 0)
        assert_shows(lens.part(["0"], range(len(PROMPT))), TAILS["llama"](wide(model), turned)[None])


class TestKindsOfModels:
    @pytest.mark.parametrize("kind", DECODERS)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    @pytest.mark.parametrize("name", TAILS)
    def test_maps_are_multiplied_in_float32_whatever_the_models_dtype(self, name, dtype, kind):
        model = tiny_model(name, dtype)
        lens = logit_lens(model, None, PROMPT, decoder=DECODERS[kind](), topk=VOCABULARY)
        mapped = mapped_by_hand(kind, states_of(model)).to(dtype)
        with torch.no_grad():
            logits = TAILS[name](model, mapped).float()
        if kind == "ridge":
            logits[:-1] /= torch.tensor(list(TEMPERATURES.values()))[:, None, None]
        expected = logits.softmax(-1).gather(-1, torch.from_numpy(lens.top_ids.copy()))
        apart = np.abs(lens.top_probs - expected.numpy())
        assert apart.max() < 0.05  # a state may be rounded the other way
        assert apart.sum(-1).mean() < 0.01

    def test_a_map_that_overflows_float16_is_one_clear_error(self):
        decoder = JacobianLens({layer: 1e5 * each for layer, each in matrices().items()})
        model = tiny_model("gpt2", torch.float16)
        with pytest.raises(LensError, match=r"returns NaN or infinity for row \w+ \(float16 overflows at 65,504\)"):
            logit_lens(model, None, PROMPT, decoder=decoder)
        assert logit_lens(tiny_model("gpt2"), None, PROMPT, decoder=decoder).layers == (*MAPPED, "2")

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
    def test_maps_of_any_dtype_are_read(self, gpt2, dtype):
        rounded = {layer: each.to(dtype) for layer, each in matrices().items()}
        lens = logit_lens(gpt2, None, PROMPT, decoder=JacobianLens(rounded), topk=VOCABULARY)
        states = states_of(gpt2)
        turned = [states[row] @ rounded[label].float().T for row, label in enumerate(MAPPED)]
        assert_shows(lens, logits_of("gpt2", gpt2, torch.stack([*turned, states[-1]])))

    @pytest.mark.parametrize("kind", DECODERS)
    @pytest.mark.parametrize("where", ["memory", "disk"])
    def test_an_offloaded_model(self, where, kind, tmp_path):
        plain = logit_lens(tiny_model("llama"), None, PROMPT, decoder=DECODERS[kind]())
        device = torch.device("cpu")
        model = (
            accelerate.cpu_offload(tiny_model("llama"), execution_device=device)
            if where == "memory"
            else accelerate.disk_offload(tiny_model("llama"), str(tmp_path), execution_device=device)
        )
        assert model.lm_head.weight.is_meta
        assert_same(logit_lens(model, None, PROMPT, decoder=DECODERS[kind]()), plain)

    def test_an_offloaded_model_is_known_by_its_fingerprint(self):
        model = tiny_model("llama")
        about = {"fingerprint": fingerprint(model, resolve(model, Inputs(torch.tensor([PROMPT]))))}
        offloaded = accelerate.cpu_offload(tiny_model("llama"), execution_device=torch.device("cpu"))
        assert logit_lens(offloaded, None, PROMPT, decoder=jacobian(about=about)).decoder == "jacobian"
        other = accelerate.cpu_offload(tiny_model("llama", seed=3), execution_device=torch.device("cpu"))
        with pytest.raises(LensError, match="a model whose head has other weights"):
            logit_lens(other, None, PROMPT, decoder=jacobian(about=about))

    @pytest.mark.parametrize("kind", ["ridge", "function"])
    @pytest.mark.parametrize("rows", [1, 7])
    def test_tiles_of_any_size_give_the_same(self, model, kind, rows):
        whole, tiled = (logit_lens(model, None, PROMPT, decoder=DECODERS[kind](), chunk_rows=n) for n in (None, rows))
        assert_same(whole, tiled, atol=1e-5)

    @pytest.mark.parametrize("kind", ["ridge", "function"])
    def test_some_layers_and_positions_are_those_of_the_whole(self, model, kind):
        decoder = DECODERS[kind]()
        whole = logit_lens(model, None, PROMPT, decoder=decoder)
        part = logit_lens(model, None, PROMPT, decoder=decoder, layers=["1", "embed"], positions=[7, 2])
        assert_same(part, whole.part(["1", "embed"], [7, 2]))

    @pytest.mark.parametrize("kind", DECODERS)
    def test_replaying_the_models_own_forward_gives_the_same(self, kind):
        """With a hook on the norm, prompts are decoded whole by the model's own code."""
        expected = logit_lens(tiny_model("gptj"), None, PROMPT, decoder=DECODERS[kind]())
        model = tiny_model("gptj")
        model.transformer.ln_f.register_forward_hook(lambda module, inputs, output: None)
        lens = logit_lens(model, None, PROMPT, decoder=DECODERS[kind]())
        assert lens.provenance["decoding"]["by"] != expected.provenance["decoding"]["by"]
        assert_same(lens, expected, atol=1e-5)


class TestInBfloat16:
    """The logits in bfloat16, and the best of each row again, with what is certified judged at the head's input."""

    @pytest.fixture(autouse=True)
    def always_pays(self, monkeypatch):
        monkeypatch.setattr(low_precision, "pays", lambda device, dtype: True)
        monkeypatch.setattr(low_precision, "FEWEST_ROWS", 100)

    @staticmethod
    def decoders(model, kind):
        width, layers = model.config.hidden_size, [str(layer) for layer in range(model.config.num_hidden_layers - 1)]
        weights = matrices(width=width, layers=layers)
        biases = {layer: 0.05 * each for layer, each in vectors(width=width, layers=layers).items()}
        temperatures = {layer: 0.5 + 0.3 * place for place, layer in enumerate(layers)}
        return {
            "jacobian": lambda: JacobianLens(weights),
            "tuned": lambda: TunedLens(weights, biases),
            "ridge": lambda: RidgeLens(weights, biases, temperatures),
        }[kind]()

    @pytest.mark.parametrize("kind", ["jacobian", "tuned", "ridge"])
    def test_it_is_as_the_exact_way(self, kind):
        model = wide_model("llama", "plain")
        decoder = self.decoders(model, kind)
        auto, exact = (logit_lens(model, None, LONG, decoder=decoder, precision=each) for each in ("auto", "exact"))
        assert auto.provenance["decoding"]["precision"] == "bfloat16"
        assert exact.provenance["decoding"]["precision"] == "float32"
        assert np.array_equal(auto.top_ids, exact.top_ids)
        assert np.allclose(auto.top_probs, exact.top_probs, atol=1e-3)
        assert np.allclose(auto.measures["max_logit"], exact.measures["max_logit"], atol=1e-3, rtol=1e-4)
        for measure in ("entropy", "kl", "surprisal"):
            assert np.allclose(auto.measures[measure], exact.measures[measure], atol=0.04, equal_nan=True)

    def test_temperatures_of_a_head_with_a_bias_are_applied_exactly(self):
        """Its logits are not proportional to the head's input, so that these rows are decoded in float32."""
        model = wide_model("gptj", "plain")
        auto, exact = (
            logit_lens(model, None, LONG, decoder=self.decoders(model, "ridge"), precision=each)
            for each in ("auto", "exact")
        )
        assert auto.provenance["decoding"]["precision"] == "float32"
        assert_same(auto, exact)

    def test_without_temperatures_a_head_with_a_bias_is_read_in_bfloat16(self):
        model = wide_model("gptj", "plain")
        auto, exact = (
            logit_lens(model, None, LONG, decoder=self.decoders(model, "tuned"), precision=each)
            for each in ("auto", "exact")
        )
        assert auto.provenance["decoding"]["precision"] == "bfloat16"
        assert_same(auto, exact, atol=1e-3)


class TestManyLenses:
    PROMPTS = (PROMPT, PROMPT[:6], PROMPT[::-1])

    def test_averages_of_prompts_are_those_of_their_lenses(self, gpt2):
        prompts = [list(each) for each in self.PROMPTS]
        whole = bauklens.summarize(prompts, gpt2, None, decoder=ridge())
        apart = bauklens.summarize(logit_lens(gpt2, None, prompts, decoder=ridge()))
        assert whole.layers == (*MAPPED, "2")
        for name, mean in whole.mean.items():
            assert np.allclose(mean, apart.mean[name], equal_nan=True, atol=1e-5)
        plain = bauklens.summarize(prompts, gpt2, None)
        assert not np.allclose(whole.mean["kl"][:-1], plain.mean["kl"][:-1], rtol=0.01)

    def test_lenses_through_different_decoders_are_not_averaged(self, gpt2):
        each = logit_lens(gpt2, None, PROMPT, decoder=[None, jacobian()])
        with pytest.raises(LensError, match="all lenses must have the same model, stream, decoder and layers"):
            bauklens.summarize(each)
        plain, mapped = bauklens.summarize([PROMPT], gpt2, None, decoder=[None, jacobian()])
        assert (plain.decoder, mapped.decoder) == ("logit", "jacobian")
        assert "through jacobian" in repr(mapped)
        assert set(mapped.to_frame()["decoder"]) == {"jacobian"}

    def test_lenses_through_two_decoders_are_compared_row_by_row(self, gpt2):
        one, other = logit_lens(gpt2, None, PROMPT, decoder=[None, jacobian()])
        found = bauklens.compare(one, other)
        assert np.array_equal(found.measures["agreement"], one.top_ids[..., 0] == other.top_ids[..., 0])
        assert found.measures["agreement"][-1].all()
        assert np.array_equal(found.difference("kl"), other.measures["kl"] - one.measures["kl"])

    def test_two_models_through_one_decoder(self):
        models, decoder = (tiny_model("llama"), tiny_model("llama", seed=1)), tuned()
        found = bauklens.compare_models(*models, None, PROMPT, decoder=decoder)
        logits = [logits_by_hand("llama", model, "tuned").log_softmax(-1) for model in models]
        kl = (logits[0].exp() * (logits[0] - logits[1])).sum(-1)
        assert np.allclose(found.measures["kl"], kl.numpy(), rtol=1e-3, atol=1e-3)
        assert (found.one.decoder, found.other.decoder) == ("tuned", "tuned")
        with pytest.raises(LensError, match="takes one decoder"):
            bauklens.compare_models(*models, None, PROMPT, decoder=[decoder])

    def test_two_models_through_temperatures_and_few_rows(self):
        models, decoder = (
            (tiny_model("gptj"), tiny_model("gptj", seed=1)),
            RidgeLens(matrices(layers=("1",)), None, {"1": 2.0}),
        )
        found = bauklens.compare_models(*models, None, PROMPT, decoder=decoder)
        assert found.one.layers == ("1", "2")
        both = []
        for model in models:
            states = states_of(model)
            turned = torch.stack([*states[:2], states[2] @ matrices(layers=("1",))["1"].T, states[3]])
            both.append(logits_of("gptj", model, turned, {"1": 2.0})[2:].log_softmax(-1))
        kl = (both[0].exp() * (both[0] - both[1])).sum(-1)
        assert np.allclose(found.measures["kl"], kl.numpy(), rtol=1e-3, atol=1e-3)


class TestADecoder:
    def test_its_parts_are_what_it_was_made_of(self):
        lens = RidgeLens({0: torch.eye(3)}, {"0": torch.ones(3), "1": torch.ones(3)}, {1: 2})
        assert lens.layers == ("0", "1")
        assert (lens.width, lens.target, lens.temperatures) == (3, 3, {"1": 2.0})
        assert torch.equal(lens.weight(0), torch.eye(3))
        assert lens.weight("1") is None
        assert torch.equal(lens.matrix(1), torch.zeros(3, 3))
        assert torch.equal(TunedLens({0: torch.eye(3)}).matrix(0), 2 * torch.eye(3))
        assert repr(lens) == "<ridge lens 'ridge': 2 layers, width 3>"
        with pytest.raises(LensError, match="has no map for layer 2: it has 0, 1"):
            lens.weight(2)

    def test_layers_are_in_the_order_of_a_table(self):
        labels = ["10", "2", "embed", "0"]
        assert JacobianLens(dict.fromkeys(labels, torch.eye(2))).layers == ("embed", "0", "2", "10")

    @pytest.mark.parametrize(
        ("weights", "told"),
        [
            ({}, "a decoder needs a map for at least one layer"),
            ([torch.eye(2)], "the maps of a decoder must be a mapping of layers; got list"),
            (torch.ones(2, 3, 3), "the maps of a decoder must be a mapping of layers; got Tensor"),
            ({0: torch.eye(2), "0": torch.eye(2)}, "a decoder has two maps for layer 0"),
            ({-1: torch.eye(2)}, "a decoder has a map for -1, which is not a layer"),
            ({True: torch.eye(2)}, "a decoder has a map for True, which is not a layer"),
            ({10**5000: torch.eye(2)}, "a decoder has a map for a huge number, which is not a layer"),
            ({"1" * 300: torch.eye(2)}, "a decoder has a map for '111.*, which is not a layer"),
            ({0: torch.eye(2), 1: torch.eye(3)}, "the maps of a decoder must all have one shape"),
            ({0: torch.ones(3)}, r"a map of a decoder has the shape \(target, source\); that of layer 0 has \(3,\)"),
            ({0: torch.ones(2, 3, 3)}, r"that of layer 0 has \(2, 3, 3\)"),
            ({0: torch.ones(0, 0)}, r"that of layer 0 has \(0, 0\)"),
            ({0: torch.ones(2, 2).int()}, "must be a tensor of floating-point numbers of 16 bits or more"),
            ({0: torch.ones(2, 2).to(torch.float8_e4m3fn)}, "must be a tensor of floating-point numbers of 16 bits"),
            ({0: torch.ones(2, 2).to_sparse()}, "must be a tensor of floating-point numbers"),
            ({0: np.eye(2)}, "must be a tensor of floating-point numbers"),
            ({0: torch.tensor([[1, torch.nan], [0, 1]])}, "a map of layer 0 contains NaN or infinity"),
            ({0: torch.ones(1, 1).expand(10**6, 10**6)}, r"should be \(1000000, 1000000\), but holds fewer"),
            ({0: torch.ones(2, 2, device="meta")}, r"should be \(2, 2\), but holds fewer numbers"),
        ],
    )
    def test_maps_that_are_none(self, weights, told):
        with pytest.raises(LensError, match=told) as error:
            JacobianLens(weights)
        assert len(str(error.value)) < 400

    @pytest.mark.parametrize(
        ("known", "told"),
        [
            ({"temperatures": {0: 0.0}}, "the temperature of layer 0 is 0.0: it must be a positive number"),
            ({"temperatures": {0: -1}}, "it must be a positive number"),
            ({"temperatures": {0: torch.nan}}, "it must be a positive number"),
            ({"temperatures": {0: True}}, "it must be a positive number"),
            ({"temperatures": {1: 1.0}}, "layer 1 has a temperature, but no map"),
            ({"quality": {1: {"kl": 1.0}}}, "layer 1 has a quality, but no map"),
            ({"quality": {0: 3}}, "the quality of layer 0 is not a mapping"),
            ({"quality": {0: {"kl": -1}}}, "the kl of layer 0 is -1: it must be a number of 0 or more"),
            ({"quality": {0: {"agreement": 2}}}, "the agreement of layer 0 is 2"),
            ({"quality": {0: {"kl": torch.nan}}}, "the kl of layer 0 is nan"),
            ({"biases": {0: torch.ones(3)}}, "the maps of a decoder must all have one shape"),
            ({"name": ""}, "the name of a decoder must be text"),
            ({"name": "\udc80"}, "the name of a decoder must be text"),
            ({"stream": "delta"}, "unknown stream 'delta' of a decoder: pass 'hidden', 'attention' or 'mlp'"),
            ({"about": {"x": object()}}, r"about= of a decoder must hold plain values"),
            ({"about": {"x": torch.ones(2)}}, r"about= of a decoder must hold plain values"),
        ],
    )
    def test_parts_that_make_no_sense(self, known, told):
        with pytest.raises(LensError, match=told):
            RidgeLens({0: torch.eye(2)}, **known)

    def test_a_residual_map_is_square(self):
        with pytest.raises(LensError, match="a residual map must be square; got 2 x 3"):
            TunedLens({0: torch.ones(2, 3)})

    def test_of_a_quality_only_what_is_known_here_is_kept(self):
        lens = JacobianLens({0: torch.eye(2), 1: torch.eye(2)}, quality={0: {"kl": 1, "new": "x"}, 1: {"other": 2}})
        assert {layer: dict(each) for layer, each in lens.quality.items()} == {"0": {"kl": 1.0}}

    def test_it_needs_no_model_to_map_states(self):
        states = torch.randn(2, 5, WIDTH)
        assert torch.allclose(jacobian()(states, ["0", "1"])[1], states[1] @ matrices()["1"].T, atol=1e-6)
        assert jacobian()(states.bfloat16(), ["0", "1"]).dtype == torch.float32
        assert jacobian()(states.double(), ["0", "1"]).dtype == torch.float64


def test_held_out_quality_is_the_mean_over_positions_that_fits_use(gpt2):
    prompts, decoder = [PROMPT * 3, PROMPT[::-1] * 2, PROMPT * 2], RidgeLens(matrices(layers=("embed", "1")))
    found = quality_of(decoder, gpt2, [Inputs(torch.tensor([prompt])) for prompt in prompts])
    assert list(found) == ["embed", "1"]
    lenses = [logit_lens(gpt2, None, prompt, decoder=decoder) for prompt in prompts]
    for name in ("kl", "agreement"):
        cells = np.concatenate([lens.measures[name][:, SKIP_FIRST:-1] for lens in lenses], axis=1)
        assert np.allclose([each[name] for each in found.values()], cells[:-1].mean(axis=1), atol=1e-5)
    assert RidgeLens(matrices(layers=("embed", "1")), quality=found).quality["1"]["kl"] == found["1"]["kl"]


def test_decoders_of_one_name_are_told_apart(gpt2):
    several = [JacobianLens(matrices(layers=("0", "1")), name="mine") for _ in range(2)]
    lenses = logit_lens(
        gpt2, None, PROMPT, decoder=[*several, lambda states, layers: states, lambda states, layers: states]
    )
    assert [lens.decoder for lens in lenses] == ["mine", "mine (2)", "<lambda>", "<lambda> (2)"]
    assert lenses[1].provenance["decoder"]["name"] == "mine (2)"
    assert set(lenses[1].to_frame()["decoder"]) == {"mine (2)"}


def test_a_number_that_another_has_in_its_name_is_passed_over():
    assert told_apart(["a", "a (2)", "a", "a"]) == ["a", "a (2)", "a (3)", "a (4)"]


def test_a_row_that_is_left_out_is_told(gpt2):
    lens = logit_lens(gpt2, None, PROMPT, decoder=JacobianLens(matrices(layers=("1",))))
    assert lens.layers == ("1", "2")
    assert "It has no map for embed, 0, left out here" in lens.mapped
    assert "left out" not in logit_lens(gpt2, None, PROMPT, decoder=jacobian(), layers=[0, 1]).mapped
    shown = bauklens.show_logit_lens(gpt2, None, PROMPT, decoder=JacobianLens(matrices(layers=("1",))))
    assert "It has no map for 0, left out here" in shown.mapped


def test_what_a_result_says_of_its_decoder(gpt2):
    about = {"method": "jacobian", "prompts": 2, "blocks": LAYERS}
    lens = logit_lens(gpt2, None, PROMPT, decoder=jacobian(name="mine", about=about))
    assert lens.decoder == "mine"
    assert lens.decoder_called == "Jacobian lens “mine”"
    assert lens.provenance["decoder"] == {"name": "mine", "kind": "jacobian", **about}
    assert lens.provenance["arguments"]["decoder"] == "mine"
    assert repr(lens).startswith("<LensResult of gpt2: hidden through mine, ") or "hidden through mine" in repr(lens)
    plain = logit_lens(gpt2, None, PROMPT)
    assert (plain.decoder_called, plain.mapped, plain.unmapped, dict(plain.quality)) == ("", "", (), {})
    assert "decoder" not in plain.provenance


class Own:
    """A decoder of the caller's own class, with what it says of itself."""

    def __init__(self, **known):
        vars(self).update({"name": "own", "layers": None, **known})

    def __call__(self, states, layers):
        return states.roll(1, dims=-1)


class TestWhatADecoderSaysOfItself:
    """What would be found in no table is refused, and not lost in silence."""

    @pytest.mark.parametrize(
        ("known", "message"),
        [
            ({"layers": [0, 1]}, "layers of the decoder 'own' must be None, or a list of text labels"),
            ({"layers": "01"}, "layers of the decoder 'own' must be None, or a list of text labels"),
            (
                {"layers": (label for label in "01")},
                "layers of the decoder 'own' must be None, or a list of text labels",
            ),
            ({"temperatures": {0: 2.0}}, "temperatures of the decoder 'own' must map text labels"),
            ({"temperatures": {"0": 0.0}}, "temperatures of the decoder 'own' must map text labels"),
            ({"temperatures": {"0": -1.0}}, "temperatures of the decoder 'own' must map text labels"),
            (
                {"temperatures": {"0": float("nan")}},
                "temperatures of the decoder 'own' must map text labels such as '0' to positive numbers",
            ),
            ({"temperatures": [2.0]}, "temperatures of the decoder 'own' must map text labels"),
            ({"about": "mine"}, "quality and about of the decoder 'own' must be mappings"),
            ({"about": {"x": object()}}, "must hold plain values"),
            ({"quality": {"0": 3}}, "the quality of layer 0 is not a mapping"),
            ({"quality": {"0": {"kl": 1e299}}}, "the kl of layer 0 is 1e[+]299"),
            ({"name": ""}, "the name of a decoder must be text"),
        ],
    )
    def test_what_cannot_be_used_is_refused_in_a_line(self, gpt2, known, message):
        with pytest.raises(LensError, match=message) as error:
            logit_lens(gpt2, None, PROMPT, decoder=Own(**known))
        assert "\n" not in str(error.value)

    def test_what_is_none_is_as_if_it_were_not_there(self, gpt2):
        lens = logit_lens(gpt2, None, PROMPT, decoder=Own(about=None, quality=None, temperatures=None))
        assert lens.layers == (*MAPPED, "2")
        warm = Own(temperatures={"0": np.float32(2.0)}, layers={"0"}, about={"made for": "x", "by": "me"})
        lens = logit_lens(gpt2, None, PROMPT, decoder=warm)
        assert lens.layers == ("0", "2")
        assert lens.provenance["decoder"] == {
            "by": "me",
            "name": "own",
            "kind": "function",
            "left out": ("embed", "1"),
        }

    def test_none_may_be_called_as_the_logit_lens_is(self, gpt2, tmp_path):
        """A result of it would say that it is the logit lens."""

        def logit(states, layers):
            return 2 * states

        JacobianLens(matrices(layers=("0", "1"))).save(tmp_path / "logit.pt")
        jacobian(name="logit").save(tmp_path / "x.safetensors")
        for each in (logit, jacobian(name="logit"), tmp_path / "logit.pt", tmp_path / "x.safetensors"):
            with pytest.raises(LensError, match="a decoder has the name 'logit', which is the logit lens"):
                logit_lens(gpt2, None, PROMPT, decoder=each)

    def test_a_target_that_is_a_number_is_read_as_its_label(self, gpt2):
        with pytest.raises(LensError, match="was made for the output of block 7"):
            logit_lens(gpt2, None, PROMPT, decoder=jacobian(about={"target": 7}))
        assert logit_lens(gpt2, None, PROMPT, decoder=jacobian(about={"target": 2})).decoder == "jacobian"


@pytest.mark.parametrize("stream", ["attention", "mlp"])
def test_what_the_last_block_adds_is_mapped_by_a_decoder_that_was_made_for_that(gpt2, stream):
    """It is no state in the final basis, and so not shown as if it needed no map."""
    whole = {"stream": stream, "topk": VOCABULARY, "norm": "own"}
    every, some = (JacobianLens(matrices(layers=labels), stream=stream) for labels in (("0", "1", "2"), ("0", "1")))
    plain = logit_lens(gpt2, None, PROMPT, **whole)
    found = logit_lens(gpt2, None, PROMPT, decoder=every, **whole)
    assert found.layers == plain.layers == ("0", "1", "2")
    assert not np.allclose(found.top_probs[-1], plain.top_probs[-1], atol=1e-4)
    assert logit_lens(gpt2, None, PROMPT, decoder=some, **whole).layers == ("0", "1")
    marked = logit_lens(gpt2, None, PROMPT, decoder=some, missing="plain", **whole)
    assert marked.unmapped == ("2",)
    assert np.array_equal(marked.top_probs[-1], plain.top_probs[-1])


def test_given_states_are_mapped_only_where_each_has_its_own_map(gpt2):
    """The states that transformers returns begin with the embedding, so that each would have another layer's map."""
    with torch.no_grad():
        states = torch.stack(gpt2(torch.tensor([PROMPT]), output_hidden_states=True).hidden_states)[:, 0]
    with pytest.raises(LensError, match="hs has 4 layers, but the decoder 'jacobian' needs"):
        bauklens.show_logit_lens(gpt2, None, PROMPT, hs=states, decoder=jacobian())
    assert bauklens.show_logit_lens(gpt2, None, PROMPT, hs=states).layers == ("0", "1", "2", "3")
    after = states_of(gpt2)[1:]
    shown = bauklens.show_logit_lens(gpt2, None, PROMPT, hs=after, decoder=jacobian())
    assert_same(shown, logit_lens(gpt2, None, PROMPT, decoder=jacobian(), layers=[0, 1, 2]))


class TestAFingerprint:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_the_same_model_in_another_dtype_passes_and_one_that_was_trained_on_does_not(self, seed):
        made = tiny_model("llama", seed=seed)
        about = {"fingerprint": fingerprint(made, resolve(made, Inputs(torch.tensor([PROMPT]))))}
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            other = tiny_model("llama", seed=seed).to(dtype)
            assert logit_lens(other, None, PROMPT, decoder=jacobian(about=about)).decoder == "jacobian"
        trained = tiny_model("llama", seed=seed)
        with torch.no_grad():
            head = trained.lm_head.weight
            head *= 1 + 5e-3 * torch.randn(head.shape, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)
        with pytest.raises(LensError, match="a model whose head has other weights"):
            logit_lens(trained, None, PROMPT, decoder=jacobian(about=about))

    def test_weights_below_the_least_of_float16_are_no_difference(self):
        made = tiny_model("llama")
        with torch.no_grad():
            made.lm_head.weight *= 1e-5
        about = {"fingerprint": fingerprint(made, resolve(made, Inputs(torch.tensor([PROMPT]))))}
        half = tiny_model("llama")
        with torch.no_grad():
            half.lm_head.weight *= 1e-5
        lens = logit_lens(half.half(), None, PROMPT, decoder=jacobian(about=about))
        assert lens.decoder == "jacobian"

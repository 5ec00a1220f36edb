"""fit_decoder(): every method against plain torch, long runs that are killed, and texts that are not right."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from itertools import chain, count, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open

import bauklens
from bauklens import JacobianLens, LensError, RidgeLens, TunedLens, fit_decoder
from bauklens.decoders.fit.checkpoint import Checkpoint
from bauklens.decoders.fit.corpus import Corpus
from bauklens.decoders.fit.divergence import LEFT_OUT, Own
from bauklens.decoders.fit.jacobian import Jacobians
from bauklens.decoders.fit.mean_field import mean_field_jacobians
from bauklens.decoders.fit.ridge import PENALTIES, RidgeFit, bytes_of_layer
from bauklens.decoders.fit.states import Fitted, fitted_layers
from bauklens.decoders.fit.temperature import best_temperature
from bauklens.decoders.learned import LearnedDecoder, Parts
from bauklens.decoders.score import quality_of
from bauklens.decoders.texts import Windows
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from tests.processes import python
from tests.test_coverage import build
from tests.tiny import (
    LAYERS,
    VOCABULARY,
    WIDTH,
    block_list,
    first_input,
    hook_count,
    pass_output_through,
    tiny_model,
)

ROOT = Path(__file__).resolve().parent.parent
METHODS = ["ridge", "tuned", "jacobian", "jacobian-mean-field"]
SKIP = 16
LENGTH = 40
FEW = {"length": LENGTH, "dtype": "float32"}


def texts_of(count, length=LENGTH, seed=1):
    """So many texts of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for _ in range(count)]


def few_of(method):
    """Options with which a fit is quick."""
    tokens = {"ridge": 600, "tuned": 600, "jacobian": 70, "jacobian-mean-field": 200}[method]
    return FEW | {"method": method, "tokens": tokens} | ({"steps": 4} if method == "tuned" else {})


def states_by_hand(model, ids, gradients=False):
    """The input of block 0 and the output of every block, (1, position, hidden) each, and the logits."""
    states = []
    blocks = block_list(model)

    def began(_module, inputs, keywords):
        states.append(first_input(inputs, keywords))

    def ended(_module, _inputs, output):
        states.append(output[0] if isinstance(output, tuple) else output)

    hooks = [blocks[0].register_forward_pre_hook(began, with_kwargs=True)]
    hooks += [block.register_forward_hook(ended) for block in blocks]
    with torch.set_grad_enabled(gradients):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return states, logits


def jacobians_by_hand(model, ids, target=LAYERS, skip=SKIP):
    """{label: (hidden, hidden)} of one text, by one plain backward pass for each number of the target."""
    copy = model.requires_grad_(True)
    states, _ = states_by_hand(copy, ids, gradients=True)
    found = torch.zeros(target, WIDTH, WIDTH)
    for row in range(WIDTH):
        cotangent = torch.zeros_like(states[target])
        cotangent[0, skip:-1, row] = 1
        for layer, grad in enumerate(
            torch.autograd.grad(states[target], states[:target], cotangent, retain_graph=True)
        ):
            found[layer, row] = grad[0, skip:-1].mean(dim=0)
    model.requires_grad_(False)
    return {label: found[place] for place, label in enumerate(["embed", *map(str, range(target - 1))])}


def jacobians_of(model, ids):
    """What computes the Jacobians of a model, once it has found out in which ways that can be done."""
    inputs = Inputs(torch.tensor([ids]))
    *layers, target = fitted_layers(resolve(model, inputs), ["embed", 0, 1], None)
    found = Jacobians(Fitted(model, resolve(model, inputs), tuple(layers), target, SKIP))
    found.of(inputs)
    return found


def ridge_by_hand(model, texts, label, penalty):
    """(weight, bias) of the least squares fit with a penalty, by numpy in float64."""
    place = ["embed", *map(str, range(LAYERS))].index(label)
    pairs = [states_by_hand(model, ids)[0] for ids in texts]
    given = np.concatenate([states[place][0, SKIP:-1].double().numpy() for states in pairs])
    wanted = np.concatenate([states[-1][0, SKIP:-1].double().numpy() for states in pairs])
    scales = (given**2).sum(axis=0) * penalty
    rows = np.concatenate([np.c_[given, np.ones(len(given))], np.c_[np.diag(np.sqrt(scales)), np.zeros(WIDTH)]])
    found, *_ = np.linalg.lstsq(rows, np.concatenate([wanted, np.zeros((WIDTH, WIDTH))]), rcond=None)
    return found[:-1].T, found[-1]


def fitted_on(decoder, texts):
    """The texts that a decoder was fitted on, by the rule: of every five, the second and the fourth are kept apart."""
    enough = 3
    chosen = scored = 0
    found = []
    for number, text in enumerate(texts):
        if len(found) == decoder.about["prompts"]:
            break
        chooses = decoder.kind in ("ridge", "tuned")
        if number % 5 == 1 and chooses and chosen < enough:
            chosen += 1
        elif number % 5 == 3 and scored < enough:
            scored += 1
        else:
            found.append(text)
    return found


def same(one, other):
    """Whether two decoders are alike to the last bit."""
    parts = [Parts.of(each) for each in (one, other)]
    return all(
        list(mine) == list(others)
        and all(torch.equal(torch.as_tensor(mine[k]), torch.as_tensor(others[k])) for k in mine)
        for mine, others in zip(*parts, strict=True)
    )


class TestRidge:
    def test_the_map_is_the_penalised_least_squares_fit_and_the_bias_is_free(self, gpt2):
        texts = texts_of(40)
        decoder = fit_decoder(gpt2, None, texts, layers=["embed", 1], **few_of("ridge"))
        assert isinstance(decoder, RidgeLens)
        assert decoder.layers == ("embed", "1")
        for label in decoder.layers:
            weight, bias = ridge_by_hand(gpt2, fitted_on(decoder, texts), label, decoder.about["lambda"][label])
            assert np.allclose(decoder.weight(label), weight, atol=2e-5)
            assert np.allclose(decoder.bias(label), bias, atol=2e-5)

    def test_lambda_has_the_least_error_on_texts_kept_apart(self):
        model = tiny_model("llama")
        texts = texts_of(40)
        decoder = fit_decoder(model, None, texts, layers=0, **few_of("ridge"))
        apart = [texts[number] for number in (1, 6, 11)]
        errors = {}
        for penalty in PENALTIES:
            weight, bias = ridge_by_hand(model, fitted_on(decoder, texts), "0", penalty)
            rows = [states_by_hand(model, ids)[0] for ids in apart]
            errors[penalty] = sum(
                float(((each[1][0, SKIP:-1].numpy() @ weight.T + bias - each[-1][0, SKIP:-1].numpy()) ** 2).sum())
                for each in rows
            )
        assert decoder.about["lambda"]["0"] == min(errors, key=errors.get)

    def test_groups_of_layers_that_fit_the_memory_give_the_same_lens(self, gpt2):
        whole = fit_decoder(gpt2, None, texts_of(40), layers=["embed", 0, 1], **few_of("ridge"))
        for layers in (1, 2):
            apart = fit_decoder(
                gpt2,
                None,
                texts_of(40),
                layers=["embed", 0, 1],
                memory=layers * bytes_of_layer(WIDTH),
                **few_of("ridge"),
            )
            assert same(whole, apart)
            assert whole.quality == apart.quality

    def test_texts_that_can_be_read_once_are_refused_if_they_have_to_be_read_again(self, gpt2):
        with pytest.raises(LensError, match="can be read only once: pass a list, a dataset or a file, fewer"):
            fit_decoder(gpt2, None, iter(texts_of(40)), memory=1, **few_of("ridge"))

    def test_fewer_tokens_than_a_map_has_unknowns_are_refused_with_their_number(self, gpt2):
        with pytest.raises(LensError, match=f"a map of width {WIDTH} needs {WIDTH + 1} or more: pass more texts"):
            fit_decoder(gpt2, None, texts_of(1), **few_of("ridge"))

    def test_a_temperature_has_the_least_kl(self):
        torch.manual_seed(0)
        said = torch.randn(20, 50)
        own, logits = torch.softmax(said, dim=-1), 2 * said + torch.randn(20, 50)
        found = best_temperature(logits, own)
        tried = torch.linspace(0.5, 2, 401) * found

        def kl(temperature):
            return float((own * (own.log() - torch.log_softmax(logits / temperature, dim=-1))).sum(dim=-1).mean())

        assert tried[int(np.argmin([kl(each) for each in tried]))] == pytest.approx(found, rel=0.005)

    def test_a_temperature_ignores_tokens_that_are_left_out(self):
        torch.manual_seed(0)
        said = torch.randn(20, 50)
        own, logits = torch.softmax(said, dim=-1), 2 * said + torch.randn(20, 50)
        padded = [
            torch.cat([each, torch.full((20, 1), fill)], dim=1) for each, fill in ((logits, -torch.inf), (own, 0.0))
        ]
        assert best_temperature(*padded) == pytest.approx(best_temperature(logits, own), rel=1e-4)


class TestExactJacobian:
    def test_it_is_the_plain_gradient_summed_over_targets_and_averaged_over_sources_and_texts(self, model):
        texts = texts_of(2)
        decoder = fit_decoder(model, None, texts, layers=["embed", 0, 1], method="jacobian", tokens=46, **FEW)
        assert isinstance(decoder, JacobianLens)
        assert decoder.about["prompts"] == 2
        each = [jacobians_by_hand(model, ids) for ids in texts]
        for label in decoder.layers:
            mean = (each[0][label] + each[1][label]) / 2
            assert (decoder.matrix(label) - mean).norm() <= 1e-5 * mean.norm()

    @pytest.mark.parametrize(("skip", "target"), [(0, 2), (5, 1)])
    def test_another_target_and_other_positions(self, skip, target):
        model, (text,) = tiny_model("llama"), texts_of(1, 20)
        decoder = fit_decoder(
            model, None, [text], method="jacobian", target_layer=target, skip_first=skip, tokens=1, **FEW
        )
        assert decoder.about["target"] == str(target)
        assert decoder.layers == tuple(map(str, range(target)))
        by_hand = jacobians_by_hand(model, text, target + 1, skip)
        for label in decoder.layers:
            assert torch.allclose(decoder.matrix(label), by_hand[label], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("anchors", [1, 5])
    def test_anchored_it_is_steadied_by_the_closed_form_of_more_windows(self, anchors, tmp_path):
        model, texts = tiny_model("llama"), texts_of(12)
        options = FEW | {"method": "jacobian", "layers": [0, 1], "tokens": 46, "anchors": anchors}
        path = tmp_path / "fit.safetensors"
        decoder = fit_decoder(model, None, texts, checkpoint=path, **options)
        assert (decoder.about["prompts"], decoder.about["anchors"]) == (2, anchors)
        windows = [Inputs(torch.tensor([texts[number]])) for number in (0, 1, 2, 4, 5, 6, 7)]
        anatomy = resolve(model, windows[0])
        closed = [mean_field_jacobians(model, anatomy, each) for each in windows[: 2 + anchors]]
        for label in ("0", "1"):
            exact = sum(jacobians_by_hand(model, texts[number])[label] for number in (0, 1)) / 2
            control = sum(each[label] for each in closed) / len(closed) - (closed[0][label] + closed[1][label]) / 2
            assert (decoder.matrix(label) - exact - control).norm() <= 1e-5 * exact.norm()

        def broken_off():
            yield from texts[:5]
            raise KeyboardInterrupt

        path.unlink()
        with pytest.raises(KeyboardInterrupt):
            fit_decoder(model, None, broken_off(), checkpoint=path, **options)
        assert same(decoder, fit_decoder(model, None, texts, checkpoint=path, **options))

    def test_anchors_need_the_closed_form(self, gpt2):
        with pytest.raises(LensError, match="is not made of attention and a gated MLP like Llama's blocks"):
            fit_decoder(gpt2, None, texts_of(5), **few_of("jacobian") | {"anchors": 3})
        with pytest.raises(LensError, match="anchors do not work with normalize: leave one of them out"):
            fit_decoder(gpt2, None, texts_of(5), **few_of("jacobian") | {"anchors": 3, "normalize": True})

    def test_a_fit_that_has_stopped_does_not_go_on(self, gpt2, tmp_path):
        options = FEW | {
            "method": "jacobian",
            "tokens": 1000,
            "tolerance": 0.3,
            "checkpoint": tmp_path / "a.safetensors",
        }
        found = [fit_decoder(gpt2, None, texts_of(9), **options) for _ in range(2)]
        assert same(*found)

    @pytest.mark.parametrize("name", ["gpt2", "llama", "bloom"])
    def test_rows_at_once_and_ways_to_run_do_not_change_it(self, name):
        model, (text,) = tiny_model(name), texts_of(1)
        inputs = Inputs(torch.tensor([text]))
        *layers, target = fitted_layers(resolve(model, inputs), None, None)
        fitted = Fitted(model, resolve(model, inputs), tuple(layers), target, SKIP)
        ways = [
            Jacobians(fitted, dim_batch=WIDTH),
            Jacobians(fitted, dim_batch=5),
            Jacobians(fitted, dim_batch=5, in_parts=False),
            Jacobians(fitted, together=False),
        ]
        first, *others = [each.of(inputs) for each in ways]
        assert ways[0].in_parts
        assert ways[0].together
        for other in others:
            assert (first - other).norm() <= 1e-5 * first.norm()

    @pytest.mark.parametrize(("name", "count"), [("gpt2", 3), ("gptj", 3), ("llama", 3), ("gemma2", 3), ("bloom", 0)])
    def test_mlps_that_are_given_nothing_but_a_state_become_matrices_and_attention_does_not(self, name, count):
        model, (text,) = tiny_model(name), texts_of(1)
        found = jacobians_of(model, text)
        assert found.in_segments
        assert len(found.mlps) == count
        assert all("mlp" in each.module for each in found.mlps.values())

    def test_an_mlp_that_mixes_its_hidden_numbers_is_left_to_the_gradients(self):
        model, (text,) = tiny_model("llama"), texts_of(1)
        mlp = model.model.layers[1].mlp
        pass_output_through(mlp.act_fn, lambda _module, _inputs, output: torch.softmax(output, dim=-1))
        found = jacobians_of(model, text)
        assert "model.layers.1" not in found.mlps
        assert len(found.mlps) == 2
        by_hand = jacobians_by_hand(model, text)["0"]
        assert (found.of(Inputs(torch.tensor([text])))[1] - by_hand).norm() <= 1e-5 * by_hand.norm()

    def test_a_model_that_passes_more_than_the_state_from_block_to_block_is_not_cut(self):
        """The last block's MLP adds what the first block returned, as models do that share keys and values."""
        model, (text,) = tiny_model("llama"), texts_of(1)
        kept = []

        def keep(_module, inputs, _output):
            kept[:] = inputs[:1]

        pass_output_through(model.model.layers[1], keep)
        pass_output_through(model.model.layers[2].mlp, lambda _module, _inputs, output: output + torch.tanh(kept[0]))
        decoder = fit_decoder(model, None, [text], layers=["embed", 0], **few_of("jacobian") | {"tokens": 1})
        assert not jacobians_of(model, text).in_segments
        by_hand = jacobians_by_hand(model, text)
        for label in decoder.layers:
            assert (decoder.matrix(label) - by_hand[label]).norm() <= 1e-5 * by_hand[label].norm()

    def test_every_window_counts_alike_if_they_are_normalized(self):
        model, texts = tiny_model("llama"), texts_of(2)
        decoder = fit_decoder(model, None, texts, method="jacobian", layers=0, normalize=True, tokens=46, **FEW)
        each = [jacobians_by_hand(model, ids)["0"] for ids in texts]
        mean = sum(one / one.norm() for one in each) * WIDTH**0.5 / 2
        assert torch.allclose(decoder.matrix(0), mean, atol=1e-5)

    def test_it_stops_when_the_mean_hardly_moves(self, gpt2):
        texts = texts_of(9)
        few = fit_decoder(gpt2, None, texts, method="jacobian", tokens=1000, tolerance=0.3, **FEW)
        every = fit_decoder(gpt2, None, texts, method="jacobian", tokens=1000, tolerance=1e-9, **FEW)
        each = [jacobians_by_hand(gpt2, texts[number]) for number in (0, 1, 2, 4, 5, 6, 7)]
        means = [
            {label: sum(one[label] for one in each[:count]) / count for label in ("0", "1")} for count in range(1, 8)
        ]
        moved = [
            max(float((after[label] - before[label]).norm() / after[label].norm()) for label in after)
            for before, after in pairwise(means)
        ]
        assert few.about["prompts"] == next(count for count, each in enumerate(moved, 2) if each < 0.3)
        assert every.about["prompts"] == 7

    def test_the_closed_form_is_near_it_at_the_last_layer(self):
        model, texts = tiny_model("llama"), texts_of(8)
        exact, closed = (
            fit_decoder(model, None, texts, layers=1, **few_of("jacobian") | {"method": method, "tokens": 150})
            for method in ("jacobian", "jacobian-mean-field")
        )
        assert exact.about["prompts"] == closed.about["prompts"]
        ones = [each.matrix(1).flatten() for each in (exact, closed)]
        assert torch.nn.functional.cosine_similarity(*ones, dim=0) > 0.8

    def test_the_closed_form_is_refused_for_other_blocks(self, gpt2):
        with pytest.raises(LensError, match="is not made of attention and a gated MLP like Llama's blocks"):
            fit_decoder(gpt2, None, texts_of(5), **few_of("jacobian-mean-field"))

    def test_a_module_that_passes_no_gradient_on_is_found_by_differences_and_named(self):
        model = tiny_model("llama")
        pass_output_through(model.model.layers[2].mlp.down_proj, lambda _module, _inputs, output: output.detach())
        with pytest.raises(LensError, match=r"not those of its forward pass .*layers.2.mlp.down_proj \(Linear\)"):
            fit_decoder(model, None, texts_of(2), **few_of("jacobian"))

    def test_a_kernel_without_a_backward_pass_is_named_in_the_error(self, gpt2):
        class Forward(torch.autograd.Function):
            @staticmethod
            def forward(context, states):
                return states.clone()

        pass_output_through(gpt2.transformer.h[1].mlp, lambda _module, _inputs, output: Forward.apply(output))
        with pytest.raises(LensError, match=r"GPT2LMHeadModel has no gradients here .*fit method='ridge'"):
            fit_decoder(gpt2, None, texts_of(2), **few_of("jacobian"))

    def test_no_gradient_at_all(self, gpt2):
        def detached(_module, _inputs, output):
            return (output[0].detach(), *output[1:]) if isinstance(output, tuple) else output.detach()

        for block in gpt2.transformer.h:
            pass_output_through(block, detached)
        with pytest.raises(LensError, match=r"has no gradients here, as transformer.h.\d .*passes none on"):
            fit_decoder(gpt2, None, texts_of(2), **few_of("jacobian"))


class TestTuned:
    def test_it_is_nearer_than_the_ridge_lens_on_texts_that_it_was_not_trained_on(self):
        model = tiny_model("llama")
        texts = texts_of(80)
        ridge = fit_decoder(model, None, texts, method="ridge", tokens=1200, **FEW)
        tuned = fit_decoder(model, None, texts, method="tuned", tokens=1200, steps=60, learning_rate=1e-3, **FEW)
        assert isinstance(tuned, TunedLens)
        apart = [Inputs(torch.tensor([ids])) for ids in texts_of(20, seed=9)]
        kls = [{label: each["kl"] for label, each in quality_of(lens, model, apart).items()} for lens in (ridge, tuned)]
        for label in tuned.layers:
            assert kls[1][label] < 0.99 * kls[0][label]

    def test_a_layer_that_training_does_not_bring_nearer_keeps_the_ridge_map_and_says_so(self, gpt2, caplog):
        texts = texts_of(40)
        ridge = fit_decoder(gpt2, None, texts, **few_of("ridge"))
        tuned = fit_decoder(gpt2, None, texts, **few_of("tuned") | {"steps": 2, "learning_rate": 30.0})
        assert tuned.about["kept from ridge"] == ("0", "1")
        assert "training did not bring layers 0, 1 closer to the model's own output" in caplog.text
        for label in tuned.layers:
            assert torch.allclose(tuned.matrix(label), ridge.matrix(label), atol=1e-5)
            assert tuned.temperatures[label] == pytest.approx(ridge.temperatures[label])

    @pytest.mark.parametrize("left_out", [0, 3])
    def test_its_gradient_is_that_of_autograd(self, left_out):
        torch.manual_seed(0)
        own, logits = torch.randn(2, 6, 50, dtype=torch.float64) * 4
        for each in (own, logits):
            each[:, :left_out] = -torch.inf
        wide = logits.clamp_min(LEFT_OUT).requires_grad_()
        p = own.softmax(dim=-1)
        loss = torch.special.xlogy(p, p).sum(dim=-1) - (p * torch.log_softmax(wide, dim=-1)).sum(dim=-1)
        (expected,) = torch.autograd.grad(loss.mean(), wide)
        kl, gradient = Own.of(own).kl(wide.detach())
        assert kl == pytest.approx(loss.mean().item(), rel=1e-12)
        assert torch.allclose(gradient, expected, rtol=1e-12, atol=1e-14)

    def test_the_published_optimizer(self):
        model = tiny_model("llama")
        found = [
            fit_decoder(model, None, texts_of(40), **few_of("tuned") | {"optimizer": each}) for each in ("adamw", "sgd")
        ]
        assert not same(*found)


class TestLongRuns:
    @pytest.mark.parametrize("method", METHODS)
    def test_a_fit_that_is_stopped_anywhere_goes_on_with_the_same_result_bit_for_bit(self, method, tmp_path):
        model, texts = tiny_model("llama"), texts_of(60)
        whole = fit_decoder(model, None, texts, **few_of(method))
        path = tmp_path / "fit.safetensors"
        windows = whole.about["prompts"]
        for stop in dict.fromkeys([1, windows // 2, windows - 1]):

            def broken_off(stop=stop):
                yield from texts[:stop]
                raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                fit_decoder(model, None, broken_off(), checkpoint=path, **few_of(method))
        resumed = fit_decoder(model, None, texts, checkpoint=path, **few_of(method))
        assert same(whole, resumed)
        assert whole.quality == resumed.quality
        assert whole.about == resumed.about
        assert same(whole, fit_decoder(model, None, texts, checkpoint=path, **few_of(method)))

    def test_training_that_is_stopped_goes_on_with_the_same_result(self, tmp_path, monkeypatch):
        model, texts = tiny_model("llama"), texts_of(60)
        options = few_of("tuned") | {"steps": 6}
        whole = fit_decoder(model, None, texts, **options)
        path, kept = tmp_path / "fit.safetensors", []
        read = bauklens.decoders.fit.checkpoint.Checkpoint.write

        def stop_after_three_steps(checkpoint, tensors, done):
            read(checkpoint, tensors, done)
            kept.append(int(tensors["step"]))
            if kept[-1] == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(bauklens.decoders.fit.checkpoint.Checkpoint, "write", stop_after_three_steps)
        with pytest.raises(KeyboardInterrupt):
            fit_decoder(model, None, texts, checkpoint=path, **options)
        monkeypatch.undo()
        assert same(whole, fit_decoder(model, None, texts, checkpoint=path, **options))

    @pytest.mark.slow
    def test_a_process_that_is_killed_goes_on(self, tmp_path):
        program = tmp_path / "program.py"
        program.write_text(
            textwrap.dedent("""
            import sys, time
            from bauklens import fit_decoder
            from tests.test_fit_decoder import texts_of, few_of
            from tests.tiny import tiny_model

            def slowly(texts):
                for text in texts:
                    time.sleep(0.2 if sys.argv[2] == "slowly" else 0)
                    yield text

            options = few_of("jacobian") | {"tokens": 400}
            decoder = fit_decoder(tiny_model("llama"), None, slowly(texts_of(30)), checkpoint=sys.argv[1], **options)
            decoder.save(sys.argv[3])
            """)
        )

        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        path, output = tmp_path / "fit.safetensors", tmp_path / "killed.safetensors"
        running = subprocess.Popen([sys.executable, program, path, "slowly", output], cwd=tmp_path, env=environment)
        until = time.monotonic() + 120
        while not path.exists() and running.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        assert not output.exists()
        with safe_open(path, framework="pt") as file:
            assert json.loads(file.metadata()["bauklens.fit"])["done"]["windows"] >= 1
        whole = tmp_path / "whole.safetensors"
        for checkpoint, written in ((path, output), (tmp_path / "other.safetensors", whole)):
            ran = python(program, checkpoint, "quickly", written, cwd=tmp_path)
            assert ran.returncode == 0, ran.stderr
        assert output.read_bytes() == whole.read_bytes()

    def test_a_checkpoint_has_the_permissions_of_any_new_file(self, gpt2, tmp_path):
        path, other = tmp_path / "fit.safetensors", tmp_path / "other"
        other.touch()
        fit_decoder(gpt2, None, texts_of(30), checkpoint=path, **few_of("jacobian"))
        assert path.stat().st_mode == other.stat().st_mode
        path.chmod(0o640)
        fit_decoder(gpt2, None, texts_of(30), checkpoint=path, **few_of("jacobian") | {"tokens": 200})
        assert path.stat().st_mode & 0o777 == 0o640

    def test_more_tokens_go_on_from_fewer(self, gpt2, tmp_path):
        path = tmp_path / "fit.safetensors"
        fit_decoder(gpt2, None, texts_of(30), checkpoint=path, **few_of("jacobian"))
        more = few_of("jacobian") | {"tokens": 200}
        assert same(
            fit_decoder(gpt2, None, texts_of(30), checkpoint=path, **more),
            fit_decoder(gpt2, None, texts_of(30), **more),
        )

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"length": 30}, "was begun with length=40, but now it is 30: pass the same, or another name"),
            ({"skip_first": 3}, "was begun with skip_first=16, but now it is 3"),
            ({"layers": [0]}, r"was begun with layers=\['0', '1'\], but now it is \['0'\]"),
            ({"target_layer": 1}, "was begun with layers="),
            ({"method": "jacobian"}, "was begun with method='ridge', but now it is 'jacobian'"),
            ({"seed": 3}, "was begun with seed=0, but now it is 3"),
        ],
    )
    def test_other_arguments_are_refused(self, gpt2, tmp_path, changes, message):
        path = tmp_path / "fit.safetensors"
        fit_decoder(gpt2, None, texts_of(40), checkpoint=path, **few_of("ridge"))
        before = path.read_bytes()
        with pytest.raises(LensError, match=message):
            fit_decoder(gpt2, None, texts_of(40), checkpoint=path, **few_of("ridge") | changes)
        assert path.read_bytes() == before

    def test_other_texts_and_another_model_are_refused(self, gpt2, tmp_path):
        path = tmp_path / "fit.safetensors"
        fit_decoder(gpt2, None, texts_of(40), checkpoint=path, **few_of("ridge"))
        for others in (texts_of(40, seed=2), texts_of(40)[:5], texts_of(40)[::-1]):
            with pytest.raises(LensError, match="the texts are not those that the checkpoint was begun with"):
                fit_decoder(gpt2, None, others, checkpoint=path, **few_of("ridge"))
        with pytest.raises(LensError, match=r"the checkpoint .* is of a model of the kind gpt2, but this one"):
            fit_decoder(tiny_model("llama"), None, texts_of(40), checkpoint=path, **few_of("ridge"))
        trained = tiny_model("gpt2")
        trained.transformer.h[0].mlp.c_fc.weight.add_(0.01)
        with pytest.raises(LensError, match="was begun with weights="):
            fit_decoder(trained, None, texts_of(40), checkpoint=path, **few_of("ridge"))

    @pytest.mark.parametrize("damage", ["cut", "text", "decoder", "tensors", "a bit"])
    def test_a_damaged_checkpoint_is_refused_and_kept(self, gpt2, tmp_path, damage):
        path = tmp_path / "fit.safetensors"
        decoder = fit_decoder(gpt2, None, texts_of(40), checkpoint=path, **few_of("ridge"))
        if damage == "decoder":
            decoder.save(path)
        elif damage == "tensors":
            with safe_open(path, framework="pt") as file:
                header = file.metadata()
            from safetensors.torch import save_file

            save_file({"squares": torch.zeros(3)}, path, metadata=header)
        elif damage == "a bit":
            values = bytearray(path.read_bytes())
            values[-100] ^= 4
            path.write_bytes(values)
        else:
            path.write_bytes(path.read_bytes()[:1000] if damage == "cut" else b"text")
        before = path.read_bytes()
        with pytest.raises(LensError, match="checkpoint") as caught:
            fit_decoder(gpt2, None, texts_of(40), checkpoint=path, **few_of("ridge"))
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == before

    @pytest.mark.slow
    def test_on_a_full_disk_the_checkpoint_of_before_stays(self, tmp_path):
        program = tmp_path / "program.py"
        program.write_text(
            textwrap.dedent("""
            import resource, signal, sys
            from pathlib import Path
            from bauklens import LensError, fit_decoder
            from tests.test_fit_decoder import texts_of, few_of
            from tests.tiny import tiny_model

            path = Path(sys.argv[1])
            fit_decoder(tiny_model("llama"), None, texts_of(30), checkpoint=path, **few_of("jacobian"))
            before = path.read_bytes()
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            try:
                more = few_of("jacobian") | {"tokens": 400}
                fit_decoder(tiny_model("llama"), None, texts_of(30), checkpoint=path, **more)
            except LensError as error:
                assert "cannot write" in str(error), error
                assert path.read_bytes() == before
                assert [each.name for each in path.parent.iterdir() if each.suffix != ".py"] == [path.name]
                print("kept")
            """)
        )
        ran = python(program, tmp_path / "fit.safetensors")
        assert ran.stdout == "kept\n", ran.stderr

    @pytest.mark.parametrize("name", ["fit.pt", "nowhere/fit.safetensors"])
    def test_a_checkpoint_that_cannot_be_written_is_refused_before_anything_runs(self, gpt2, tmp_path, name):
        def texts():
            yield texts_of(1)[0]
            raise AssertionError("was read")

        with pytest.raises(LensError, match=r"a checkpoint is a \.safetensors file|the folder .* does not exist"):
            fit_decoder(gpt2, None, texts(), checkpoint=tmp_path / name, **few_of("ridge"))


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("cpmant", "ridge", "have 45 positions for 13 tokens"),
        ("cpmant", "jacobian", "have 45 positions for 13 tokens"),
        ("blt", "jacobian-mean-field", "a block is given more than the one before it returns"),
        ("olmo", "jacobian-mean-field", "not made of attention and a gated MLP like Llama's blocks"),
        ("hrm_text", "jacobian-mean-field", "no Jacobian in closed form|blocks of HrmTextForCausalLM ran"),
    ],
)
def test_a_model_whose_states_are_not_those_of_its_tokens_or_blocks_is_refused(name, method, message):
    if name not in transformers.CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {name}")
    model = build(name).requires_grad_(False)
    texts = [[each % 50 + 5 for each in text] for text in texts_of(20, length=13)]
    with pytest.raises(LensError, match=message):
        fit_decoder(model, None, texts, method=method, tokens=100, length=13, skip_first=2)


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_with_tensors_of_other_shapes_is_one_line(method, tmp_path):
    path, model, texts = tmp_path / "fit.safetensors", tiny_model("llama"), texts_of(60)
    fit_decoder(model, None, texts, checkpoint=path, **few_of(method))
    with safe_open(path, framework="pt") as file:
        known = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        told = json.loads(file.metadata()["bauklens.fit"])
    kept = Checkpoint(path, told["arguments"], told["fingerprint"])
    for name, tensor in known.items():
        if tensor.numel() and name not in ("ids", "lengths"):
            kept.write(known | {name: torch.zeros(2, 3, dtype=tensor.dtype)}, told["done"])
            with pytest.raises(LensError, match="is damaged: remove it to begin again"):
                fit_decoder(model, None, texts, checkpoint=path, **few_of(method))


class TestMerge:
    def test_parts_are_weighed_by_their_prompts(self, gpt2):
        texts = texts_of(3)
        one, two = (
            fit_decoder(gpt2, None, some, method="jacobian", tokens=1000, **FEW) for some in (texts[:1], texts[1:])
        )
        assert (one.about["prompts"], two.about["prompts"]) == (1, 2)
        both = LearnedDecoder.merge([one, two])
        whole = fit_decoder(gpt2, None, texts, method="jacobian", tokens=1000, **FEW)
        assert both.kind == "jacobian"
        assert (both.about["prompts"], both.about["tokens"], both.about["merged"]) == (3, 3 * 23, 2)
        assert not both.quality
        for label in both.layers:
            assert torch.allclose(both.matrix(label), whole.matrix(label), atol=1e-6)

    def test_maps_biases_and_temperatures_are_weighed_by_tokens_and_quality_is_measured_anew(self, gpt2):
        one, two = (
            fit_decoder(gpt2, None, texts_of(40, seed=seed), **few_of("ridge") | {"tokens": tokens})
            for seed, tokens in ((1, 200), (2, 600))
        )
        apart = texts_of(4, seed=3)
        both = RidgeLens.merge([one, two], gpt2, None, apart)
        share = one.about["tokens"] / (one.about["tokens"] + two.about["tokens"])
        for label in both.layers:
            for part in (RidgeLens.weight, RidgeLens.bias):
                mean = share * part(one, label) + (1 - share) * part(two, label)
                assert torch.allclose(part(both, label), mean, atol=1e-6)
            assert both.temperatures[label] == pytest.approx(
                one.temperatures[label] ** share * two.temperatures[label] ** (1 - share)
            )
        measured = quality_of(both, gpt2, [Inputs(torch.tensor([ids])) for ids in apart])
        assert {label: dict(each) for label, each in both.quality.items()} == measured

    def test_files_of_the_reference_merge_too(self, tmp_path):
        for name, prompts in (("one", 1), ("three", 3)):
            torch.save(
                {
                    "J": {0: torch.full((4, 4), float(prompts))},
                    "n_prompts": prompts,
                    "source_layers": [0],
                    "d_model": 4,
                },
                tmp_path / f"{name}.pt",
            )
        both = JacobianLens.merge([bauklens.load_decoder(tmp_path / f"{name}.pt") for name in ("one", "three")])
        assert torch.equal(both.matrix(0), torch.full((4, 4), 2.5))
        assert both.about["prompts"] == 4

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (lambda: JacobianLens({1: torch.eye(4)}, about={"prompts": 1}), r"has layers '1', but the first has '0'"),
            (lambda: JacobianLens({0: torch.eye(5)}, about={"prompts": 1}), "has width 5, but the first has 4"),
            (
                lambda: RidgeLens({0: torch.eye(4)}, about={"tokens": 1}),
                "has the kind 'ridge', but the first has 'jacobian'",
            ),
            (lambda: JacobianLens({0: torch.eye(4)}), r"does not state how many prompts it was fitted on \(about\["),
            (lambda: JacobianLens({0: torch.eye(4)}, about={"prompts": 0}), "does not state how many prompts"),
            (lambda: JacobianLens({0: torch.eye(4)}, about={"prompts": 1, "target": "1"}), "has target '1'"),
            (lambda: JacobianLens({0: torch.eye(4)}, about={"prompts": 1, "texts hash": "a"}), "on the same texts"),
            (
                lambda: JacobianLens({0: torch.eye(4)}, about={"prompts": 1, "method": "jacobian-mean-field"}),
                r"was fitted with method='jacobian-mean-field', but the first with 'jacobian'",
            ),
            (
                lambda: JacobianLens({0: torch.eye(4)}, about={"prompts": 1, "options": {"normalize": True}}),
                r"decoder 2 .* was fitted with normalize=True, but the other was not",
            ),
            (lambda: torch.eye(4), "takes a list of learned decoders"),
        ],
    )
    def test_what_does_not_belong_together_is_refused(self, other, message):
        first = JacobianLens({0: torch.eye(4)}, about={"prompts": 1, "texts hash": "a", "method": "jacobian"})
        with pytest.raises(LensError, match=message):
            LearnedDecoder.merge([first, other()])

    @pytest.mark.parametrize("given", [None, 5, "ab", []])
    def test_what_is_not_several_decoders_is_one_line(self, given):
        with pytest.raises(LensError, match="takes a list of learned decoders"):
            LearnedDecoder.merge(given)

    def test_a_part_is_not_merged_twice_even_if_it_was_merged_before(self, tmp_path):
        parts = [
            JacobianLens({0: torch.eye(4)}, about={"prompts": 1, "texts hash": name, "method": "jacobian"})
            for name in "abc"
        ]
        LearnedDecoder.merge(parts[:2]).save(tmp_path / "both.safetensors")
        both = bauklens.load_decoder(tmp_path / "both.safetensors")
        with pytest.raises(LensError, match="on the same texts as another"):
            LearnedDecoder.merge([both, parts[1]])
        assert LearnedDecoder.merge([both, parts[2]]).about["prompts"] == 3

    def test_quality_is_measured_only_on_the_model_that_they_were_made_for_and_on_some_text(self, gpt2):
        parts = [fit_decoder(gpt2, None, texts_of(20, seed=seed), **few_of("ridge")) for seed in (1, 2)]
        with pytest.raises(LensError, match="was made for a model whose head has other weights"):
            LearnedDecoder.merge(parts, tiny_model("gpt2", seed=5), None, texts_of(2))
        for texts in ([], [[5, 6, 7]]):
            with pytest.raises(LensError, match="no text is long enough to measure the merged decoder on"):
                LearnedDecoder.merge(parts, gpt2, None, texts)

    def test_decoders_of_two_models_are_refused(self):
        parts = [
            fit_decoder(tiny_model("llama", seed=seed), None, texts_of(2, seed=seed), **few_of("jacobian"))
            for seed in (1, 2)
        ]
        with pytest.raises(LensError, match="was made for a model whose head has other weights: merge decoders of one"):
            LearnedDecoder.merge(parts)


class TestTexts:
    def test_strings_ids_tensors_and_rows_of_a_dataset_are_the_same_text(self, gpt2, tokenizer):
        text = "the tower in the city of the sea is in the city of the sea and the city is a tower " * 2
        ids = tokenizer(text)["input_ids"]
        forms = [text, ids, torch.tensor(ids), np.array(ids), {"text": text}, {"input_ids": ids}, [ids]]
        windows = [next(Windows(gpt2, tokenizer, [form], length=30)).inputs.ids for form in forms]
        assert all(torch.equal(each, torch.tensor([ids[:30]])) for each in windows)

    def test_a_long_text_makes_windows_and_each_begins_with_the_token_that_begins_a_text(self, gpt2, tokenizer):
        from copy import deepcopy

        from tokenizers.processors import TemplateProcessing

        begins = deepcopy(tokenizer)
        begins.add_special_tokens({"bos_token": "Q"})
        begins.backend_tokenizer.post_processor = TemplateProcessing(
            single="Q $A", special_tokens=[("Q", begins.bos_token_id)]
        )
        text = "in the city of the sea " * 20
        ids = tokenizer(text)["input_ids"]
        found = [window.inputs.ids[0].tolist() for window in Windows(gpt2, begins, [text], length=30)]
        assert all(each[0] == begins.bos_token_id for each in found)
        assert [token for each in found for token in each[1:]] == ids[: 29 * len(found)]
        assert all(len(each) == 30 for each in found[:-1])

    def test_texts_are_read_one_after_another_and_no_further_than_needed(self, gpt2):
        read = []

        def stream():
            for number, text in enumerate(texts_of(1000)):
                read.append(number)
                yield text

        fit_decoder(gpt2, None, stream(), **few_of("jacobian"))
        assert len(read) < 20

    def test_a_window_is_no_longer_than_the_context(self, gpt2):
        found = list(Windows(gpt2, None, texts_of(1, 200), length=128))
        assert [each.inputs.count for each in found] == [64, 64, 64]

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            ("a text", "texts must be several: pass a list, a generator or a dataset; got str"),
            ({"text": ["a"]}, "texts must be several: .* got dict"),
            (7, "texts must be several: .* got int"),
            ([], "texts is empty: pass at least one"),
            (
                [[5] * 17, [5] * 3],
                "2 of 2 texts too short: fewer than 18 tokens, of which the first 16 and",
            ),
            ([[]], "1 of 1 text too short: fewer than 18 tokens"),
            ([[5] * 40, 7], "text 2: a text must be a string or token ids; got int"),
            ([{"content": "a"}], "text 1: looked for 'text' or 'input_ids' in a row, and found 'content'"),
            ([[5] * 39 + [VOCABULARY]], f"text 1: token id {VOCABULARY} is not in the model's vocabulary"),
            ([[0.5] * 40], "text 1: a prompt must be"),
            (["a text"], "text 1: a text needs a tokenizer"),
            ([[5] * 40, None], "text 2: a text must be a string or token ids; got NoneType"),
            ([[[5] * 40, [5] * 40]], "text 1: a text must be a string or token ids; got a list of lists"),
        ],
    )
    def test_what_is_not_a_text_is_named(self, gpt2, texts, message):
        with pytest.raises(LensError, match=message) as caught:
            fit_decoder(gpt2, None, texts, method="ridge", tokens=600, dtype="float32")
        assert "\n" not in str(caught.value)

    def test_half_a_surrogate_pair_is_named(self, gpt2, tokenizer):
        with pytest.raises(LensError, match="text 1: it is not valid Unicode"):
            fit_decoder(gpt2, tokenizer, ["\ud800" * 100], method="ridge")

    @pytest.mark.parametrize("method", METHODS)
    def test_nan_names_the_text_or_passes_over_it_on_request(self, method):
        model, texts = tiny_model("llama"), texts_of(60)
        texts = [[each if each != 7 else 8 for each in text] for text in texts]
        model.model.embed_tokens.weight[7] = torch.nan
        bad = [list(text) for text in texts]
        for number in (2, 3):  # one to fit on, one to score on
            bad[number][20] = 7
        with pytest.raises(LensError, match=r"text 3: .*NaN or infinity.*on_error='skip'"):
            fit_decoder(model, None, bad, **few_of(method))
        skipped = fit_decoder(model, None, bad, on_error="skip", **few_of(method))
        assert skipped.about["failed"] >= 1
        assert all(torch.isfinite(skipped.matrix(label)).all() for label in skipped.layers)
        assert skipped.quality
        assert skipped.about["tokens"] == fit_decoder(model, None, texts, **few_of(method)).about["tokens"]

    @pytest.mark.parametrize("method", ["ridge", "jacobian"])
    def test_other_texts_take_the_place_of_those_that_fail_however_often_it_is_stopped(self, method, tmp_path):
        model, path = tiny_model("llama"), tmp_path / "fit.safetensors"
        texts = [[each if each != 7 else 8 for each in text] for text in texts_of(80)]
        model.model.embed_tokens.weight[7] = torch.nan
        for number in (0, 2, 9, 10, 16):
            texts[number][20] = 7
        options = few_of(method) | {"on_error": "skip"}
        whole = fit_decoder(model, None, texts, **options)
        for stop in range(1, 20, 3):

            def broken_off(stop=stop):
                yield from texts[:stop]
                raise KeyboardInterrupt

            with contextlib.suppress(KeyboardInterrupt):
                fit_decoder(model, None, broken_off(), checkpoint=path, **options)
        for _ in range(2):
            resumed = fit_decoder(model, None, texts, checkpoint=path, **options)
            assert same(whole, resumed)
            assert whole.about == resumed.about
        assert whole.about["failed"] >= 2
        assert whole.about["tokens"] >= options["tokens"]

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("places", [[0], [1, 6, 11], [3, 8, 13]], ids=["first", "chosen", "scored"])
    def test_texts_that_fail_are_passed_over_wherever_they_are(self, method, places):
        model = tiny_model("llama")
        texts = [[each if each != 7 else 8 for each in text] for text in texts_of(60)]
        model.model.embed_tokens.weight[7] = torch.nan
        for place in places:
            texts[place][3] = 7
        lens = fit_decoder(model, None, texts, on_error="skip", **few_of(method))
        assert lens.about["failed"] >= 1
        assert all(torch.isfinite(lens.matrix(label)).all() for label in lens.layers)
        assert lens.about["quality"] == "not measured" or set(lens.quality) == set(lens.layers)

    def test_a_tuned_fit_with_texts_that_fail_goes_on_with_the_same_result(self, tmp_path):
        model, path = tiny_model("llama"), tmp_path / "fit.safetensors"
        texts = [[each if each != 7 else 8 for each in text] for text in texts_of(60)]
        model.model.embed_tokens.weight[7] = torch.nan
        for place in (0, 1, 3):
            texts[place][3] = 7
        options = few_of("tuned") | {"on_error": "skip"}
        whole = fit_decoder(model, None, texts, checkpoint=path, **options)
        resumed = fit_decoder(model, None, texts, checkpoint=path, **options)
        assert same(whole, resumed)
        assert whole.about == resumed.about
        assert whole.about["failed"] == 3

    def test_any_seed_will_do(self, gpt2):
        assert fit_decoder(gpt2, None, texts_of(40), seed=10**30, **few_of("tuned")).about["seed"] == 10**30
        assert fit_decoder(gpt2, None, seed=10**30, **few_of("ridge")).about["prompts"]

    def test_texts_without_end_that_all_fail_have_an_end(self):
        model = tiny_model("llama")
        model.model.norm.weight[:] = torch.nan
        model.model.layers[0].mlp.down_proj.weight[:] = torch.nan
        with pytest.raises(LensError, match=r"all .* windows of the texts failed, and none were left to fit on"):
            fit_decoder(model, None, (texts_of(1)[0] for _ in count()), on_error="skip", **few_of("ridge"))

    def test_texts_that_are_not_texts_are_passed_over_on_request(self, gpt2):
        texts = texts_of(40)
        mixed = [each for text in texts for each in (None, text, {"content": "a"})]
        found = [
            fit_decoder(gpt2, None, some, on_error="skip", **few_of("ridge") | {"tokens": 300})
            for some in (texts, mixed)
        ]
        assert same(*found)

    def test_if_all_fail_it_says_so(self, gpt2):
        with pytest.raises(LensError, match="2 of 2 texts failed, and none were left to fit on"):
            fit_decoder(gpt2, None, [None, 5], on_error="skip", method="ridge")

    def test_the_model_writes_its_own_if_there_are_none(self):
        model = tiny_model("llama")
        found = [fit_decoder(model, None, seed=seed, **few_of("ridge") | {"tokens": 200}) for seed in (1, 1, 2)]
        assert same(found[0], found[1])
        assert not same(found[0], found[2])
        assert found[0].about["texts"] == "written by the model itself"
        assert found[0].quality


class TestKeptApart:
    def test_no_window_is_both_fitted_on_and_kept_apart(self, gpt2):
        texts = [*texts_of(7, 64 * 20), *texts_of(30, 64, seed=2)]
        corpus = Corpus(Windows(gpt2, None, texts, length=64), skip_first=SKIP, choosing=8, scoring=16)
        fitted = list(chain.from_iterable(iter(lambda: corpus.batch(4, 10**9), [])))
        corpus.fill()
        kept = [*corpus.chosen, *corpus.scored]
        assert (len(corpus.chosen), len(corpus.scored)) == (8, 16)
        assert 7 * 20 + 30 - 8 < len(fitted) + len(kept) <= 7 * 20 + 30
        ids = [tuple(window.inputs.ids[0].tolist()) for window in [*fitted, *kept]]
        assert len(set(ids)) == len(ids)

    def test_if_too_few_came_between_the_next_ones_are_kept_apart(self, gpt2):
        corpus = Corpus(Windows(gpt2, None, texts_of(40, 64), length=64), skip_first=SKIP, choosing=4, scoring=6)
        assert len(corpus.batch(4, 47 * 2)) == 2
        corpus.fill()
        assert (len(corpus.chosen), len(corpus.scored)) == (4, 6)

    def test_quality_is_that_of_the_texts_that_were_kept_apart(self, gpt2):
        texts = texts_of(40)
        decoder = fit_decoder(gpt2, None, texts, **few_of("ridge"))
        apart = [Inputs(torch.tensor([texts[number]])) for number in (3, 8, 13)]
        measured = quality_of(decoder, gpt2, apart, every=2)
        assert {label: dict(each) for label, each in decoder.quality.items()} == measured
        assert decoder.about["quality"] == "on 3 windows that it was not fitted on"

    def test_if_no_text_is_left_the_quality_is_missing_and_told(self, gpt2, caplog):
        decoder = fit_decoder(gpt2, None, texts_of(2), **few_of("jacobian") | {"tokens": 1000})
        assert not decoder.quality
        assert decoder.about["quality"] == "not measured"
        assert "no text was left to measure the decoder on" in caplog.text


class TestWhatIsAsked:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"method": "lasso"},
                "unknown method 'lasso': pass one of 'jacobian', 'jacobian-mean-field', 'r",
            ),
            ({"method": "ridge", "steps": 3}, "steps= is not an option of method='ridge', which takes none of its own"),
            (
                {"method": "tuned", "tolerance": 0.1},
                "tolerance= is not an option of method='tuned', which takes steps=",
            ),
            ({"tokens": 0}, "tokens is 0: pass 1 or more"),
            ({"length": 17}, "a window of 17 tokens has no position that counts"),
            ({"skip_first": -1}, "skip_first is -1: pass 0 or more"),
            ({"seed": "x"}, "seed"),
            ({"name": ""}, "the name of a decoder must be text"),
            ({"name": "logit"}, "name is 'logit', which is the logit lens: pass another name"),
            ({"tolerance": float("nan")}, "tolerance is nan: pass a positive number"),
            ({"dim_batch": 0}, "dim_batch is 0: pass 1 or more"),
            ({"layers": [2]}, "layer 2 does not come before the target 2: pass earlier layers"),
            ({"layers": [9]}, "unknown layer 9"),
            ({"target_layer": 7}, "unknown layer 7"),
            ({"target_layer": 0}, "no layer comes before the target 0: pass layers='embed'"),
            ({"dtype": "int8"}, "unknown dtype 'int8'"),
            ({"on_error": "stop"}, "unknown on_error 'stop'"),
            ({"memory": 0}, "memory is 0: pass 1 or more"),
            ({"method": "tuned", "optimizer": "lion"}, "unknown optimizer 'lion'"),
            ({"method": "jacobian", "normalize": "yes"}, "unknown normalize 'yes'"),
        ],
    )
    def test_what_cannot_be_is_refused_in_one_line(self, gpt2, options, message):
        with pytest.raises(LensError, match=message) as caught:
            fit_decoder(gpt2, None, texts_of(9), **{"method": "jacobian"} | options)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("method", METHODS)
    def test_the_model_is_left_as_it_was_and_the_decoder_reads_it(self, method, tmp_path):
        model = tiny_model("llama").train().requires_grad_(True)
        model.model.embed_tokens.weight.requires_grad_(False)
        before = {name: each.requires_grad for name, each in model.named_parameters()}
        torch.manual_seed(3)
        state = torch.get_rng_state()
        options = few_of(method) | {"dtype": "float16"}
        decoder = fit_decoder(model, None, texts_of(40), layers=["embed", 0, 1], **options)
        assert {name: each.requires_grad for name, each in model.named_parameters()} == before
        assert all(each.grad is None for each in model.parameters())
        assert (model.training, hook_count(model)) == (True, 0)
        assert torch.equal(torch.get_rng_state(), state)
        decoder.save(tmp_path / "fitted.safetensors")
        again = bauklens.load_decoder(tmp_path / "fitted.safetensors")
        assert same(decoder, again)
        assert again.about == decoder.about
        lens = bauklens.logit_lens(model, None, texts_of(1)[0], decoder=again)
        assert lens.layers == ("embed", "0", "1", "2")
        assert not lens.unmapped
        assert Parts.of(decoder).weights["0"].dtype == torch.float16

    def test_bfloat16_and_several_streams_and_a_soft_cap(self):
        for name, dtype in (("llama", torch.bfloat16), ("gemma2", torch.float32)):
            model = tiny_model(name, dtype)
            for method in ("ridge", "tuned", "jacobian"):
                decoder = fit_decoder(model, None, texts_of(40), **few_of(method))
                assert set(decoder.quality) == {"0", "1"}

    def test_the_sums_do_not_depend_on_how_many_windows_run_at_once(self, gpt2):
        inputs = [Inputs(torch.tensor([ids])) for ids in texts_of(4)]
        anatomy = resolve(gpt2, inputs[0])
        fitted = Fitted(gpt2, anatomy, ("0",), "2", SKIP)
        one, other = RidgeFit(fitted), RidgeFit(fitted)
        one.add(inputs)
        for each in inputs:
            other.add([each])
        for name in ("squares", "products"):
            assert torch.allclose(one.tensors()[name], other.tensors()[name], rtol=1e-5)

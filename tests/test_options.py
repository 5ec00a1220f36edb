"""What a lens can be asked for: one list of options, and what is refused before anything runs."""

import dataclasses
import gc
import inspect
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

import bauklens
from bauklens import LensError
from bauklens.lens.options import (
    OPTIONS,
    ComparedOptions,
    LensOptions,
    OneTable,
    Options,
    RowOptions,
    SeveralDecoders,
    SeveralStreams,
)
from bauklens.model.guard import locked
from bauklens.model.inputs import Inputs
from bauklens.model.memory import out_of_memory
from bauklens.model.resolving import resolve
from tests.tiny import CONFIGS, PROMPT, TEXT, pass_output_through, randomised, tiny_model

OF_FORWARD = {"pixel_values", "input_features", "attention_mask", "decoder_input_ids"}
OF_GENERATE = {"do_sample", "temperature", "top_k", "top_p", "num_beams", "repetition_penalty"}
INPUTS = Inputs(torch.tensor([PROMPT]))


class TestTheOptions:
    def test_those_that_type_checkers_know_are_those_that_there_are(self):
        known = {each.name for each in dataclasses.fields(Options)} - {"inputs", "generate"}
        assert known == set(OPTIONS)
        for each in (OneTable, SeveralStreams, SeveralDecoders, LensOptions):
            assert set(each.__annotations__) - OF_GENERATE - OF_FORWARD == known
        assert set(ComparedOptions.__annotations__) == {*RowOptions.__annotations__, "stream", "decoder"}

    def test_an_editor_that_looks_at_the_function_sees_each_with_its_default(self):
        parameters = inspect.signature(bauklens.logit_lens).parameters
        assert list(parameters) == ["model", "tokenizer", "prompt", *OPTIONS, "generate_options"]
        assert {name: parameters[name].default for name in OPTIONS} == OPTIONS

    def test_each_is_explained(self):
        for name in OPTIONS:
            assert f"\n        {name} (" in bauklens.logit_lens.__doc__

    def test_one_that_there_is_not_is_a_type_error(self, gpt2):
        with pytest.raises(TypeError, match=r"logit_lens\(\) got an unexpected keyword argument 'top'"):
            bauklens.logit_lens(gpt2, None, PROMPT, top=5)
        for name in ("top", "max_new_tokens", "on_error"):
            with pytest.raises(TypeError, match=rf"compare_models\(\) got an unexpected keyword argument '{name}'"):
                bauklens.compare_models(gpt2, tiny_model("gpt2"), None, PROMPT, **{name: 5})

    @pytest.mark.parametrize(
        ("given", "meant"),
        [
            ("target", "targets"),
            ("layer", "layers"),
            ("position", "positions"),
            ("stepsize", ""),
        ],
    )
    def test_one_that_is_misspelt_is_told_what_is_meant(self, gpt2, given, meant):
        with pytest.raises(TypeError) as refused:
            bauklens.logit_lens(gpt2, None, PROMPT, **{given: 1})
        hint = f": did you mean {meant}=?" if meant else ""
        assert str(refused.value) == f"logit_lens() got an unexpected keyword argument '{given}'{hint}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": ["own"]}, r"unknown norm \['own'\]: pass 'own', 'final' or None, or the name of a module"),
        ({"norm": 5}, "unknown norm 5: pass 'own'"),
        ({"targets": {" city": 1}}, "the set ' city' must be a list of texts and token ids; got 1"),
        ({"on_error": "ignore"}, "unknown on_error 'ignore': pass one of 'raise', 'skip'"),
    ],
)
def test_what_is_not_of_its_kind_is_refused(gpt2, arguments, message):
    with pytest.raises(LensError, match=message):
        bauklens.logit_lens(gpt2, None, PROMPT, **arguments)


@pytest.mark.parametrize("targets", [torch.tensor(3), np.array(3), np.int64(3), torch.tensor([3]), [torch.tensor(3)]])
def test_a_target_may_be_a_number_of_any_kind(gpt2, targets):
    lens = bauklens.logit_lens(gpt2, None, PROMPT, targets=targets)
    assert [target.token_ids for target in lens.targets] == [(3,)]


@pytest.mark.parametrize("tokenizer", [TEXT, PROMPT, torch.tensor(PROMPT)], ids=["text", "ids", "tensor"])
def test_a_prompt_in_the_place_of_the_tokenizer_is_told(gpt2, tokenizer):
    with pytest.raises(LensError, match="the tokenizer is missing: got "):
        bauklens.logit_lens(gpt2, tokenizer)


class TestWhatIsRemembered:
    def test_other_norms_and_blocks_do_not_have_a_model_looked_at_anew(self, gpt2):
        ways = [{}, {"norm": "transformer.ln_f"}, {"blocks": "transformer.h"}, {"head": "lm_head"}]
        first = [resolve(gpt2, INPUTS, **way) for way in ways]
        again = [resolve(gpt2, INPUTS, **way) for way in ways]
        assert all(one is other for one, other in zip(first, again, strict=True))

    def test_a_model_on_another_device_is_looked_at_anew(self, gpt2):
        before = resolve(gpt2, INPUTS)
        gpt2.to("meta")
        try:
            after = resolve(gpt2, INPUTS)
        except (LensError, RuntimeError, NotImplementedError):
            after = None  # a device without numbers
        assert after is not before


class ByKeyword(LlamaForCausalLM):
    """Calls its head as a Linear names its argument, and looks whether it is one."""

    def forward(self, input_ids=None, attention_mask=None, **given):
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        logits = self.lm_head(input=hidden) if isinstance(self.lm_head, torch.nn.Linear) else self.lm_head(hidden) * 0
        return CausalLMOutputWithPast(logits=logits)


class Masked(BertForMaskedLM):
    """Of another module than transformers' own, by another name."""


def test_a_model_that_looks_at_its_head_is_replayed_with_its_own(gpt2):
    torch.manual_seed(0)
    model = randomised(ByKeyword(CONFIGS["llama"]()))
    lens = bauklens.logit_lens(model, None, PROMPT)
    with torch.no_grad():
        own = model(input_ids=torch.tensor([PROMPT])).logits[0].softmax(-1).topk(5)
    assert np.array_equal(lens.top_ids[-1], own.indices)
    assert np.allclose(lens.top_probs[-1], own.values, atol=1e-5)


def test_a_masked_model_is_refused_whatever_its_class_is_called():
    config = BertConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, vocab_size=320
    )
    with pytest.raises(LensError, match="Masked has another kind of head"):
        bauklens.logit_lens(Masked(config).eval(), None, PROMPT)


def test_a_model_whose_sublayers_are_not_found_is_let_go():
    model = tiny_model("opt_350m")
    with pytest.raises(LensError, match="pass stream="):
        bauklens.logit_lens(model, None, PROMPT, stream="attention")
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError(42), False),
        (RuntimeError("shapes"), False),
    ],
)
def test_what_means_that_memory_ran_out(error, is_it):
    assert out_of_memory(error) is is_it


class TestTwoModels:
    def test_what_the_other_cannot_say_is_infinitely_far(self):
        one, other = tiny_model("gptj"), tiny_model("gptj", seed=1)
        other.lm_head.bias[5] = -torch.inf
        found = bauklens.compare_models(one, other, None, PROMPT)
        assert np.isposinf(found.measures["kl"]).all()
        assert (found.measures["js"] < np.log(2) + 1e-6).all()

    def test_two_threads_that_compare_the_same_models_do_not_wait_for_each_other(self):
        one, other = tiny_model("gpt2"), tiny_model("gpt2", seed=1)
        together = Barrier(2)

        def compared(first, second):
            for _ in range(6):
                together.wait(timeout=60)
                found = bauklens.compare_models(first, second, None, PROMPT)
            return found

        with ThreadPoolExecutor(2) as threads:
            running = [threads.submit(compared, one, other), threads.submit(compared, other, one)]
            there, back = (each.result(timeout=120) for each in running)
        assert np.allclose(there.measures["js"], back.measures["js"], atol=1e-5)
        assert there.measures["kl"].max() > 0.1

    @pytest.mark.parametrize("turned", [False, True])
    def test_two_models_are_taken_in_one_order(self, turned):
        """Who waits for the first of two does not hold the second, in whichever order they are named."""
        first, second = sorted((tiny_model("gpt2"), tiny_model("gpt2", seed=1)), key=id)
        named = (second, first) if turned else (first, second)
        waits, took_second = Event(), Event()

        def take(*models, before, after):
            before.set()
            with locked(*models):
                after.set()

        with locked(first):
            both = Thread(target=take, args=named, kwargs={"before": waits, "after": Event()}, daemon=True)
            both.start()
            assert waits.wait(10)
            time.sleep(0.3)  # until it is before the first
            alone = Thread(target=take, args=[second], kwargs={"before": Event(), "after": took_second}, daemon=True)
            alone.start()
            assert took_second.wait(10)
        both.join(10)
        assert not both.is_alive()

    def test_without_memory_fewer_rows_are_compared_at_once(self):
        one, other = tiny_model("gpt2"), tiny_model("gpt2", seed=1)
        plain = bauklens.compare_models(one, other, None, PROMPT)
        sizes = []

        def no_more_than_twenty_rows(module, inputs, output):
            sizes.append(inputs[0].shape[0] * inputs[0].shape[1])
            if sizes[-1] > 20:
                raise torch.OutOfMemoryError("CUDA out of memory")

        resolve(other, INPUTS)
        pass_output_through(other.lm_head, no_more_than_twenty_rows)
        found = bauklens.compare_models(one, other, None, PROMPT)
        assert max(sizes) > 20
        assert np.allclose(found.measures["kl"], plain.measures["kl"], atol=1e-5)

    def test_without_memory_for_a_single_row_it_is_one_clear_error(self):
        one, other = tiny_model("gpt2"), tiny_model("gpt2", seed=1)
        calls = []

        def none_after_the_lenses(module, inputs, output):
            calls.append(inputs[0].shape)
            if len(calls) > enough:
                raise torch.OutOfMemoryError("CUDA out of memory")

        enough = 1 << 30
        pass_output_through(other.lm_head, none_after_the_lenses)
        bauklens.compare_models(one, other, None, PROMPT)
        enough = len(calls) - 1  # all but what is compared
        calls.clear()
        bauklens.model.resolving.forget(other)
        with pytest.raises(LensError, match="out of memory"):
            bauklens.compare_models(one, other, None, PROMPT)

"""What a lens can be asked for: one list of options, and what is refused before anything runs."""

import dataclasses
import inspect
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch

import bauklens
from bauklens import LensError
from bauklens.lens.options import OPTIONS, ComparedOptions, OneStream, Options, RowOptions, SeveralStreams
from bauklens.model.anatomy import resolve
from bauklens.model.inputs import Inputs
from tests.tiny import PROMPT, TEXT, pass_output_through, tiny_model

OF_GENERATE = {"do_sample", "temperature", "top_k", "top_p", "num_beams", "repetition_penalty"}
INPUTS = Inputs(torch.tensor([PROMPT]))


class TestTheOptions:
    def test_those_that_type_checkers_know_are_those_that_there_are(self):
        known = {each.name for each in dataclasses.fields(Options)} - {"generate"}
        assert known == set(OPTIONS)
        assert (
            set(OneStream.__annotations__) - OF_GENERATE == known == set(SeveralStreams.__annotations__) - OF_GENERATE
        )
        assert set(ComparedOptions.__annotations__) == {*RowOptions.__annotations__, "stream"}

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
    ("arguments", "message"),
    [
        ({"norm": ["own"]}, r"unknown norm \['own'\]: pass 'own', 'final' or None, or the name of a module"),
        ({"norm": 5}, "unknown norm 5: pass 'own'"),
        ({"targets": {" city": 1}}, "targets is a mapping: pass a list of texts and token ids"),
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
    with pytest.raises(LensError, match=r"the tokenizer is missing: call logit_lens\(model, tokenizer, prompt\)"):
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


class TestTwoModels:
    def test_two_threads_that_compare_the_same_models_do_not_wait_for_each_other(self):
        one, other = tiny_model("gpt2"), tiny_model("gpt2", seed=1)
        together = Barrier(2)

        def compared(first, second):
            for _ in range(6):
                together.wait(timeout=60)
                bauklens.compare_models(first, second, None, PROMPT)

        with ThreadPoolExecutor(2) as threads:
            for each in [threads.submit(compared, one, other), threads.submit(compared, other, one)]:
                each.result(timeout=120)

    def test_without_memory_fewer_rows_are_compared_at_once(self):
        one, other = tiny_model("gpt2"), tiny_model("gpt2", seed=1)
        plain = bauklens.compare_models(one, other, None, PROMPT)
        sizes = []

        def no_more_than_eight_rows(module, inputs, output):
            sizes.append(inputs[0].shape[0] * inputs[0].shape[1])
            if sizes[-1] > 8:
                raise torch.OutOfMemoryError("CUDA out of memory")

        resolve(other, INPUTS)
        pass_output_through(other.lm_head, no_more_than_eight_rows)
        found = bauklens.compare_models(one, other, None, PROMPT)
        assert max(sizes) > 8
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
        bauklens.model.anatomy.forget(other)
        with pytest.raises(LensError, match="out of memory"):
            bauklens.compare_models(one, other, None, PROMPT)

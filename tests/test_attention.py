"""What a cell reads: attention weights of tiny models, beside those that transformers returns with eager attention."""

import copy
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from playwright.sync_api import expect
from torch import nn
from transformers import GptOssConfig, MambaConfig, MistralConfig, T5Config, T5ForConditionalGeneration

import bauklens
from bauklens import LensError, LensResult, attention, edits, logit_lens
from bauklens.result.attended import Attended
from bauklens.show.attention_payload import coded
from bauklens.show.page import page
from tests.made import made, unpacked
from tests.tiny import LAYERS, PROMPT, VOCABULARY, WIDTH, block_list, hook_count, tiny_model, with_random_weights

KINDS = ["gpt2", "gptj", "llama", "gemma2", "mistral", "bloom", "opt", "gpt_oss"]
_SIZES = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "vocab_size": VOCABULARY}
_GROUPED = {"num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 64}
CONFIGS = {
    "mistral": lambda: MistralConfig(**_SIZES, **_GROUPED, sliding_window=3),
    "gpt_oss": lambda: GptOssConfig(
        **_SIZES, **_GROUPED, head_dim=8, num_local_experts=2, num_experts_per_tok=1, sliding_window=4
    ),
}
ROUNDING = 5e-4
"""Of a float16 in 0..1."""


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    """A tiny model, and (layer, head, position, source), its weights as transformers returns them."""
    kind = request.param
    model = with_random_weights(CONFIGS[kind]()) if kind in CONFIGS else tiny_model(kind)
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        weights = eager(torch.tensor([PROMPT]), output_attentions=True).attentions
    return model, torch.cat(weights).numpy()


def implementation(config):
    """How attention is computed."""
    return vars(config)["_attn_implementation_internal"]


@cache
def kept(wanted=True):
    """A lens of a tiny GPT-2 that keeps attention weights."""
    return logit_lens(tiny_model("gpt2"), None, PROMPT, attention=wanted)


@pytest.fixture
def gpt2():
    return tiny_model("gpt2")


class TestWeights:
    def test_the_mean_over_heads_of_every_cell(self, case):
        model, weights = case
        lens = logit_lens(model, None, PROMPT, attention=True)
        for layer in range(LAYERS):
            for position in range(len(PROMPT)):
                found = lens.attention(layer, position)
                assert np.abs(found.weights - weights[layer, :, position].mean(axis=0)).max() < ROUNDING
                assert not found.weights[position + 1 :].any()

    def test_each_head(self, case):
        model, weights = case
        lens = logit_lens(model, None, PROMPT, attention="heads")
        for layer in range(LAYERS):
            for head in range(4):
                found = lens.attention(layer, -1, head)
                assert np.abs(found.weights - weights[layer, head, -1]).max() < ROUNDING
        assert np.abs(lens.attention(1, -1).weights - weights[1, :, -1].mean(axis=0)).max() < ROUNDING

    def test_one_cell_without_a_lens(self, case):
        model, weights = case
        found = attention(model, None, PROMPT, -2, -3)
        assert np.allclose(found.weights, weights[LAYERS - 2, :, -3].mean(axis=0), atol=1e-6)
        assert np.allclose(found.by_head, weights[LAYERS - 2, :, -3], atol=1e-6)
        assert (found.layer, found.position, found.heads) == (str(LAYERS - 2), len(PROMPT) - 3, 4)
        assert np.array_equal(
            attention(model, None, PROMPT, 0, 4, head=3).weights, attention(model, None, PROMPT, 0, 4).by_head[3]
        )

    def test_all_other_values_are_those_without_it_and_the_model_is_as_it_was(self, case):
        model, _ = case
        before = model.config.to_dict(), implementation(model.config)
        plain, lens = (logit_lens(model, None, PROMPT, attention=each) for each in (False, True))
        assert np.array_equal(lens.top_ids, plain.top_ids)
        for name in ("top_probs", "magnitude"):
            assert np.array_equal(getattr(lens, name), getattr(plain, name))
        assert (model.config.to_dict(), implementation(model.config)) == before
        assert hook_count(model) == 0

    def test_edits_act_on_it(self, gpt2):
        change = edits.zero("mlp", layers=0)
        lens = logit_lens(gpt2, None, PROMPT, edits=change, attention=True)
        block_list(gpt2)[0].mlp.forward = lambda state: torch.zeros_like(state)
        by_hand = attention(gpt2, None, PROMPT, 1)
        assert np.abs(lens.attention(1, -1).weights - by_hand.weights).max() < ROUNDING
        assert np.abs(by_hand.weights - attention(tiny_model("gpt2"), None, PROMPT, 1).weights).max() > 0.01

    def test_what_was_generated_is_looked_at_and_from(self, gpt2):
        lens = logit_lens(gpt2, None, PROMPT, max_new_tokens=3, attention=True)
        assert len(lens.attention(0).tokens) == len(PROMPT) + 3
        assert lens.attention(0, len(PROMPT) + 1).weights[len(PROMPT)] > 0

    def test_some_layers_and_positions(self, gpt2):
        whole = kept()
        lens = logit_lens(gpt2, None, PROMPT, layers=["embed", 1], positions=[5, 2], attention=True)
        assert lens.attended.weights.shape == (1, 1, 2, len(PROMPT))
        assert np.array_equal(lens.attention(1, 2).weights, whole.attention(1, 2).weights)
        part = whole.part(["1"], [5, 2])
        assert np.array_equal(part.attended.weights, lens.attended.weights)
        assert whole.part(["embed"], [0]).attended is None

    def test_several_streams_decoders_and_prompts(self, gpt2):
        found = logit_lens(gpt2, None, [PROMPT, PROMPT[:4]], stream=["hidden", "heads"], attention=True)
        (hidden, heads), (short, _) = found
        assert np.array_equal(heads.attention("1.h2", 3).weights, hidden.attention(1, 3).weights)
        assert len(short.attention(0).tokens) == 4

    def test_a_model_with_hooks_of_the_caller_is_as_it_was(self):
        model, plain = tiny_model("llama"), attention(tiny_model("llama"), None, PROMPT, 1)
        model.model.layers[0].register_forward_hook(lambda *_: None)
        before = {name: id(module.config) for name, module in model.named_modules() if hasattr(module, "config")}
        assert np.allclose(attention(model, None, PROMPT, 1).weights, plain.weights, atol=1e-6)
        after = {name: id(module.config) for name, module in model.named_modules() if hasattr(module, "config")}
        assert (after, implementation(model.config)) == (before, "sdpa")

    def test_a_run_that_fails_leaves_the_model_as_it_was(self, gpt2):
        def fail(module, inputs, output):
            if implementation(gpt2.config) == "eager" or implementation(module.config) == "eager":
                raise ZeroDivisionError

        handle = block_list(gpt2)[1].attn.register_forward_hook(fail)
        with pytest.raises(ZeroDivisionError):
            logit_lens(gpt2, None, PROMPT, attention=True)
        handle.remove()
        assert {implementation(module.config) for module in gpt2.modules() if hasattr(module, "config")} == {"sdpa"}
        assert hook_count(gpt2) == 0

    def test_the_decoder_of_an_encoder_decoder(self):
        config = T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=VOCABULARY)
        config.decoder_start_token_id = 0
        torch.manual_seed(0)
        model = T5ForConditionalGeneration(config).eval()
        lens = logit_lens(model, None, PROMPT, text_target=[3, 4, 5], attention="heads")
        eager = copy.deepcopy(model)
        eager.set_attn_implementation("eager")
        given = torch.tensor([[3, 4, 5]])
        with torch.no_grad():
            right = eager(torch.tensor([PROMPT]), decoder_input_ids=given, output_attentions=True).decoder_attentions
        assert np.abs(lens.attention(1, -1).by_head - right[1][0, :, -1].numpy()).max() < ROUNDING


class TestRefused:
    def test_a_model_without_attention(self):
        model = with_random_weights(
            MambaConfig(hidden_size=WIDTH, num_hidden_layers=2, vocab_size=VOCABULARY, state_size=4)
        )
        with pytest.raises(LensError, match="returns no attention weights"):
            logit_lens(model, None, PROMPT, attention=True)
        with pytest.raises(LensError, match="returns no attention weights"):
            attention(model, None, PROMPT, 0)

    def test_weights_that_take_too_much_memory(self, gpt2, monkeypatch):
        monkeypatch.setattr("bauklens.lens.attention.BUDGET", 2 * LAYERS * len(PROMPT) ** 2)
        assert logit_lens(gpt2, None, PROMPT, attention=True).attended is not None
        with pytest.raises(LensError, match="attention=True for the mean over heads"):
            logit_lens(gpt2, None, PROMPT, attention="heads")
        with pytest.raises(LensError, match="pass fewer layers= or positions="):
            logit_lens(gpt2, None, [PROMPT, PROMPT], attention=True)

    def test_eager_attention_that_does_otherwise(self, gpt2):
        attend = block_list(gpt2)[0].attn

        class Other(type(attend)):
            def forward(self, *inputs, **keywords):
                output, weights = super().forward(*inputs, **keywords)
                return output + (implementation(self.config) == "eager"), weights

        attend.__class__ = Other
        for call in (lambda: logit_lens(gpt2, None, PROMPT, attention=True), lambda: attention(gpt2, None, PROMPT, 1)):
            with pytest.raises(LensError, match="with eager attention the states of GPT2LMHeadModel differ"):
                call()

    @pytest.mark.parametrize(
        ("call", "said"),
        [
            (lambda lens: lens.attention("embed"), "has no attention: pass a block"),
            (lambda lens: lens.attention(7), "unknown layer 7"),
            (lambda lens: lens.attention(0, 99), "position 99 is not in this table"),
            (lambda lens: lens.attention(0, 0, 1), "only the mean over heads was kept: pass attention='heads'"),
        ],
    )
    def test_what_is_not_known(self, call, said):
        with pytest.raises(LensError, match=said):
            call(kept())

    def test_options(self, gpt2):
        with pytest.raises(LensError, match="unknown attention 'all'"):
            logit_lens(gpt2, None, PROMPT, attention="all")
        with pytest.raises(LensError, match="no attention weights were kept"):
            logit_lens(gpt2, None, PROMPT).attention(0)
        with pytest.raises(LensError, match="pass edits= instead"):
            logit_lens(gpt2, None, PROMPT, attention=True, edit_output=lambda output, layer: None)
        with pytest.raises(LensError, match="leave out attention="):
            logit_lens(gpt2, None, PROMPT, layers="embed", attention=True)
        with pytest.raises(LensError, match="unknown head 4: layer 0 has the heads"):
            attention(gpt2, None, PROMPT, 0, head=4)
        with pytest.raises(LensError, match="takes one layer and one position"):
            attention(gpt2, None, PROMPT, [0, 1])

    def test_a_model_of_ones_own(self):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(16, 16)

            def forward(self, state):
                return state + self.linear(state)

        class Own(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed, self.blocks = nn.Embedding(50, 16), nn.ModuleList([Block(), Block()])
                self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 50)

            def forward(self, input_ids):
                state = self.embed(input_ids)
                for block in self.blocks:
                    state = block(state)
                return SimpleNamespace(logits=self.head(self.norm(state)))

        with pytest.raises(LensError, match="returns no attention weights"):
            attention(Own(), None, [1, 2, 3], 0)


class TestKept:
    @pytest.mark.parametrize("kind", ["json", "safetensors"])
    @pytest.mark.parametrize("wanted", [True, "heads"])
    def test_files(self, tmp_path, kind, wanted):
        lens = kept(wanted)
        lens.save(tmp_path / f"lens.{kind}")
        again = LensResult.load(tmp_path / f"lens.{kind}")
        assert again == lens
        assert np.array_equal(again.attention(1, 3).weights, lens.attention(1, 3).weights)
        assert again.attended.has_heads == (wanted == "heads")

    @pytest.mark.parametrize(
        "change",
        [
            {"weights": "AAAA"},
            {"weights": 5},
            {"heads": [4]},
            {"heads": [0, 0, 0]},
            {"layers": ["0"]},
            {"tokens": ["a"]},
            {"has_heads": None},
            {"has_heads": True},
        ],
    )
    def test_damaged(self, change):
        data = kept().to_dict()
        data["attended"] |= change
        with pytest.raises(LensError):
            LensResult.from_dict(data)

    def test_a_frame_a_table_and_a_line(self, gpt2):
        found = attention(gpt2, None, PROMPT, 1)
        frame = found.to_frame()
        assert list(frame.columns) == ["position", "token", "weight", "head 0", "head 1", "head 2", "head 3"]
        assert np.allclose(frame["weight"], frame[[f"head {each}" for each in range(4)]].mean(axis=1), atol=1e-6)
        assert frame["weight"].sum() == pytest.approx(1, abs=1e-5)
        assert repr(found).startswith("<Attention of layer 1, the mean over heads, at position 9: 0.")
        html = found._repr_html_()
        assert "Attention of layer 1, the mean over heads, at position 9" in html
        assert f"{found.weights[0]:.3f}" in html
        assert found.top(1)[0][2] == found.weights.max()
        assert not found.weights.flags.writeable


class TestViewer:
    """What a page shows of weights that are made by hand: each position takes most from the one before it."""

    def lens(self, has_heads=False, columns=4, **changes):
        weights = np.full((2, 2, columns, columns), 0.02, np.float16)
        for place in range(columns):
            weights[0, 0, place, place - 1] = 0.81
        weights[:, 1, :, 0] = 0.64
        kept = weights if has_heads else weights[:, :1]
        texts = ["a", " b", "c\n", "é"] * columns
        attended = Attended(("0", "1"), np.array([2, 2]), texts[:columns], kept, has_heads)
        return made(columns=columns, **{"attended": attended} | changes)

    @pytest.fixture
    def viewer(self, opening):
        return lambda results, **options: opening(page(results), **options)[0]

    def shares(self, shown):
        return shown.locator(".heads:not(.foot) .head.position").evaluate_all(
            "all => all.map((each) => each.style.getPropertyValue('--a'))"
        )

    def test_the_headings_are_shaded_by_what_the_chosen_cell_reads(self, viewer):
        shown = viewer([self.lens()])
        shown.locator(".cell[data-layer='0'][data-position='2']").click()
        expect(shown.locator(".head.position.read")).to_have_count(4)
        assert [round(float(each), 2) for each in self.shares(shown)] == [0.02, 0.81, 0.02, 0.02]
        title = shown.locator(".head.position").nth(1).get_attribute("title")
        assert title == "position 1: ␣b\n81 % of the attention of layer 0 at position 2"
        lines = shown.locator(".reads li")
        assert lines.first.text_content() == "1␣b81 %"
        expect(shown.get_by_label("Head", exact=True)).to_be_hidden()
        expect(shown.locator(".pane .legend")).to_contain_text("shade and bar of a heading")
        shown.locator(".cell[data-layer='embed'][data-position='2']").click()
        expect(shown.locator(".head.position.read")).to_have_count(0)
        expect(shown.locator(".reads")).to_be_hidden()
        assert shown.locator(".head.position").nth(1).get_attribute("title") == "position 1: ␣b"

    def test_a_head_is_chosen(self, viewer):
        shown = viewer([self.lens(has_heads=True)])
        shown.locator(".cell[data-layer='0'][data-position='2']").click()
        assert [round(float(each), 2) for each in self.shares(shown)] == [0.33, 0.42, 0.02, 0.02]
        shown.get_by_label("Head", exact=True).focus()
        shown.get_by_label("Head", exact=True).select_option("head 1")
        expect(shown.locator(".reads li").first).to_have_text("0a64 %")
        assert [round(float(each), 2) for each in self.shares(shown)] == [0.64, 0.02, 0.02, 0.02]
        assert shown.get_by_label("Head", exact=True).evaluate("each => each === document.activeElement")

    def test_layers_across_and_a_second_lens_without(self, viewer):
        shown = viewer([self.lens(), self.lens(decoder="other", attended=None)])
        panes = shown.locator(".pane")
        expect(panes.nth(0).locator(".head.read")).to_have_count(4)
        expect(panes.nth(1).locator(".head.read")).to_have_count(0)
        shown.locator("summary", has_text="View").click()
        shown.get_by_label("layers across").check()
        expect(panes.nth(0).locator(".head.position.read")).to_have_count(4)

    def test_forced_colours_and_a_picture(self, viewer):
        shown = viewer([self.lens()])
        shown.locator("summary", has_text="Export").click()
        with shown.expect_download() as found:
            shown.get_by_role("button", name="Download SVG").click()
        assert found.value.path().read_text(encoding="utf-8").count('opacity="0.') == 4
        shown.emulate_media(forced_colors="active")
        drawn = shown.locator(".head.read").first.evaluate("each => getComputedStyle(each).backgroundImage")
        assert drawn.startswith("linear-gradient")

    def test_a_page_holds_a_byte_for_each_or_says_that_it_does_not(self, monkeypatch):
        assert unpacked(page([self.lens()]))["attention"].size == 2 * 4 * 4
        assert unpacked(page([self.lens(has_heads=True)]))["attention"].size == 2 * 2 * 4 * 4
        monkeypatch.setattr("bauklens.show.attention_payload.MOST", 2 * 4 * 4)
        assert unpacked(page([self.lens(has_heads=True)]))["attention"].size == 2 * 4 * 4
        monkeypatch.setattr("bauklens.show.attention_payload.MOST", 31)
        html = page([self.lens()])
        assert "attention" not in unpacked(html)
        assert '"attention":{"layers":[]' in html

    def test_codes(self):
        weights = np.linspace(0, 1, 1001, dtype=np.float16)
        again = (coded(weights) / 255.0) ** 2
        assert np.abs(again - weights).max() < 0.004
        assert coded(np.array([0.0005]))[0] > 0


def test_public_names():
    assert {"attention", "Attention"} <= set(bauklens.__all__)

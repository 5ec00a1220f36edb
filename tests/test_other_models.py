"""Models that are not a plain causal language model: encoder-decoders, classifiers, own code, padding, idle blocks."""

import copy
import inspect
import io
import re

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
    T5Model,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

import bauklens
from bauklens.model.encoder_decoder import missing_start
from bauklens.model.reads import require_source
from bauklens.show.sources import source_of
from bauklens.show.terminal import print_position
from tests import encoder_decoders, image_text
from tests.tiny import randomised, tiny_model

IDS = [5, 6, 7, 8, 9, 10, 11]
LABELS = {0: "joy", 1: "anger", 2: "fear"}

BERT = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
    "id2label": LABELS,
}

WHISPER = {
    "vocab_size": 99,
    "d_model": 32,
    **{f"{part}_layers": layers for part, layers in (("encoder", 2), ("decoder", 3))},
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 48 for part in ("encoder", "decoder")},
    "num_mel_bins": 8,
    "max_source_positions": 16,
    "max_target_positions": 32,
    "decoder_start_token_id": 1,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}


def probabilities_of(lens, row):
    """(position, vocabulary), of a lens that keeps all tokens."""
    found = np.zeros((len(lens.tokens), lens.topk))
    np.put_along_axis(found, lens.top_ids[row], lens.top_probs[row], axis=-1)
    return found


def rows_by_hand(model, blocks, tail, **given):
    """(layer, position, vocabulary): hooks on the blocks, then the model's own tail."""
    states = []
    hooks = [
        block.register_forward_hook(
            lambda _module, _inputs, output: states.append(output[0] if isinstance(output, tuple) else output)
        )
        for block in blocks
    ]
    with torch.no_grad():
        model(**given)
        for hook in hooks:
            hook.remove()
        return np.stack([tail(state)[0].softmax(dim=-1).numpy() for state in states])


@pytest.fixture(scope="module")
def t5(tokenizer):
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=3,
        num_heads=4,
        decoder_start_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    return randomised(T5ForConditionalGeneration(config)).eval()


class TestEncoderDecoders:
    def rows(self, t5, source, written):
        decoder = t5.decoder
        scale = t5.model_dim**-0.5 if t5.config.tie_word_embeddings else 1

        def tail(state):
            return t5.lm_head(decoder.final_layer_norm(state) * scale)

        return rows_by_hand(
            t5, decoder.block, tail, input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([written])
        )

    def test_columns_are_what_the_decoder_has_written(self, t5, tokenizer):
        source = tokenizer("the city")["input_ids"]
        written = [0, *tokenizer("of the sea")["input_ids"]]
        lens = bauklens.logit_lens(t5, tokenizer, "the city", text_target="of the sea", topk=len(tokenizer))
        assert lens.token_ids.tolist() == written
        assert lens.prompt == "the city"
        for row, expected in enumerate(self.rows(t5, source, written)):
            assert np.abs(probabilities_of(lens, row + 1) - expected).max() < 1e-5

    def test_the_page_and_the_terminal_show_the_source(self, t5, tokenizer):
        source = "the <b>city</b> \x1b[31m " + "of the sea " * 30
        lens = bauklens.logit_lens(t5, tokenizer, source, text_target="of the sea", topk=1)
        cut = "the <b>city</b> ⟨U+001B⟩[31m of the sea"
        html = lens.to_html()
        assert f"; source: <bdi>{cut.replace('<', '&lt;').replace('>', '&gt;')}" in html
        assert re.search("<title>the .*…</title>", html)
        ((_, caption),) = re.findall(r'("caption":)"([^"]*)"', html)
        assert "; source: the \\u003cb\\u003ecity" in caption
        assert caption.endswith(("of\\u2026", "the\\u2026", "sea\\u2026"))
        written = io.StringIO()
        print_position(lens, 1, Console(file=written))
        assert written.getvalue().splitlines()[1].startswith(f"source: {cut}")
        again = bauklens.LensResult.from_dict(lens.to_dict())
        assert source_of(again) == source_of(lens)

    def test_only_an_encoder_has_a_source(self):
        assert "source:" not in bauklens.logit_lens(tiny_model("gpt2"), None, IDS, topk=1).to_html().split("<script")[0]

    def test_several_texts_are_not_one_target(self, t5, tokenizer):
        with pytest.raises(bauklens.LensError, match="text_target must be one text, or its ids"):
            bauklens.logit_lens(t5, tokenizer, ["the city", "the sea"], text_target=["of the", "of the"])

    def test_the_prompt_is_the_source_however_it_is_given(self, t5, tokenizer):
        ids = tokenizer("the city")["input_ids"]
        given = {
            "input_ids": torch.tensor([[0, 0, *ids]]),
            "attention_mask": torch.tensor([[0, 0] + [1] * len(ids)]),
            "decoder_input_ids": torch.tensor([[0, 7]]),
        }
        assert bauklens.logit_lens(t5, tokenizer, given).prompt == "the city"
        assert bauklens.logit_lens(t5, tokenizer, ids, text_target="of").prompt == "the city"

    def test_nothing_written_yet_is_the_token_that_it_starts_with(self, t5, tokenizer):
        assert bauklens.logit_lens(t5, tokenizer, "the city").token_ids.tolist() == [0]

    def test_ids_and_the_output_of_a_tokenizer(self, t5, tokenizer):
        given = tokenizer("the city", return_tensors="pt")
        by_ids = bauklens.logit_lens(t5, None, given["input_ids"], text_target=[0, 7, 8])
        by_mapping = bauklens.logit_lens(t5, None, {**given, "decoder_input_ids": torch.tensor([[0, 7, 8]])})
        by_keyword = bauklens.logit_lens(t5, None, given["input_ids"], decoder_input_ids=[[0, 7, 8]])
        assert np.array_equal(by_ids.top_probs, by_mapping.top_probs)
        assert np.array_equal(by_ids.top_probs, by_keyword.top_probs)

    def test_generated_text_is_what_the_last_row_says(self, t5, tokenizer):
        lens = bauklens.logit_lens(t5, tokenizer, "the city", max_new_tokens=5)
        assert lens.generated_from == 1
        assert lens.token_ids[1:].tolist() == lens.top_ids[-1, : len(lens.tokens) - 1, 0].tolist()

    def test_other_sources_give_other_rows(self, t5, tokenizer):
        one, other = bauklens.logit_lens(t5, tokenizer, ["the city", "the sea"], text_target="of the")
        assert not np.allclose(one.top_probs[1:], other.top_probs[1:])

    def test_deltas(self, t5, tokenizer):
        lens = bauklens.logit_lens(t5, tokenizer, "the city", text_target="of the", stream="delta")
        assert lens.layers == ("0", "1", "2")

    @pytest.mark.parametrize("stream", ["attention", "mlp", "mid"])
    def test_blocks_that_look_at_a_source_have_a_third_sublayer(self, t5, tokenizer, stream):
        with pytest.raises(bauklens.LensError, match="a third sublayer, which looks at the source"):
            bauklens.logit_lens(t5, tokenizer, "the city", text_target="of the", stream=stream)

    def test_there_are_no_decoders_of_them_yet(self, t5):
        with pytest.raises(bauklens.LensError, match="is an encoder-decoder, whose lens needs a source"):
            bauklens.fit_decoder(t5, None, [IDS * 20] * 4, method="ridge", tokens=100)

    def test_deltas_add_up_at_the_scale_of_the_final_state(self, t5):
        hidden, deltas = bauklens.logit_lens(
            t5, None, torch.tensor([IDS]), text_target=[0, 7, 8], stream=["hidden", "delta"], norm="final", targets=[9]
        )
        logits = hidden.targets[0].logit
        assert np.allclose(logits[0] + deltas.targets[0].logit.sum(axis=0), logits[-1], atol=1e-4)

    def test_a_source_with_padding_is_read_with_its_mask(self, t5):
        plain = bauklens.logit_lens(t5, None, {"input_ids": torch.tensor([IDS])}, text_target=[0, 7])
        padded = {"input_ids": torch.tensor([[*IDS, 0, 0]]), "attention_mask": torch.tensor([[1] * len(IDS) + [0, 0]])}
        assert np.allclose(
            bauklens.logit_lens(t5, None, padded, text_target=[0, 7]).top_probs, plain.top_probs, atol=1e-6
        )

    def test_a_mask_of_the_source_is_not_the_decoders(self, t5):
        source, written = list(range(5, 17)), [0, *range(20, 31)]
        mask = torch.tensor([[1] * 7 + [0] * 5])
        given = {"input_ids": torch.tensor([source]), "attention_mask": mask}
        lens = bauklens.logit_lens(t5, None, given, text_target=written, topk=t5.config.vocab_size)
        for row, expected in enumerate(self.rows(t5, source[:7], written)):
            assert np.abs(probabilities_of(lens, row + 1) - expected).max() < 1e-5

    def test_padding_of_the_decoder_is_left_out(self, t5):
        given = {
            "input_ids": torch.tensor([IDS]),
            "decoder_input_ids": torch.tensor([[0, *range(20, 30), 0, 0]]),
            "decoder_attention_mask": torch.tensor([[1] * 11 + [0, 0]]),
        }
        plain = bauklens.logit_lens(t5, None, torch.tensor([IDS]), text_target=[0, *range(20, 30)])
        lens = bauklens.logit_lens(t5, None, given)
        assert lens.token_ids.tolist() == plain.token_ids.tolist()
        assert np.allclose(lens.top_probs, plain.top_probs, atol=1e-6)

    def test_a_source_that_fails_does_not_change_how_the_next_is_read(self):
        config = T5Config(
            vocab_size=99, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=3, num_heads=4,
            decoder_start_token_id=0,
        )  # fmt: skip
        torch.manual_seed(0)
        model = randomised(T5ForConditionalGeneration(config)).eval()

        def fail(*_):
            raise ValueError("the encoder fails")

        hook = model.encoder.register_forward_pre_hook(fail)
        with pytest.raises(ValueError, match="the encoder fails"):
            bauklens.logit_lens(model, None, torch.tensor([[5, 98]]), text_target=[0, 7, 8])
        hook.remove()
        with pytest.raises(bauklens.LensError, match="token id 99 is not in the model's vocabulary of 99"):
            bauklens.logit_lens(model, None, torch.tensor([[5, 99]]))
        lens = bauklens.logit_lens(model, None, torch.tensor([IDS]), text_target=[0, 7, 8], topk=99)
        for row, expected in enumerate(self.rows(model, IDS, [0, 7, 8])):
            assert np.abs(probabilities_of(lens, row + 1) - expected).max() < 1e-5

    @pytest.mark.parametrize(
        ("written", "message"),
        [
            ([1.5, 2.5], "a list of token ids"),
            ([[0, 1], [0, 2]], "a list of token ids"),
            ({"a": 1}, "a list of token ids"),
            ([0, 10**30], "a list of token ids"),
            ([True, False], "a list of token ids"),
        ],
    )
    def test_what_was_written_is_a_text_or_ids(self, t5, written, message):
        with pytest.raises(bauklens.LensError, match=message):
            bauklens.logit_lens(t5, None, torch.tensor([IDS]), text_target=written)

    def test_what_was_written_is_given_once(self, t5):
        source = torch.tensor([IDS])
        with pytest.raises(bauklens.LensError, match="both give what the decoder has written"):
            bauklens.logit_lens(t5, None, source, text_target=[0, 7], decoder_input_ids=[[0, 8]])
        with pytest.raises(bauklens.LensError, match="labels are not used"):
            bauklens.logit_lens(t5, None, {"input_ids": source, "labels": source})

    def test_one_without_an_encoder_has_no_text_target(self):
        with pytest.raises(bauklens.LensError, match="text_target is what the decoder of an encoder-decoder"):
            bauklens.logit_lens(tiny_model("gpt2"), None, IDS, text_target=[1, 2])

    def test_sound(self):
        config = WhisperConfig(**WHISPER)
        torch.manual_seed(0)
        model = randomised(WhisperForConditionalGeneration(config)).eval()
        sound = torch.randn(1, 8, 32)
        written = [1, 30, 31, 32]
        lens = bauklens.logit_lens(model, None, None, input_features=sound, text_target=written, topk=99)
        decoder = model.model.decoder
        expected = rows_by_hand(
            model, decoder.layers, lambda state: model.proj_out(decoder.layer_norm(state)),
            input_features=sound, decoder_input_ids=torch.tensor([written]),
        )  # fmt: skip
        for row, each in enumerate(expected):
            assert np.abs(probabilities_of(lens, row + 1) - each).max() < 1e-5

    def test_a_sound_is_missing(self):
        model = randomised(WhisperForConditionalGeneration(WhisperConfig(**WHISPER))).eval()
        need = "pass audio= and the processor in the tokenizer's place, or input_features= as the processor returns it"
        with pytest.raises(bauklens.LensError, match=f"reads a sound, but none is given: {need}"):
            bauklens.logit_lens(model, None, None, text_target=[1, 30])
        with pytest.raises(bauklens.LensError, match=f"reads a sound and no text, but a text is given: {need}"):
            bauklens.logit_lens(model, None, IDS)

    @pytest.mark.parametrize("name", sorted(encoder_decoders.SPOKEN))
    def test_a_sound_that_is_given_is_not_missing(self, name):
        model, given = encoder_decoders.build(name), encoder_decoders.inputs_of(name)
        require_source(model, given)
        if "input_ids" not in inspect.signature(model.forward).parameters:
            with pytest.raises(bauklens.LensError, match="reads a sound"):
                require_source(model, {})

    def test_ids_without_the_token_that_the_decoder_starts_with(self, t5, tokenizer):
        start = tokenizer.convert_ids_to_tokens(0)
        said = f"What the decoder has written lacks {start} (token 0), with which it starts every text: put that first"
        for given in ({"text_target": [7, 8]}, {"decoder_input_ids": [[7, 8]]}):
            (note,) = bauklens.logit_lens(t5, tokenizer, "the city", **given).notes
            assert note.startswith(said)
        for given in ({"text_target": [0, 7]}, {"text_target": "of"}, {}):
            assert bauklens.logit_lens(t5, tokenizer, "the city", **given).notes == ()
        (note,) = bauklens.logit_lens(t5, None, IDS, text_target=[7]).notes
        assert note.startswith("What the decoder has written lacks token 0, with which")

    @pytest.mark.slow
    @pytest.mark.parametrize("name", sorted(set(encoder_decoders.SPECS) - encoder_decoders.DECODER_ONLY))
    def test_the_token_that_a_decoder_of_any_type_starts_with_is_known_or_not_missed(self, name):
        model = encoder_decoders.build(name)
        start = getattr(model.config, "decoder_start_token_id", None)
        assert missing_start(model, encoder_decoders.TARGET) in (
            None,
            start,
            model.generation_config.decoder_start_token_id,
        )
        if start is not None:
            assert missing_start(model, [start, *encoder_decoders.TARGET]) is None

    def test_a_decoder_that_starts_with_the_language(self):
        """mBART's ids begin with a language, though its configuration names another token"""
        model = encoder_decoders.build("mbart")
        model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = 2
        assert bauklens.logit_lens(model, None, IDS, text_target=[9, 8]).notes == ()

    def test_a_configuration_that_lost_what_it_is(self, t5):
        config = copy.deepcopy(t5.config)
        model = T5ForConditionalGeneration(config).eval()
        config.is_encoder_decoder = False
        said = "T5ForConditionalGeneration is an encoder-decoder, but its configuration has is_encoder_decoder=False"
        with pytest.raises(bauklens.LensError, match=f"{said}, .*: set model.config.is_encoder_decoder = True"):
            bauklens.logit_lens(model, None, IDS)
        config.is_encoder_decoder = True
        assert bauklens.logit_lens(model, None, IDS).token_ids.tolist() == [0]

    def test_an_encoder_only(self, t5):
        named = r"T5ForConditionalGeneration \(AutoModelForSeq2SeqLM\) or T5ForTokenClassification"
        for kind in (T5EncoderModel, T5Model):
            with pytest.raises(bauklens.LensError, match=f"{kind.__name__} has no head: load it with {named}"):
                bauklens.logit_lens(kind(copy.deepcopy(t5.config)).eval(), None, IDS)

    def test_no_source(self, t5):
        with pytest.raises(bauklens.LensError, match="needs a source to read"):
            bauklens.logit_lens(t5, None, None, text_target=[0, 7])


class TestClassifiers:
    def test_a_label_for_a_whole_text_read_at_its_last_token(self):
        config = GPT2Config(
            vocab_size=99,
            n_positions=32,
            n_embd=32,
            n_layer=3,
            n_head=4,
            id2label=LABELS,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
        model = randomised(GPT2ForSequenceClassification(config)).eval()
        lens = bauklens.logit_lens(model, None, IDS, topk=3)
        expected = rows_by_hand(
            model,
            model.transformer.h,
            lambda state: model.score(model.transformer.ln_f(state)),
            input_ids=torch.tensor([IDS]),
        )
        for row, each in enumerate(expected):
            assert np.abs(probabilities_of(lens, row + 1) - each).max() < 1e-5
        with torch.no_grad():
            own = model(input_ids=torch.tensor([IDS])).logits[0].softmax(dim=-1).numpy()
        assert np.abs(probabilities_of(lens, -1)[-1] - own).max() < 1e-6
        assert lens.check["only_position"] == len(IDS) - 1
        assert "at position 6, the only one it returns" in lens.checked
        assert lens.predicts == "labels"
        assert set(lens.vocabulary.values()) == set(LABELS.values())
        assert lens.tokens[0] == "<5>"

    def test_one_without_a_padding_token_reads_one_text_at_a_time(self):
        config = GPT2Config(
            vocab_size=99, n_positions=32, n_embd=32, n_layer=2, n_head=4, id2label=LABELS, pad_token_id=None
        )
        model = randomised(GPT2ForSequenceClassification(config)).eval()
        assert bauklens.logit_lens(model, None, IDS).check["only_position"] == len(IDS) - 1

    @pytest.fixture
    def bert(self):
        config = BertConfig(**BERT)
        torch.manual_seed(0)
        return randomised(BertForSequenceClassification(config)).eval()

    def test_a_label_read_at_the_first_token(self, bert):
        lens = bauklens.logit_lens(bert, None, IDS, topk=3, targets=["fear"])
        expected = rows_by_hand(
            bert,
            bert.bert.encoder.layer,
            lambda state: bert.classifier(bert.bert.pooler(state))[None],
            input_ids=torch.tensor([IDS]),
        )
        for row, each in enumerate(expected):
            assert np.abs(probabilities_of(lens, row + 1)[0] - each[0]).max() < 1e-5
            assert abs(lens.target("fear").probability[row + 1, 0] - each[0, 2]) < 1e-5
        assert lens.check["only_position"] == 0
        assert any("first position only" in note for note in lens.notes)

    def test_what_is_looked_at_first_is_the_position_that_is_read(self, bert):
        lens = bauklens.logit_lens(bert, None, IDS, targets=["fear"])
        assert lens.main_position == 0
        assert lens.first_layer("fear", rank=2) == lens.first_layer("fear", rank=2, position=0)
        assert lens.column_of(None) == 0
        assert "position 0" in lens.plot(kind="trajectory").axes[0].get_title()
        assert '"mainPosition":0' in lens.to_html()
        assert bauklens.logit_lens(bert, None, IDS, positions=[3, 4]).main_position == 4

    @pytest.mark.parametrize("seed", range(12))
    def test_one_label_has_a_score(self, seed):
        torch.manual_seed(seed)
        model = randomised(BertForSequenceClassification(BertConfig(**BERT | {"id2label": {0: "score"}}))).eval()
        lens = bauklens.logit_lens(model, None, IDS)
        with torch.no_grad():
            score = float(model(input_ids=torch.tensor([IDS])).logits)
        assert lens.measures["max_logit"][-1, 0] == pytest.approx(score, abs=1e-5)
        assert any("has only one label" in note for note in lens.notes)

    def test_what_is_not_about_labels_is_left_out(self, bert):
        lens = bauklens.logit_lens(bert, None, IDS, measures="all")
        assert {"entropy", "kl", "js"} <= set(lens.measures)
        assert not {"surprisal", "rank_of_next"} & set(lens.measures)

    def test_the_position_that_is_read_need_not_be_shown(self, bert):
        lens = bauklens.logit_lens(bert, None, IDS, positions=[3, 4])
        assert lens.check["max_abs_logit_difference"] < 1e-5
        assert lens.check["cells"] == 0

    def test_there_are_no_decoders_of_labels(self, bert):
        with pytest.raises(bauklens.LensError, match="fitting needs a model that predicts the next token"):
            bauklens.fit_decoder(bert, None, [IDS * 4] * 4, method="ridge", tokens=100)

    @pytest.mark.parametrize("before", [[5], [5, 0, 0, 0, 0, 0, 0, 0]], ids=["one token", "padding"])
    def test_a_prompt_that_does_not_tell_first_from_last_decides_nothing(self, bert, before):
        plain = bauklens.logit_lens(bert, None, IDS)
        torch.manual_seed(0)
        other = randomised(BertForSequenceClassification(BertConfig(**BERT))).eval()
        _, lens = bauklens.logit_lens(other, None, [before, IDS])
        assert lens.check["only_position"] == 0
        assert np.allclose(lens.top_probs, plain.top_probs, atol=1e-6)

    def test_padding_alone_is_read_where_the_model_reads_it(self):
        config = GPT2Config(
            vocab_size=99, n_positions=32, n_embd=32, n_layer=2, n_head=4, id2label=LABELS, pad_token_id=0
        )
        model = randomised(GPT2ForSequenceClassification(config)).eval()
        for ids, read in (([0] * 10, 0), ([*IDS, 0, 0], 6), ([5] * 12 + [0], 11)):
            assert bauklens.logit_lens(model, None, ids).check["only_position"] == read

    def test_the_nearest_labels_are_no_more_than_there_are(self, bert):
        nearest = bauklens.nearest_tokens(bert, None, IDS)
        assert nearest.top_ids.shape == (len(IDS), 3)
        assert nearest.vocabulary == LABELS
        assert nearest.tokens[0] == "<5>"
        with pytest.raises(bauklens.LensError, match="k is 0"):
            bauklens.nearest_tokens(bert, None, IDS, 0)
        sizes = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "pad_token_id": 0}
        model = GPT2ForSequenceClassification(GPT2Config(**sizes, id2label=LABELS)).eval()
        assert dict(bauklens.top_neurons(model, None, IDS, layer=0, position=0).vocabulary) == LABELS

    def test_one_without_a_head(self):
        named = r"BertLMHeadModel \(AutoModelForCausalLM\), BertForSequenceClassification .* or BertForT"
        with pytest.raises(bauklens.LensError, match=f"BertModel has no head: load it with {named}"):
            bauklens.logit_lens(BertModel(BertConfig(**BERT)).eval(), None, IDS)

    def test_an_unknown_label(self, bert):
        with pytest.raises(
            bauklens.LensError, match="'hope' is not a label of this model: pass one of joy, anger, fear"
        ):
            bauklens.logit_lens(bert, None, IDS, targets=["hope"])

    def test_a_number_of_no_label(self, bert):
        with pytest.raises(bauklens.LensError, match="the target 7 is not a label: the model has 3, from 0 on"):
            bauklens.logit_lens(bert, None, IDS, targets=[7])

    def test_a_label_for_each_token(self):
        config = BertConfig(**BERT)
        torch.manual_seed(0)
        model = randomised(BertForTokenClassification(config)).eval()
        lens = bauklens.logit_lens(model, None, IDS, topk=3)
        for row, each in enumerate(
            rows_by_hand(model, model.bert.encoder.layer, model.classifier, input_ids=torch.tensor([IDS]))
        ):
            assert np.abs(probabilities_of(lens, row + 1) - each).max() < 1e-5
        assert "only_position" not in lens.check

    def test_a_file_says_that_it_is_of_labels(self, bert, tmp_path):
        lens = bauklens.logit_lens(bert, None, IDS)
        for name in ("lens.json", "lens.safetensors"):
            lens.save(tmp_path / name)
            assert bauklens.LensResult.load(tmp_path / name) == lens


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x):
        return x + self.down(self.up(self.ln(x)).relu()) + 0.3 * x.cumsum(dim=1)


class Own(nn.Module):
    """A language model in the manner of nanoGPT: it knows nothing of transformers."""

    def __init__(self, returned, last=False):
        super().__init__()
        self.wte, self.h = nn.Embedding(99, 32), nn.ModuleList(Block() for _ in range(3))
        self.ln_f, self.lm_head = nn.LayerNorm(32), nn.Linear(32, 99, bias=False)
        self.returned, self.last = returned, last

    def forward(self, idx, targets=None):
        x = self.wte(idx)
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x[:, [-1]] if self.last else x))
        return self.returned(logits)


def own_model(returned, last=False):
    torch.manual_seed(0)
    return Own(returned, last).eval()


class TestOwnCode:
    def expected(self, model):
        return rows_by_hand(model, model.h, lambda state: model.lm_head(model.ln_f(state)), idx=torch.tensor([IDS]))

    @pytest.mark.parametrize(
        ("returned", "logits"),
        [
            (lambda logits: (logits, None), lambda output: output[0]),
            (lambda logits: {"out": logits, "loss": None}, lambda output: output["out"]),
            (lambda logits: logits, lambda output: output),
            (lambda logits: {"logits": logits}, None),
        ],
        ids=["tuple", "other key", "tensor", "dict"],
    )
    @pytest.mark.parametrize("last", [False, True])
    def test_every_row(self, returned, logits, last):
        model = own_model(returned, last)
        if last and logits is None:
            pytest.skip("the last logits alone need logits=, which the next test shows")
        lens = bauklens.logit_lens(model, None, IDS, topk=99, logits=logits)
        for row, each in enumerate(self.expected(own_model(returned))):
            assert np.abs(probabilities_of(lens, row + 1) - each).max() < 1e-5

    def test_what_is_not_called_logits_has_to_be_pointed_out(self):
        with pytest.raises(
            bauklens.LensError, match=r"a tuple in which nothing is called logits: .* logits=lambda output: output\[0\]"
        ):
            bauklens.logit_lens(own_model(lambda logits: (logits, None)), None, IDS)

    def test_logits_of_the_last_position_are_read_at_others_only_on_request(self):
        model = own_model(lambda logits: {"logits": logits}, last=True)
        with pytest.raises(bauklens.LensError, match="the logits of only one of 7 positions"):
            bauklens.logit_lens(model, None, IDS)
        lens = bauklens.logit_lens(model, None, IDS, logits=lambda output: output["logits"])
        assert lens.check["only_position"] == len(IDS) - 1

    def test_a_prompt_that_is_longer_than_its_table_of_positions(self):
        model = own_model(lambda logits: {"logits": logits})
        model.places = nn.Embedding(12, 32)
        forward = model.forward
        model.forward = lambda idx: forward(idx) if model.places(torch.arange(idx.shape[1])).any() else None
        with pytest.raises(bauklens.LensError, match="does not run on this prompt of 14 tokens: index out of range"):
            bauklens.logit_lens(model, None, IDS * 2)

    def test_a_function_that_fails(self):
        with pytest.raises(bauklens.LensError, match="logits= fails on the output of Own: IndexError"):
            bauklens.logit_lens(own_model(lambda logits: (logits,)), None, IDS, logits=lambda output: output[4])

    def test_logits_is_a_function(self):
        with pytest.raises(bauklens.LensError, match="logits must be a function"):
            bauklens.logit_lens(own_model(lambda logits: (logits,)), None, IDS, logits=0)


class TestPadding:
    @pytest.mark.parametrize("kind", ["gpt2", "llama"])
    @pytest.mark.parametrize(
        ("ids", "mask"), [([0, 0, *IDS], [0, 0] + [1] * 7), ([*IDS, 0, 0], [1] * 7 + [0, 0])], ids=["left", "right"]
    )
    def test_a_padded_prompt_is_read_as_one_without_padding(self, kind, ids, mask):
        model = tiny_model(kind)
        plain = bauklens.logit_lens(model, None, IDS)
        padded = bauklens.logit_lens(model, None, ids, attention_mask=torch.tensor([mask]))
        assert padded.token_ids.tolist() == IDS
        assert np.array_equal(padded.top_probs, plain.top_probs)

    def test_a_batch_is_a_list_of_prompts(self, tokenizer):
        model = tiny_model("gpt2")
        texts = ["the city of the sea", "the city"]
        ids = [tokenizer(text)["input_ids"] for text in texts]
        padding = [[0] * (len(ids[0]) - len(each)) for each in ids]
        batch = {
            "input_ids": torch.tensor([before + each for before, each in zip(padding, ids, strict=True)]),
            "attention_mask": torch.tensor(
                [before + [1] * len(each) for before, each in zip(padding, ids, strict=True)]
            ),
        }
        for lens, text in zip(bauklens.logit_lens(model, tokenizer, batch), texts, strict=True):
            assert lens.prompt == text
            assert np.allclose(lens.top_probs, bauklens.logit_lens(model, tokenizer, text).top_probs, atol=1e-6)

    def test_labels_of_a_loss_are_not_read(self):
        ids = torch.tensor([[*IDS, 0]])
        given = {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": ids}
        plain = bauklens.logit_lens(tiny_model("gpt2"), None, IDS)
        assert np.array_equal(bauklens.logit_lens(tiny_model("gpt2"), None, given).top_probs, plain.top_probs)

    def test_a_cache_is_refused(self):
        model = tiny_model("llama")
        cache = model(torch.tensor([IDS]), use_cache=True).past_key_values
        with pytest.raises(bauklens.LensError, match="past_key_values holds the cache of an earlier run"):
            bauklens.logit_lens(model, None, {"input_ids": torch.tensor([[8, 9]]), "past_key_values": cache})

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"attention_mask": "1"}, "attention_mask is a str"),
            ({"attention_mask": 1}, "attention_mask is a int"),
            ({"position_ids": -torch.arange(7)[None]}, "does not run with only input_ids, position_ids"),
            ({"attention_mask": torch.tensor(1)}, r"has shape \(\)"),
        ],
    )
    def test_inputs_that_make_no_sense(self, given, message):
        model = tiny_model("gpt2")
        bauklens.logit_lens(model, None, {"input_ids": torch.tensor([IDS]), "position_ids": torch.arange(7)[None]})
        with pytest.raises(bauklens.LensError, match=message):
            bauklens.logit_lens(model, None, {"input_ids": torch.tensor([IDS]), **given})

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            ([1, 0, 1, 1, 1, 1, 1], "masks positions in the middle"),
            ([0] * 7, "masks all positions"),
            ([1] * 6, r"has shape \(1, 6\), but the ids have shape \(1, 7\)"),
        ],
    )
    def test_masks_that_make_no_sense(self, mask, message):
        with pytest.raises(bauklens.LensError, match=message):
            bauklens.logit_lens(tiny_model("gpt2"), None, IDS, attention_mask=torch.tensor([mask]))


class TestImagesThatAreMissing:
    def test_placeholders_without_an_image(self):
        model = image_text.build("llava")
        ids = image_text.inputs_of("llava")["input_ids"]
        with pytest.raises(bauklens.LensError, match=r"image placeholders .* but no image is given"):
            bauklens.logit_lens(model, None, ids)

    @pytest.mark.parametrize("kind", ["gpt2", "llama"])
    def test_a_model_that_reads_no_images(self, kind):
        with pytest.raises(bauklens.LensError, match="does not read pixel_values"):
            bauklens.logit_lens(tiny_model(kind), None, IDS, pixel_values=torch.zeros(1, 3, 8, 8))

    @pytest.mark.parametrize("name", ["qwen2_5_vl", "llava_next"])
    def test_sizes_alone_are_no_image(self, name):
        model, given = image_text.build(name), image_text.inputs_of(name)
        with pytest.raises(bauklens.LensError, match=r"image placeholders .* but no image is given"):
            bauklens.logit_lens(model, None, {key: value for key, value in given.items() if key != "pixel_values"})

    def test_keywords_go_with_each_prompt_of_a_list(self):
        model, given = image_text.build("llava"), image_text.inputs_of("llava")
        ids = {"input_ids": given["input_ids"]}
        alone = bauklens.logit_lens(model, None, given)
        for lens in bauklens.logit_lens(model, None, [ids, ids], pixel_values=given["pixel_values"]):
            assert np.array_equal(lens.top_probs, alone.top_probs)

    def test_a_model_that_cannot_run_on_text(self):
        model = image_text.build("blip-2")
        with pytest.raises(
            bauklens.LensError, match=r"does not run with only input_ids: .*; pass what else its forward needs"
        ):
            bauklens.logit_lens(model, None, IDS)


class TestPromptsOfSeveralKinds:
    def test_each_is_read_as_by_itself(self):
        model = image_text.build("mllama")
        with_image = image_text.inputs_of("mllama")
        lenses = bauklens.logit_lens(model, None, [IDS, with_image, IDS])
        assert [lens.layers for lens in lenses] == [("embed", "0", "2"), ("embed", "0", "1", "2"), ("embed", "0", "2")]
        for lens, prompt in zip(lenses, [IDS, with_image, IDS], strict=True):
            apart = np.abs(lens.top_probs - bauklens.logit_lens(model, None, prompt).top_probs).max()
            assert apart < 1e-6  # a batch may be multiplied in another order

    def test_a_word_cannot_follow_a_text_that_is_read_both_ways(self):
        model, given = image_text.build("paligemma"), image_text.inputs_of("paligemma")
        last = given["input_ids"].shape[1] - 1
        with pytest.raises(bauklens.LensError, match="depends on what comes later"):
            bauklens.logit_lens(model, Letters(), given, targets=["ab"], positions=[last - 1])

    def test_a_word_of_several_tokens_cannot_follow_half_an_image(self):
        model, given = image_text.build("llava"), image_text.inputs_of("llava")
        last = given["input_ids"].shape[1] - 1
        with pytest.raises(bauklens.LensError, match="this prompt cannot be cut off"):
            bauklens.logit_lens(model, Letters(), given, targets=["ab"])
        lens = bauklens.logit_lens(model, Letters(), given, targets=["ab"], positions=[last])
        assert 0 < lens.targets[0].probability[-1, 0] < 1


class Letters:
    """A tokenizer of single letters."""

    def encode(self, text):
        return [ord(each) - ord("a") + 5 for each in text]

    def decode(self, ids):
        return "".join(chr(each - 5 + ord("a")) for each in ids)


class Skipping(Own):
    """Its second block runs only if the first id is odd."""

    def forward(self, idx):
        x = self.wte(idx)
        for number, block in enumerate(self.h):
            x = block(x) if number != 1 or idx[0, 0] % 2 else x
        return {"logits": self.lm_head(self.ln_f(x))}


class TestIdleBlocks:
    def test_blocks_that_run_on_some_prompts_only(self):
        torch.manual_seed(0)
        model = Skipping(None).eval()
        assert bauklens.logit_lens(model, None, [6, 7, 8]).layers == ("embed", "0", "2")
        assert bauklens.logit_lens(model, None, [5, 7, 8]).layers == ("embed", "0", "1", "2")

    def test_no_block_runs_unseen_in_a_list_of_prompts(self):
        torch.manual_seed(0)
        with pytest.raises(bauklens.LensError, match="prompt 2: this prompt runs a block of Skipping that did not"):
            bauklens.logit_lens(Skipping(None).eval(), None, [[6, 7, 8], [5, 7, 8]])

    def test_blocks_that_do_not_run_are_named(self):
        lens = bauklens.logit_lens(image_text.build("mllama"), None, IDS)
        assert lens.layers == ("embed", "0", "2")
        assert "Block 1 of model.language_model.layers did not run on this prompt, so it has no row." in lens.notes

    def test_their_rows_cannot_be_asked_for(self):
        with pytest.raises(
            bauklens.LensError, match=r"block 1 did not run on this prompt, so it has no row: .* 'embed', 0, 2"
        ):
            bauklens.logit_lens(image_text.build("mllama"), None, IDS, layers=[1])

    def test_with_an_image_they_run(self):
        model, given = image_text.build("mllama"), image_text.inputs_of("mllama")
        bauklens.logit_lens(model, None, IDS)  # what was found on text is not taken for granted
        assert bauklens.logit_lens(model, None, given).layers == ("embed", "0", "1", "2")

    @pytest.mark.parametrize("image_first", [False, True])
    def test_each_of_a_list_has_the_rows_that_ran(self, image_first):
        model, given = image_text.build("mllama"), image_text.inputs_of("mllama")
        prompts = [given, IDS] if image_first else [IDS, given]
        for prompt, lens in zip(prompts, bauklens.logit_lens(model, None, prompts), strict=True):
            alone = bauklens.logit_lens(model, None, prompt)
            assert (lens.layers, lens.notes) == (alone.layers, alone.notes)
            assert np.array_equal(lens.top_probs, alone.top_probs)


class TestWholeWordsBesideImages:
    class Numbers:
        """A tokenizer whose texts are ids."""

        def encode(self, text):
            return [int(each) for each in text.split()]

        def decode(self, ids):
            return " ".join(map(str, ids))

    def test_before_an_image_the_prompt_cannot_be_cut_off(self):
        model, given = image_text.build("llava"), image_text.inputs_of("llava")
        with pytest.raises(bauklens.LensError, match=r"at position 0 .* words='first', or positions=slice\(7, None\)"):
            bauklens.logit_lens(model, self.Numbers(), given, targets=["20 21"])

    def test_after_it(self):
        model, given = image_text.build("llava"), image_text.inputs_of("llava")
        with torch.no_grad():
            model.lm_head.weight *= 0.05  # so that no probability is close to 0
            own = model(**given).logits[0].softmax(-1)
            target = bauklens.logit_lens(model, self.Numbers(), given, targets=["20 21"], positions=slice(7, None))
            for column, position in enumerate(range(7, given["input_ids"].shape[1])):
                ids = torch.cat([given["input_ids"][:, : position + 1], torch.tensor([[20]])], dim=1)
                then = model(input_ids=ids, pixel_values=given["pixel_values"]).logits[0, -1].softmax(-1)
                expected = float(own[position, 20] * then[21])
                assert abs(target.targets[0].probability[-1, column] / expected - 1) < 1e-3

"""Texts and chats: special tokens around them, chat templates, and ids that a model or tokenizer does not know."""

import pytest
import torch
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

import bauklens
from bauklens.errors import LensError
from bauklens.model.generation import chat_text
from bauklens.model.prompt_notes import prompt_notes
from tests.tiny import PROMPT, VOCABULARY, tiny_tokenizer

ROLES = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}"
)
TOOLS = (
    "{% for t in tools or [] %}[{{ t['function']['name'] }}]{% endfor %}"
    "{% for d in documents or [] %}({{ d['text'] }}){% endfor %}"
)
PARTS = (
    "{% for m in messages %}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<img>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{{ eos_token }}"
    "{% endfor %}"
)
CHAT = [{"role": "user", "content": "the city"}]
BEGUN = [*CHAT, {"role": "assistant", "content": "is in"}]


def tokenizer_with(*, bos=False, eos=False, template=None):
    """The tiny tokenizer with two of its letters as special tokens, which it may write around every text."""
    inner = type(tiny_tokenizer().backend_tokenizer).from_str(tiny_tokenizer().backend_tokenizer.to_str())
    ids = {name: inner.token_to_id(piece) for name, piece in (("!", "!"), ("?", "?"))}
    single = ("! " if bos else "") + "$A" + (" ?" if eos else "")
    if bos or eos:
        inner.post_processor = processors.TemplateProcessing(single=single, special_tokens=list(ids.items()))
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="!", eos_token="?")
    made.chat_template = template
    return made


BOS, EOS = (tiny_tokenizer().convert_tokens_to_ids(piece) for piece in "!?")


class TestSpecialTokens:
    def test_one_of_each_text_is_as_it_should_be(self, gpt2):
        lens = bauklens.logit_lens(gpt2, tokenizer_with(bos=True), "the city")
        assert lens.token_ids[0] == BOS
        assert lens.notes == ()

    def test_a_chat_as_text_begins_twice(self, gpt2):
        tokenizer = tokenizer_with(bos=True, template=ROLES)
        text = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
        lens = bauklens.logit_lens(gpt2, tokenizer, text)
        assert lens.token_ids[:2].tolist() == [BOS, BOS]
        assert lens.token_ids.tolist() == tokenizer(text)["input_ids"]  # nothing is changed
        (note,) = lens.notes
        assert note == (
            "The prompt begins with ! twice, because the text has it and the tokenizer adds it: pass the text without "
            "it, or a chat as messages."
        )
        assert bauklens.logit_lens(gpt2, tokenizer, messages=CHAT).notes == ()

    def test_ids_begin_twice(self, gpt2):
        lens = bauklens.logit_lens(gpt2, tokenizer_with(bos=True), [BOS, BOS, *PROMPT])
        assert lens.notes == ("The prompt begins with ! twice: it is usually there once.",)
        gpt2.config.bos_token_id = 5
        assert bauklens.logit_lens(gpt2, None, [5, 5, 5, *PROMPT]).notes == (
            "The prompt begins with token 5 3 times: it is usually there once.",
        )
        assert bauklens.logit_lens(gpt2, None, [5, *PROMPT]).notes == ()

    def test_each_prompt_of_a_list_has_its_own(self, gpt2):
        one, two = bauklens.logit_lens(gpt2, tokenizer_with(bos=True), ["the city", "!the city"])
        assert (one.notes, len(two.notes)) == ((), 1)

    def test_several_tokens_may_begin_a_text(self):
        tokenizer = tokenizer_with(bos=True)
        pair = processors.TemplateProcessing(single="? ! $A", special_tokens=[("!", BOS), ("?", EOS)])
        tokenizer.backend_tokenizer.post_processor = pair
        ids = tokenizer("?!the city")["input_ids"]
        (note,) = prompt_notes(tokenizer, ids, begins=None, is_text=True)
        assert note.startswith("The prompt begins with ?! twice, because")

    def test_the_end_of_a_text_is_said(self, gpt2):
        tokenizer = tokenizer_with(eos=True)
        lens = bauklens.logit_lens(gpt2, tokenizer, "the city")
        assert lens.token_ids[-1] == EOS
        assert lens.notes == (
            "The tokenizer ends the prompt with ?, so the model reads a finished text: to see how it would go on, "
            "pass token ids without it.",
        )
        ids = tokenizer("the city")["input_ids"]
        assert bauklens.logit_lens(gpt2, tokenizer, ids).notes[0].startswith("The prompt ends with ?")
        assert bauklens.logit_lens(gpt2, tokenizer, ids[:-1]).notes == ()

    def test_comparisons_say_whose_it_is(self, gpt2):
        from tests.tiny import tiny_model

        compared = bauklens.compare_models(gpt2, tiny_model("gpt2", seed=1), tokenizer_with(bos=True), "!the city")
        assert compared.one.notes == compared.other.notes != ()

    def test_the_text_with_no_words(self, gpt2):
        lens = bauklens.logit_lens(gpt2, tokenizer_with(bos=True), "")
        assert lens.token_ids.tolist() == [BOS]
        assert (lens.prompt, lens.notes) == ("", ())
        with pytest.raises(LensError, match="the prompt is empty: pass at least one token"):
            bauklens.logit_lens(gpt2, tokenizer_with(), "")

    def test_a_tokenizer_that_fails_has_none(self):
        class Odd:
            bos_token_id = "none"

            def __call__(self, *_, **__):
                raise RuntimeError

            def convert_ids_to_tokens(self, _):
                raise RuntimeError

        assert prompt_notes(Odd(), [1, 1], begins=1, is_text=True) == []


class TestChats:
    def test_an_answer_that_is_begun_is_gone_on_with(self, gpt2):
        tokenizer = tokenizer_with(bos=True, template=ROLES)
        lens = bauklens.logit_lens(gpt2, tokenizer, messages=BEGUN)
        assert lens.prompt == "".join(lens.tokens) == "!<|user|>the city?<|assistant|>is in"
        (note,) = lens.notes
        assert "the model continues it" in note
        again = bauklens.logit_lens(gpt2, tokenizer, messages=BEGUN, template={"continue_final_message": True})
        assert (again.prompt, again.notes) == (lens.prompt, ())  # as it was asked for

    def test_it_is_closed_if_asked(self, gpt2):
        tokenizer = tokenizer_with(template=ROLES)
        lens = bauklens.logit_lens(gpt2, tokenizer, messages=BEGUN, template={"continue_final_message": False})
        assert lens.prompt == "!<|user|>the city?<|assistant|>is in?<|assistant|>"
        assert lens.notes == ()
        done = bauklens.logit_lens(gpt2, tokenizer, messages=BEGUN, template={"add_generation_prompt": False})
        assert done.prompt == "!<|user|>the city?<|assistant|>is in?"

    def test_a_template_that_leaves_it_out_says_how_to_close_it(self, gpt2):
        tokenizer = tokenizer_with(template="{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}")
        with pytest.raises(LensError, match=r'pass template=\{"continue_final_message": False\}$'):
            bauklens.logit_lens(gpt2, tokenizer, messages=BEGUN)
        closed = {"continue_final_message": False}
        assert bauklens.logit_lens(gpt2, tokenizer, messages=BEGUN, template=closed).prompt == "the city"

    def test_a_call_of_a_tool_is_not_gone_on_with(self):
        call = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]}
        text = chat_text(tokenizer_with(template=ROLES), [*CHAT, call])
        assert text.endswith("?<|assistant|>")

    def test_switches_are_passed_on(self, gpt2):
        tokenizer = tokenizer_with(template=ROLES)
        lens = bauklens.logit_lens(gpt2, tokenizer, messages=CHAT, template={"enable_thinking": False})
        assert lens.prompt.endswith("<|assistant|><think></think>")
        assert lens.provenance["arguments"]["template"] == {"enable_thinking": False}
        assert bauklens.LensResult.from_dict(lens.to_dict()) == lens

    def test_tools_and_documents(self, gpt2):
        def weather(city: str) -> str:
            """The weather of a city.

            Args:
                city: its name.
            """
            return city

        switches = {"tools": [weather], "documents": [{"title": "a", "text": "the sea"}]}
        lens = bauklens.logit_lens(gpt2, tokenizer_with(template=TOOLS), messages=CHAT, template=switches)
        assert lens.prompt == "[weather](the sea)"
        told = lens.provenance["arguments"]["template"]
        assert told["tools"][0].endswith("weather")
        assert told["documents"] == ({"title": "a", "text": "the sea"},)
        lens.to_json()

    def test_contents_may_be_parts(self):
        tokenizer = tokenizer_with(template=PARTS)
        asked = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is it"}]}
        assert chat_text(tokenizer, [asked]) == "<img>what is it?"
        begun = {"role": "assistant", "content": [{"type": "text", "text": "a"}]}
        assert chat_text(tokenizer, [asked, begun]) == "<img>what is it?a"

    @pytest.mark.parametrize(
        ("template", "message"),
        [
            (7, r'template must be a mapping, such as \{"enable_thinking": False\}; got 7'),
            ({1: 2}, "template must be a mapping"),
            ({"tokenize": True}, "template cannot set 'tokenize': a lens needs the chat as text"),
            ({"tools": [7]}, r"does not accept these messages with template=\{'tools': \[7\]\}: "),
            ({"continue_final_message": True, "add_generation_prompt": True}, "does not accept these messages with"),
            ({"chat_template": "{% for %}"}, "does not accept these messages with template="),
        ],
    )
    def test_bad_switches(self, gpt2, template, message):
        with pytest.raises(LensError, match=message) as error:
            bauklens.logit_lens(gpt2, tokenizer_with(template=ROLES), messages=BEGUN, template=template)
        assert "\n" not in str(error.value)

    def test_switches_without_a_chat(self, gpt2):
        with pytest.raises(LensError, match=r"template is for a chat: pass messages=\[...\] with it"):
            bauklens.logit_lens(gpt2, tokenizer_with(), "the city", template={"enable_thinking": False})


class TestUnknownIds:
    def test_a_token_that_the_model_lacks_is_named(self, gpt2):
        tokenizer = tokenizer_with()
        tokenizer.add_tokens([f"<new{number}>" for number in range(len(tokenizer), VOCABULARY + 1)])
        known = f"the <new{VOCABULARY - 1}> city"
        assert f"<new{VOCABULARY - 1}>" in bauklens.logit_lens(gpt2, tokenizer, known).tokens
        message = f"token id {VOCABULARY} is not in the model's vocabulary of 320: it is '<new320>', which the"
        with pytest.raises(LensError, match=message):
            bauklens.logit_lens(gpt2, tokenizer, f"the <new{VOCABULARY}> city")

    def test_once_it_is_resized_it_runs(self, gpt2):
        tokenizer = tokenizer_with()
        tokenizer.add_tokens(["<new>"])
        gpt2.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        assert "<new>" in bauklens.logit_lens(gpt2, tokenizer, "the <new> city").tokens

    def test_a_head_that_is_wider_than_the_tokenizer(self, gpt2):
        gpt2.resize_token_embeddings(VOCABULARY + 64, mean_resizing=False)
        with torch.no_grad():
            gpt2.transformer.wte.weight[VOCABULARY + 9] = gpt2.transformer.wte.weight[PROMPT[0]] * 50
        lens = bauklens.logit_lens(gpt2, tokenizer_with(), PROMPT, topk=VOCABULARY + 64)
        assert lens.vocabulary[VOCABULARY + 9] == f"<{VOCABULARY + 9}>"
        assert lens.top_probs[-1].sum(-1) == pytest.approx(1, abs=1e-4)

    def test_a_tokenizer_that_says_so_by_an_error(self):
        from bauklens.result.tokens import token_texts

        class Slow:
            def convert_ids_to_tokens(self, token_id):
                raise IndexError("piece id is out of range.")

        assert token_texts(Slow(), [7]) == {7: "<7>"}

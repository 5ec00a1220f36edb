"""The notes under a table, about its prompt and what the model generated."""

from typing import Any

from torch import nn

from bauklens.lens.options import Options
from bauklens.model.encoder_decoder import missing_start
from bauklens.model.encoding import Prompt
from bauklens.model.generation import chat_notes
from bauklens.model.generation_settings import generation_notes
from bauklens.model.inputs import Inputs, context_length, text_config
from bauklens.model.logits import DECODER_IDS
from bauklens.model.prompt_notes import context_notes, prompt_notes, start_notes


def notes_of(
    model: nn.Module, tokenizer: Any, prompt: Prompt, inputs: Inputs, prompted: int, options: Options
) -> tuple[str, ...]:
    """The notes of a run, as sentences.

    Args:
        prompt: as the caller gave it; for a chat, its ids.
        prompted: how many of the positions are the prompt's.
    """
    begins = getattr(text_config(model), "bos_token_id", None)
    ids = inputs.ids[0, :prompted].tolist()
    is_source = inputs.keyword == DECODER_IDS  # the source keeps its end token, and its ids are not the decoder's
    return (
        *(
            start_notes(tokenizer, missing_start(model, ids))
            if is_source
            else prompt_notes(tokenizer, ids, begins=begins, is_text=isinstance(prompt, str))
        ),
        *(chat_notes(options.messages, options.template) if options.messages is not None else ()),
        *context_notes(context_length(model), inputs.count),
        *(generation_notes(model, options.generate) if inputs.count > prompted else ()),
    )

"""logit_lens(): takes a prompt and returns what the model was about to say after every block."""

import inspect
from collections.abc import Mapping
from typing import Any, overload

from torch import nn
from typing_extensions import Unpack

from bauklens.decoders.chosen import chosen_decoders, is_several
from bauklens.errors import LensError, PromptError
from bauklens.lens.options import OPTIONS, LensOptions, OneTable, Options, SeveralDecoders, SeveralStreams
from bauklens.lens.prompted import is_for_processor
from bauklens.lens.prompts import lenses_of_prompts
from bauklens.model.encoding import Prompt
from bauklens.model.features import batch
from bauklens.model.generation import chat_ids
from bauklens.model.in_hand import brought, in_hand
from bauklens.model.together import together
from bauklens.result.result import LensResult


@overload
def logit_lens(model: nn.Module, tokenizer: Any, prompt: Prompt = ..., **options: Unpack[OneTable]) -> LensResult: ...


@overload
def logit_lens(
    model: nn.Module, tokenizer: Any, prompt: Prompt = ..., **options: Unpack[SeveralDecoders]
) -> list[LensResult]: ...


@overload
def logit_lens(
    model: nn.Module, tokenizer: Any, prompt: Prompt = ..., **options: Unpack[SeveralStreams]
) -> list[LensResult]: ...


@together
def logit_lens(
    model: nn.Module, tokenizer: Any, prompt: Prompt = None, **options: Unpack[LensOptions]
) -> LensResult | list[LensResult]:
    """Decodes the residual stream of a prompt, layer by layer, through the model's own final norm and head.

    The logit lens is due to nostalgebraist ("interpreting GPT: the logit lens", 2020).

    The model stays as it was, and you can call it from another thread in the meantime: the lens runs a copy of its
    modules that shares its weights. A model with your own hooks, or one that cannot be copied (TorchScript), is changed
    while the lens runs and restored afterwards; calls of such a model from another thread in the meantime can give
    wrong results.

    Args:
        model: any transformers model that predicts tokens (multimodal models and encoder-decoders too) or labels, on
            any device or spread over several by accelerate; a model wrapped by torch.compile, DataParallel, PEFT,
            NNsight, TransformerLens, repeng or TRL is unwrapped, and so is a transformers pipeline, which comes with
            its tokenizer.
        tokenizer: its tokenizer; None if the prompt is ids (tokens are then shown as ``<id>``). A processor, a
            ``tokenizers.Tokenizer``, a tiktoken encoding, or any object with ``encode`` and ``decode`` works too.
        prompt: a string, a list of token ids, a 1-D tensor of them, or a mapping of inputs for the model's forward, as
            a tokenizer or a processor returns it (masked positions are left out). A list of prompts, or a mapping that
            holds several, gives a list of results in the same order; prompts of about the same length run together. For
            an encoder-decoder, this is the source.

    Keyword Args:
        stream (str | list[str]): ``"hidden"``, the rows "embed" (before block 0) and the output of every block;
            ``"delta"``, what every block adds; ``"attention"`` and ``"mlp"``, what each of its two sublayers adds,
            after any norm and scale that the block applies to their outputs; ``"mid"``, the stream between the two;
            ``"heads"``, what each attention head adds, in rows such as ``"20.h3"``, and the attention's bias, which
            belongs to no head, in ``"20.bias"``. A list gives a list of results from a single forward pass.
        topk (int): how many tokens to keep in each cell, 1 .. vocabulary.
        layers (int | str | list | None): the rows to decode: numbers of blocks (negative ones count from the last), or
            ``"embed"``; None means all. For heads, a number means all heads of that layer, and ``"20.h3"`` a single
            one. The forward pass stops after the last block that is needed; if that is not the model's last block, the
            result is marked as unchecked, because the check needs the model's logits.
        positions (int | slice | list[int] | None): the positions to decode (negative ones count from the last); None
            means all.
        norm (str | None): what a state goes through before the head. ``"own"``: the model's final norm. ``"final"``:
            the final norm with the scale that it has for the last block's output at that position, and without constant
            terms, so that the logits of "embed" and of all deltas add up (before a soft-cap, if the model has one: each
            row is capped separately). None: no norm; only the head, and whatever else the model does before and after
            it. The dotted name of a module: that module, if what the model's own forward runs between the last block
            and the head is wrong.
        decoder (str | Path | Decoder | Callable | list): maps each state to the final basis before the norm. None or
            ``"logit"``: no map. Otherwise a :class:`bauklens.Decoder`; anything that :func:`bauklens.load_decoder`
            takes (a file, a folder, a hub id, or ``"demo"``); or a function ``(states, layers) -> states`` of states
            (layer, position, hidden) and the labels of their rows. A list gives a list of results from a single forward
            pass. The last block's row is the model's own under every decoder.
        missing (str): what to do with rows that the decoder has no map for: ``"skip"`` leaves them out, ``"plain"``
            shows the states as they are, and marks the rows.
        precision (str): ``"exact"``: the model's own dtype throughout. ``"auto"``: for a float32 model on a CPU that
            multiplies int8 or bfloat16 in hardware, the logits are computed in that format, and the top of each row
            again in float32. Int8 needs numba, and is used once a process has decoded a few thousand rows. A row is
            decoded again in float32 unless its top k is proved to be the same, and its probabilities are estimated to
            be within 1e-3 (:mod:`bauklens.decode.low_head`). The result's provenance records which format was used, and
            how many rows were decoded again.
        chunk_rows (int | None): the most rows to decode at once; by default as many as make 128 MiB of logits, and
            fewer if memory runs out.
        keep_states (bool | None): whether the hidden states of all layers are kept in memory. False decodes each row as
            soon as its block has run, and keeps only the last, so that memory does not grow with the number of layers.
            The model then runs twice, because rows are compared with the last. None, the default, does this if the
            states would take more than 2 GiB. It works for the stream "hidden" in a single process, without
            ``attention`` or ``edit_output``. The table is the same, bit for bit with ``precision="exact"``.
        edit_output (Callable | None): ``fn(output, layer)``, called with each block's output and the block's name; the
            model continues with what it returns (None leaves the output unchanged). The check is against the edited
            model's logits.
        edits (Edit | Edits | None): changes to the states of some layers and positions while the model runs and
            generates, made by :mod:`bauklens.edits`. The check is against the edited model's logits, and
            ``provenance["edits"]`` records the changes.
        blocks (str | None): dotted name of the list of blocks, if the one found by running the model is wrong.
        head (str | None): dotted name of the head, if the one found by running the model is wrong.
        measures (str | list[str] | None): names of :data:`bauklens.MEASURES`, or ``"all"``; by default those that the
            pass over the logits yields at almost no cost. With ``rank_of_next``, as with targets, all rows are decoded
            exactly.
        targets (str | int | list | dict | None): texts and token ids to follow at every layer and position, whether or
            not they are in the top k: their probability, logit and rank, exactly (:class:`bauklens.Target`). A mapping
            ``{"en": [" the", 270], ...}``, which can also be an item of the list, follows named sets of tokens, each by
            the sum of its members' probabilities.
        mass (dict | None): ``{"en": ids, "zh": ids, ...}``, sets of any number of token ids, such as those of
            :func:`bauklens.scripts_of`, whose total probability is kept at every layer and position:
            ``lens.mass["en"]``, and the measure ``"mass:en"``. Sets may overlap. If rows are decoded in int8 or
            bfloat16, the total is accurate to about 0.005; ``precision="exact"`` gives it in float32.
        track (int): the maximum number of tokens whose probability and rank are kept in every cell besides the top k,
            so that they can be pinned in the viewer: the model's own top tokens at every position, the top tokens of
            any layer at the last position, and the tokens of the text (:class:`bauklens.Tracked`). Fewer are kept if
            they would take more than 64 MB in the results of a call. 0 keeps none.
        words (str): for a target of several tokens, ``"whole"``: the probability of all of them, each given those
            before it, which takes one more run of the model per position; ``"first"``: only that of the first. A set
            can contain such a text only with ``"first"``.
        text_target (str | list[int] | None): for an encoder-decoder, what its decoder has written so far, as a text or
            ids; the prompt is the source. None: only the token that it starts with.
        logits (Callable | None): takes what the forward of a custom model returns, and returns its logits, such as
            ``lambda output: output[0]``; None uses the output named ``logits``.
        messages (list[dict] | None): a chat, ``[{"role": "user", "content": "..."}, ...]``, instead of the prompt,
            formatted with the tokenizer's chat template. If the last message is the assistant's, the model continues
            it.
        template (dict | None): options of the chat template, such as ``{"enable_thinking": False}``, ``"tools"`` and
            ``"documents"``, and ``"continue_final_message"`` and ``"add_generation_prompt"``; passed on to
            ``apply_chat_template``.
        images (Any): an image or a list of them, for a model that reads images; ``tokenizer`` is then its processor. An
            image is a file, a PIL image, or an array or tensor of shape (height, width, 3) or (3, height, width), of
            integers 0 .. 255 or numbers 0 .. 1. If a prompt has no placeholder for them, they are put at its beginning,
            which a note mentions.
        audio (Any): an array (sample,), or a WAV file, or a list of them, for a model that takes audio; at the
            processor's sampling rate.
        max_new_tokens (int): the maximum number of tokens to generate after the prompt; they are columns of the table
            like those of the prompt, and ``generated_from`` is the first of them.
        seed (int | None): the random seed, if tokens are sampled.
        attention (bool | str): True keeps which positions each block attends to, as the mean over its heads
            (:meth:`bauklens.LensResult.attention`; the viewer shades the headings with it); ``"heads"`` keeps each
            head. This takes a second run, with eager attention, so that everything else stays the same, bit for bit.
            The weights are float16, 64 MB at most in the results of a call: the mean of 30 layers at 1,000 positions,
            or 9 heads each at 350. For a single cell, use :func:`bauklens.attention`.
        on_error (str): what to do when one prompt of a list fails: ``"raise"`` an error that gives its number, or
            ``"skip"`` it, which leaves None in its place.
        results (str): for a model that is spread over ranks (tensor parallelism), which of them get the results:
            ``"first"`` (the others get None) or ``"all"``.
        **generate_options (Any): tensors and arrays are further inputs to the model's forward, such as ``pixel_values``
            or ``attention_mask``. All others are options of transformers' ``generate``, which is greedy by default.
            ``top_k`` is one of these: it changes which tokens are sampled, whereas ``topk`` is how many the table
            keeps.

    Returns:
        The rows, with the check that the last block's logits, as decoded here, are the model's own.

    Raises:
        LensError: the prompt is empty, or longer than the model can run; an argument is out of range; the model is not
            a causal language model, or has no such stream; a state is NaN or infinite; memory runs out; or the check
            fails.
    """
    asked = Options.of(options)
    processor = tokenizer if tokenizer is not None else brought(model)
    model, tokenizer = in_hand(model, tokenizer)
    prompt = _prompt(tokenizer, prompt, asked)
    decoders = chosen_decoders(asked.decoder)
    several = _is_several(prompt)

    def refuse(number: int, error: LensError) -> None:
        if not several:
            raise error
        if asked.on_error == "raise":
            raise PromptError(number + 1, error) from None

    lenses = lenses_of_prompts(
        model, tokenizer, list(prompt) if several else [prompt], asked, decoders, refuse=refuse, processor=processor
    )
    is_one = isinstance(asked.stream, str) and not is_several(asked.decoder)
    results = [each[0] if each is not None and is_one else each for each in lenses]
    return results if several else results[0]  # type: ignore[return-value]


def signature_with_options(function: Any) -> inspect.Signature:
    """A function's signature with every option of a lens and its default, for editors that inspect it."""
    own = list(inspect.signature(function).parameters.values())
    each = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in OPTIONS.items()
    ]
    rest = inspect.Parameter("generate_options", inspect.Parameter.VAR_KEYWORD)
    return inspect.Signature([*own[:-1], *each, rest])


logit_lens.__signature__ = signature_with_options(logit_lens)  # type: ignore[attr-defined]


def _prompt(tokenizer: Any, prompt: Prompt, options: Options) -> Prompt:
    """The prompt, or the ids of a chat; a batch becomes a list of each prompt's inputs."""
    if options.messages is not None:
        if prompt is not None:
            raise LensError("both a prompt and messages are given: pass one of them")
        return None if is_for_processor(options) else chat_ids(tokenizer, options.messages, options.template)
    if is_for_processor(options):
        if _is_several(prompt):
            raise LensError("images and audio take a single prompt: call logit_lens for each prompt")
        return prompt
    if isinstance(prompt, Mapping) or (options.inputs and getattr(prompt, "ndim", 0) == 2):
        given = {**options.inputs, **(prompt if isinstance(prompt, Mapping) else {"input_ids": prompt})}
        several = batch(given)
        return several if len(several) > 1 else given
    return prompt


def _is_several(prompt: Any) -> bool:
    """Whether this is a list of prompts: of texts, of lists of ids, or of tensors with an axis."""
    if not isinstance(prompt, (list, tuple)):
        return False
    return any(isinstance(each, (str, list, tuple, Mapping)) or getattr(each, "ndim", 0) for each in prompt)

"""Generation: a prompt or a chat -> its ids, followed by those that the model generates."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bauklens.arguments import checked_count, whole_number
from bauklens.errors import LensError
from bauklens.model.generation_settings import unsampled
from bauklens.model.guard import evaluating
from bauklens.model.inputs import ENCODED, Inputs, exceeded_context
from bauklens.model.memory import out_of_memory
from bauklens.model.ranks import ranks_of
from bauklens.model.time_limit import TookTooLongError, within
from bauklens.progress import is_watched, tell
from bauklens.signals import unbroken
from bauklens.text_ids import some_ids_of

_SEEDS = 1 << 62
"""Random seeds to draw from."""

SECONDS = 10
"""How long a chat template may run."""


def chat_ids(tokenizer: Any, messages: Any, template: Mapping[str, Any] | None = None) -> list[int]:
    """The ids of a chat's text; see :func:`chat_text`."""
    return list(some_ids_of(tokenizer, "the chat", chat_text(tokenizer, messages, template), special=False))


def chat_text(tokenizer: Any, messages: Any, template: Mapping[str, Any] | None = None) -> str:
    """A chat, formatted with the tokenizer's chat template, up to where the model's answer begins.

    If the last message is the assistant's, the model continues it, unless ``template`` says otherwise. The text
    contains the special tokens that it needs: the tokenizer must not add any.

    Args:
        tokenizer: one with a chat template.
        messages: ``[{"role": "user", "content": "..."}, ...]``; a content may also be a list of parts.
        template: switches of ``apply_chat_template`` and of the template, such as ``{"enable_thinking": False}``.

    Raises:
        LensError: the tokenizer has no template; the messages do not have this form; the template does not know the
            switches, rejects the messages, or does not finish within 10 seconds.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise LensError(
            "messages need a tokenizer with a chat template: pass a prompt, or the tokenizer of a chat model"
        )
    _require_messages(messages)
    chat, switches = list(messages), _switches(messages, template)
    try:
        text = within(SECONDS, lambda: tokenizer.apply_chat_template(chat, **switches, tokenize=False))
    except TookTooLongError:
        raise LensError(
            f"the tokenizer's chat template did not finish within {SECONDS} seconds: pass a prompt or another tokenizer"
        ) from None
    except Exception as error:  # a template may raise anything
        close = '; to close the last message, pass template={"continue_final_message": False}'
        raise LensError(
            f"the tokenizer's chat template does not accept these messages{_with(template)}: {error!s:.300}"
            f"{close if chat_notes(messages, template) else ''}"
        ) from None
    if not isinstance(text, str):
        raise LensError(f"the tokenizer's chat template returns {type(text).__name__} instead of text{_with(template)}")
    return text


def chat_notes(messages: Any, template: Mapping[str, Any] | None = None) -> list[str]:
    """Notes about how a chat was formatted."""
    if not _switches(messages, template).get("continue_final_message") or "continue_final_message" in (template or {}):
        return []
    return [
        "The last message is the assistant's, so the model continues it: pass "
        'template={"continue_final_message": False} to close it and begin a new answer.'
    ]


def _switches(messages: Any, template: Mapping[str, Any] | None) -> dict[str, Any]:
    """The switches of a chat's template: an assistant's last message is continued, as in transformers' pipelines."""
    given = dict(template or {})
    goes_on = given.get("continue_final_message")
    if goes_on is None and "add_generation_prompt" not in given:
        last = messages[-1]
        goes_on = given["continue_final_message"] = last["role"] == "assistant" and bool(last.get("content"))
    return {"add_generation_prompt": not goes_on} | given


def _with(template: Mapping[str, Any] | None) -> str:
    return f" with template={dict(template)!r:.80}" if template else ""


def continued(
    model: nn.Module,
    tokenizer: Any,
    inputs: Inputs,
    max_new_tokens: int,
    *,
    seed: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Inputs:
    """A prompt followed by what the model generates; greedily, unless the options say otherwise.

    Args:
        inputs: one prompt.
        max_new_tokens: the most tokens to generate; fewer if the model ends its text.
        seed: the random seed if tokens are sampled; the caller's random state is restored afterwards.
        options: options of transformers' ``generate``, such as ``do_sample=True`` and ``temperature=0.7``.

    Raises:
        LensError: the text would be longer than the model's context, or the model cannot generate with these options.
    """
    told = _Told(inputs.count)
    found = _generated(model, tokenizer, inputs, max_new_tokens, seed, options, told)
    if not isinstance(found, torch.Tensor) or found.shape[0] != 1:
        raise LensError("a lens needs a single text: leave out num_return_sequences and return_dict_in_generate")
    told.finish(found)
    return inputs.followed_by(found[0, inputs.count :])


def continued_copies(model: nn.Module, tokenizer: Any, inputs: Inputs, copies: int, count: int) -> list[list[int]]:
    """What a model generates, greedily, after copies of one prompt that run as a batch.

    Args:
        inputs: one prompt, which is token ids only.
        count: the most tokens.

    Returns:
        The ids of each, up to the one that ends the text.

    Raises:
        LensError: see :func:`continued`.
    """
    found = _generated(model, tokenizer, Inputs(inputs.ids.expand(copies, -1)), count, None, None)
    settings = getattr(model, "generation_config", None)
    ends = getattr(settings, "eos_token_id", None)
    known = set(ends) if isinstance(ends, (list, tuple)) else {ends}
    rows: list[list[int]] = found[:, inputs.count :].tolist()
    first = [next((place + 1 for place, each in enumerate(row) if each in known), len(row)) for row in rows]
    return [row[:end] for row, end in zip(rows, first, strict=True)]


def _generated(
    model: nn.Module,
    tokenizer: Any,
    inputs: Inputs,
    max_new_tokens: int,
    seed: int | None,
    options: Mapping[str, Any] | None,
    told: "_Told | None" = None,
) -> Any:
    """(prompt, position), the ids of one prompt, or of copies of it, followed by those that the model generates."""
    count = checked_count("max_new_tokens", max_new_tokens)
    context = exceeded_context(model, inputs.count + count)
    if context is not None:
        raise LensError(
            f"the prompt has {inputs.count:,} tokens and max_new_tokens is {count:,}, but the model's context is "
            f"{context:,}: pass a smaller max_new_tokens"
        )
    if not hasattr(model, "generate"):
        raise LensError(f"{type(model).__name__} cannot generate: pass the finished text as the prompt")
    given = {"do_sample": False, "pad_token_id": _padding(model, tokenizer)} | dict(options or {})
    with_prompt = inputs.keyword == "input_ids"
    if not with_prompt:  # Whisper's own generate leaves the prompt out of a plain tensor
        given["return_dict_in_generate"] = True
    given |= unsampled(model, given)
    if is_watched():
        given["stopping_criteria"] = [*(given.get("stopping_criteria") or ()), told or _Told(inputs.count)]
    with evaluating(model) as own, random_state_kept(inputs.ids.device):
        seed = _drawn_alike(model) if seed is None else whole_number("seed", seed)
        if seed is not None:
            torch.manual_seed(seed)
        try:
            mask = {"attention_mask": torch.ones_like(inputs.ids)} if inputs.keyword == "input_ids" else {}
            beside = {name: value for name, value in inputs.given.items() if name != ENCODED}
            found = own.generate(**{**mask, **beside}, max_new_tokens=count, **given)  # type: ignore[operator]
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            if isinstance(error, LensError) or out_of_memory(error):
                raise
            raise LensError(f"{type(model).__name__} cannot generate with {_said(options)}: {error}") from None
    return found if with_prompt else found.sequences


class _Told:
    """A stopping criterion, called by transformers after every token, that passes new tokens to the watcher.

    Args:
        prompt: how many tokens the prompt has.
    """

    def __init__(self, prompt: int) -> None:
        self._prompt = prompt
        self._last: list[int] = []

    def __call__(self, ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        self._tell(ids)
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    def finish(self, ids: torch.Tensor) -> None:
        """Passes on the finished text if it is another one, as after a beam search."""
        self._tell(ids)

    def _tell(self, ids: torch.Tensor) -> None:
        found = ids[0, self._prompt :].tolist()
        if found != self._last:
            self._last = found
            tell("generated", found)


def _drawn_alike(model: nn.Module) -> int | None:
    """A random seed that is the same on all ranks of a model, which would otherwise draw different tokens; or None."""
    ranks = ranks_of(model)
    if ranks is None:
        return None
    drawn = torch.randint(_SEEDS, (1,), dtype=torch.int64, device="cpu")
    return int(ranks.of_first("generate()", str(int(drawn))))


@unbroken
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Like ``torch.random.fork_rng``, but restores the random state even after an interrupt."""
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    before = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(before)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, device)


def _padding(model: nn.Module, tokenizer: Any) -> int:
    """The padding token for ``generate``: one prompt needs no padding, but ``generate`` warns without a token."""
    known = [getattr(tokenizer, "pad_token_id", None), getattr(getattr(model, "config", None), "pad_token_id", None)]
    return next((each for each in known if isinstance(each, int)), 0)


def _require_messages(messages: Any) -> None:
    right = isinstance(messages, Sequence) and not isinstance(messages, str) and len(messages) > 0
    if not right or not all(isinstance(each, Mapping) and _is_message(each) for each in messages):
        raise LensError(
            f'messages must be a list of at least one {{"role": "user", "content": "..."}}; got {messages!r:.80}'
        )


def _is_message(message: Mapping[str, Any]) -> bool:
    return "role" in message and bool({"content", "tool_calls"} & set(message))


def _said(options: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in (options or {}).items()) or "its own settings"

"""Runs a model's processor on a text or a chat with pictures and sounds."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.generation import chat_text
from bauklens.model.image_files import in_message, pictures_of
from bauklens.model.message_parts import kind_of, kinds_in, parts_of, with_places
from bauklens.model.placeholders import placeholders_of
from bauklens.model.reads import reads_no
from bauklens.model.sound_files import sounds_of

if TYPE_CHECKING:
    from PIL.Image import Image

_MARK = "image_embeds_position_mask"


@dataclass(frozen=True, eq=False)
class Processed:
    """The output of a processor for a text, pictures and sounds.

    Attributes:
        inputs: the inputs of the model's forward, by name.
        text: the processor's input text; None if there was none.
        images: the pictures, in order.
        notes: what was added to the text, as sentences.
    """

    inputs: Mapping[str, Any]
    text: str | None
    images: "tuple[Image, ...]" = ()
    notes: tuple[str, ...] = ()


def processed(
    model: nn.Module,
    processor: Any,
    text: Any,
    *,
    messages: Any = None,
    template: Mapping[str, Any] | None = None,
    images: Any = None,
    audio: Any = None,
) -> Processed:
    """Runs a processor.

    Args:
        model: the model whose forward determines which of the processor's outputs are kept.
        processor: one of transformers, for pictures or sounds.
        text: the prompt; None if the messages or the sound are the prompt, or the model reads no text.
        messages: a chat; pictures in its parts are taken as such.
        template: switches of the chat template.
        images: a picture or several, as :func:`bauklens.model.image_files.picture_of` takes them.
        audio: an array, (sample,), or a WAV file, or several, with the sampling rate of the processor.

    Raises:
        LensError: it is not a processor; the text does not have one place per picture; a picture cannot be read; or
            the processor fails.
    """
    _require_readable(model, messages, images=images is not None, audio=audio is not None)
    kinds = kinds_in(messages)
    needs_images = images is not None or bool({"image", "video"} & kinds)
    _require_processor(processor, images=needs_images, audio=audio is not None or "audio" in kinds)
    if text is not None and not isinstance(text, str):
        raise LensError(
            "images and audio need a text as the prompt: instead of token ids, pass what the processor returns"
        )
    pictures = [] if images is None else pictures_of(images)
    notes: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    if messages is not None:
        messages, pictures, notes = _chat(processor, messages, pictures, sounds=audio is not None)
        text = chat_text(_formatter(processor), messages, template)
        begins = getattr(tokenizer_in(processor), "bos_token", None)
        if begins and text.startswith(begins):  # the template already wrote it
            options["add_special_tokens"] = False
    run = _running(processor, pictures, audio, options)
    token, count = _token(processor), len(pictures)
    found = text.count(token) if token and text else 0
    if text is not None and pictures and token and not found:
        inputs, added = _placed(model, run, text, token, processor, count)
        text, notes = added, (notes if added == text else (*notes, _said(token, count)))
    else:
        if pictures and token and text is not None and found != count:
            write = f", or write {token} {count} times" if count > 1 else f", or write {token} once"
            raise LensError(
                f"the text has {_counted(found, token)}, but {_given(count)}: pass one image for each{write}"
            )
        inputs = run(text)
    return Processed(_of_forward(model, inputs), text, tuple(pictures), notes)


def tokenizer_in(processor: Any) -> Any:
    """The tokenizer that a processor holds; anything else as it is."""
    return getattr(processor, "tokenizer", processor)


def _chat(
    processor: Any, messages: Any, images: "list[Image]", *, sounds: bool
) -> "tuple[Any, list[Image], tuple[str, ...]]":
    """A chat whose parts only mark the places of pictures, the pictures, and notes.

    Args:
        sounds: whether sounds are given beside the messages.
    """
    if not isinstance(messages, Sequence) or not all(isinstance(each, Mapping) for each in messages) or not messages:
        raise LensError(
            f'messages must be a list of at least one {{"role": "user", "content": [...]}}; got {messages!r:.80}'
        )
    places, held, chat = 0, [], []
    for message, parts in zip(messages, parts_of(messages), strict=False):
        plain = []
        for part in parts:
            kind = kind_of(part)
            if kind == "video":
                raise LensError(
                    "the messages contain a video, but only images and sounds are supported: pass what the processor "
                    "returns for the chat as the prompt"
                )
            if kind == "audio" and not sounds:
                raise LensError(
                    "the messages contain a sound, but sounds are read only from audio=: pass a WAV file there"
                )
            if kind == "audio":
                part = {"type": "audio"}
            if kind == "image":
                places += 1
                picture = in_message(part, f"image {places}")
                held += [] if picture is None else [picture]
                part = {"type": "image"}
            plain.append(part)
        chat.append({**message, "content": plain} if parts else message)
    if held and images:
        raise LensError("images are given both in the messages and in images=: use only one of the two")
    if held and len(held) != places:
        hold = "one of them holds its image" if len(held) == 1 else f"{len(held)} of them hold their image"
        raise LensError(
            f"{places} parts of the messages are images, but only {hold}: put an image into each part, as in "
            '{"type": "image", "image": FILE}, or pass all of them in images='
        )
    images = held or images
    if images and not places:
        return (
            with_places(chat, len(images)),
            images,
            (_said(_token(processor) or "image", len(images), "the first user's message"),),
        )
    if places != len(images):
        have = "one image part" if places == 1 else f"{places} image parts"
        raise LensError(f"the messages have {have}, but {_given(len(images))}: pass one image for each")
    return chat, images, ()


def _placed(
    model: nn.Module,
    run: Callable[[str | None], Mapping[str, Any]],
    text: str,
    token: str,
    processor: Any,
    count: int,
) -> tuple[Mapping[str, Any], str]:
    """The inputs for a text without places for pictures, and the text with the places that were added.

    Some processors add a place themselves.
    """
    try:
        inputs = run(text)
        if _is_placed(model, inputs):
            return inputs, f"{token * count}{text}"
    except LensError:
        pass
    begin, end = (getattr(processor, f"vision_{name}_token", None) for name in ("start", "end"))
    placed = f"{begin}{token}{end}" if isinstance(begin, str) and isinstance(end, str) else token
    text = placed * count + text
    return run(text), text


def _is_placed(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    """Whether some positions are marked as those of pictures, if the model marks them."""
    ids, fills = inputs.get("input_ids"), placeholders_of(model)
    if _MARK in inputs or not fills or not isinstance(ids, torch.Tensor):
        return True
    return bool(torch.isin(ids, torch.tensor(sorted(fills), dtype=ids.dtype, device=ids.device)).any())


def _running(
    processor: Any, pictures: "list[Image]", audio: Any, options: dict[str, Any]
) -> Callable[[str | None], Mapping[str, Any]]:
    """Runs a processor on a text, and raises a LensError if it fails."""
    given: dict[str, Any] = {**options}
    if pictures:
        given["images"] = list(pictures)
    if audio is not None:
        taken = inspect.signature(type(processor).__call__).parameters
        rate = getattr(getattr(processor, "feature_extractor", processor), "sampling_rate", None)
        given["audios" if "audios" in taken and "audio" not in taken else "audio"] = sounds_of(audio, rate)
        given |= {} if rate is None else {"sampling_rate": rate}

    def run(text: str | None) -> Mapping[str, Any]:
        texts = {} if text is None else {"text": text}
        try:
            return dict(processor(**texts, **given, return_tensors="pt"))
        except Exception as error:  # each processor has its own checks, and none has all of them
            said = " ".join(str(error).split())
            raise LensError(f"{type(processor).__name__} fails: {type(error).__name__}: {said:.300}") from None

    return run


def _of_forward(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of a processor that are inputs of a model's forward; labels are not."""
    taken = inspect.signature(type(model).forward).parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
    return {
        name: value
        for name, value in inputs.items()
        if name != "labels" and (name in taken or (takes_any and isinstance(value, torch.Tensor)))
    }


def _require_readable(model: nn.Module, messages: Any, *, images: bool, audio: bool) -> None:
    """Refuses images and sounds for a model that does not read them."""
    kinds = kinds_in(messages)
    name = type(model).__name__
    if (images or "image" in kinds) and reads_no("images", model):
        given = "images=" if images else "the images in the messages"
        raise LensError(
            f"{name} does not read images: leave {given} out, or load a model that does (AutoModelForImageTextToText)"
        )
    if (audio or "audio" in kinds) and reads_no("sounds", model):
        given = "audio=" if audio else "the sounds in the messages"
        raise LensError(f"{name} does not read sounds: leave {given} out, or load a model that does")


def _require_processor(processor: Any, *, images: bool, audio: bool) -> None:
    holds = [
        *(("image_processor",) if images else ()),
        *(("feature_extractor", "audio_processor") if audio else ()),
    ]
    if callable(processor) and any(hasattr(processor, name) for name in holds):
        return
    needed = "images need a processor that takes them" if images else "audio needs a processor that takes it"
    raise LensError(
        f"{needed}, in the tokenizer's place, as AutoProcessor.from_pretrained "
        f"returns; got {'None' if processor is None else f'a {type(processor).__name__}'}"
    )


def _token(processor: Any) -> str | None:
    """The placeholder of a picture in a text for the processor."""
    token = getattr(processor, "image_token", None)
    token = getattr(token, "content", token)
    return token if isinstance(token, str) and token else None


def _formatter(processor: Any) -> Any:
    """The object with the chat template: the processor, or else its tokenizer.

    Raises:
        LensError: neither has one.
    """
    holder = processor if getattr(processor, "chat_template", None) else tokenizer_in(processor)
    if not getattr(holder, "chat_template", None):
        token = _token(processor)
        places = f", with {token} for each image" if token else ""
        raise LensError(
            f"{type(processor).__name__} has no chat template, which messages need: pass a text as the prompt{places}, "
            "or the processor of a chat model"
        )
    return holder


def _counted(count: int, token: str) -> str:
    return f"one {token}" if count == 1 else f"{token} {count} times"


def _given(count: int) -> str:
    return {0: "no image is given", 1: "one image is given"}.get(count, f"{count} images are given")


def _said(token: str, count: int, where: str = "the text") -> str:
    times, image = ("", "image") if count == 1 else (f" {count} times", "images")
    return f"The prompt had no place for its {image}, so {token} was added{times} at the beginning of {where}."

"""A prompt, and what is known of it before the model runs."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from bauklens.edits.bound import Bound, acting, bound
from bauklens.edits.edit import edits_in
from bauklens.edits.setting import Setting
from bauklens.errors import LensError
from bauklens.lens.notes import notes_of
from bauklens.lens.options import Options
from bauklens.lens.pictures import pictures_in
from bauklens.model.encoding import Prompt, encode
from bauklens.model.generation import continued
from bauklens.model.inputs import Inputs
from bauklens.model.layout import nearest_modules
from bauklens.model.message_parts import has_pictures
from bauklens.model.processed import processed
from bauklens.model.resolving import resolve
from bauklens.result.pictures import Picture
from bauklens.vocabulary import NORMS


@dataclass(frozen=True, eq=False)
class Prompted:
    """A prompt, and what is known of it before the model runs.

    Attributes:
        inputs: what the model is given: the prompt, and what was generated after it.
        own: how many of the positions are the prompt's.
        pictures: those that the prompt holds.
        notes: what a reader should know of it, as sentences.
        text: what a processor was given as text, if one ran.
        bound: the edits that act on it, if any.
    """

    inputs: Inputs
    own: int
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    text: str | None = None
    bound: Bound | None = None


def prompted(model: nn.Module, tokenizer: Any, prompt: Prompt, options: Options, processor: Any = None) -> Prompted:
    """A prompt, and what is generated after it.

    Args:
        processor: what makes inputs of images and sounds, if the options have any.
    """
    made = None
    if is_for_processor(options):
        if options.inputs:
            beside = next(iter(options.inputs))
            raise LensError(
                f"a processor makes the inputs for images and audio, but {beside} is given as well: leave it out, or "
                "pass what the processor returns as the prompt"
            )
        made = processed(
            model,
            processor,
            prompt,
            messages=options.messages,
            template=options.template,
            images=options.images,
            audio=options.audio,
        )
        prompt = made.inputs
    inputs = encode(model, tokenizer, prompt, written=options.text_target, extra=options.inputs, logits=options.logits)
    own = inputs.count
    pictures = pictures_in(model, inputs, tokenizer, processor, None if made is None else made.images)
    edited = _bound(model, tokenizer, inputs, options)
    if options.max_new_tokens:
        with acting(model, edited) as running:
            inputs = continued(
                running, tokenizer, inputs, options.max_new_tokens, seed=options.seed, options=options.generate
            )
    notes = notes_of(model, tokenizer, prompt, inputs, own, options)
    if made is None:
        return Prompted(inputs, own, pictures, notes, bound=edited)
    return Prompted(inputs, own, pictures, (*made.notes, *notes), made.text, edited)


def _bound(model: nn.Module, tokenizer: Any, inputs: Inputs, options: Options) -> Bound | None:
    """The edits that the options ask for, bound to a prompt; None without edits."""
    if options.edits is None:
        return None
    anatomy = resolve(model, inputs, blocks=options.blocks, norm=named_norm(model, options.norm), head=options.head)
    return bound(edits_in(options.edits), Setting(model, tokenizer, anatomy, inputs))


def is_for_processor(options: Options) -> bool:
    """Whether a prompt has pictures or sounds that a processor has to read."""
    return options.images is not None or options.audio is not None or has_pictures(options.messages)


def named_norm(model: nn.Module, norm: str | None) -> str | None:
    """The norm if it names a module, and is not one of the three kinds."""
    if norm in NORMS:
        return None
    if norm not in dict(model.named_modules()):
        near = "".join(f", {each!r}" for each in nearest_modules(model, norm))
        raise LensError(f"unknown norm {norm!r}: pass 'own', 'final' or None, or the name of a module{near}")
    return norm

"""The options that several commands have."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from bauklens.lens.options import OPTIONS
from bauklens.vocabulary import LOOKS, MISSING, NORMS, ON_ERROR, PRECISIONS, STREAMS, WORDS

Command = TypeVar("Command", bound=Callable[..., Any])


def model_options(command: Command) -> Command:
    """The options of every command that loads a model."""
    options = [
        click.option(
            "--model",
            default="demo",
            show_default=True,
            help="Hub id, folder (of a model, or of an adapter of PEFT), .gguf file, or demo.",
            shell_complete=_models,
        ),
        click.option("--device", help="For example cpu or cuda:0; by default CUDA if available, else the CPU."),
        click.option(
            "--device-map", help="For example auto: spread the model over devices and offload it, with accelerate."
        ),
        click.option("--dtype", default="auto", show_default=True, help="auto, float32, float16 or bfloat16."),
        click.option("--revision", help="Branch, tag or commit on the hub."),
        click.option("--subfolder", help="The folder within --model that holds the model, such as checkpoint-10."),
        click.option(
            "--base", help="The model that an adapter is for, if it is not at the place that the adapter names."
        ),
        click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _models(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Completions for --model: folders and files, and the models on this machine."""
    from bauklens.model.caches import cached_models

    known = [name for name in ["demo", *cached_models()] if name.startswith(begun)]
    return [CompletionItem(begun, type="file"), *map(CompletionItem, known)]  # bash drops what comes before it


def lens_options(command: Command) -> Command:
    """The options of every command that shows lenses."""
    look = click.option(
        "--look",
        default=LOOKS[0],
        show_default=True,
        type=click.Choice(LOOKS),
        help="default: background by probability. classic: by magnitude.",
    )
    return reading_options(look(command))


def reading_options(command: Command) -> Command:
    """The options of every command that makes lenses."""
    options = [
        click.option(
            "--stream",
            default=OPTIONS["stream"],
            show_default=True,
            type=click.Choice(list(STREAMS)),
            help="The state after a block, what the block, its attention, MLP or heads add, or the state between.",
        ),
        click.option(
            "--topk",
            default=OPTIONS["topk"],
            show_default=True,
            type=click.IntRange(min=1),
            help="Tokens to keep per cell.",
        ),
        click.option(
            "--norm",
            default=OPTIONS["norm"],
            show_default=True,
            type=click.Choice([str(name).lower() for name in NORMS]),
            help="The final norm before the unembedding: own, final (at the final state's scale) or none.",
        ),
        click.option(
            "--decoder",
            "decoders",
            multiple=True,
            metavar="NAME",
            help="The map for states before the unembedding: logit, demo, a file, a folder or a hub id; repeatable.",
        ),
        click.option(
            "--missing",
            default=OPTIONS["missing"],
            show_default=True,
            type=click.Choice(MISSING),
            help="Rows that a decoder has no map for: leave them out, or show them plain, marked with *.",
        ),
        click.option("--force-decoder", is_flag=True, help="Use decoders that were made for another model."),
        click.option(
            "--precision",
            default=OPTIONS["precision"],
            show_default=True,
            type=click.Choice(PRECISIONS),
            help="auto: bfloat16 if faster, top k proved, the rest estimated to 0.001. exact: the model's own dtype.",
        ),
        click.option(
            "--measure",
            "measures",
            multiple=True,
            help="A measure to compute for every cell, or all; repeatable. By default most of them.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def target_options(command: Command) -> Command:
    """The options of commands that follow tokens, and keep others for pinning."""
    track = click.option(
        "--track",
        default=OPTIONS["track"],
        show_default=True,
        type=int,
        help="The most tokens whose rank and probability are kept in every cell, for pinning in the viewer; 0: none.",
    )
    return followed_options(track(command))


def followed_options(command: Command) -> Command:
    """The options of commands that follow tokens."""
    words = "For a target of several tokens: the probability of all of them, or only of the first."
    command = click.option(
        "--words", default=OPTIONS["words"], show_default=True, type=click.Choice(WORDS), help=words
    )(command)
    command = click.option(
        "--target-set",
        "target_sets",
        multiple=True,
        metavar="NAME=TOKEN,...",
        help="Tokens to follow together, by the sum of their probabilities: texts, and ids in digits; or NAME=[...], "
        "a list in JSON; repeatable.",
    )(command)
    return click.option(
        "--target", "targets", multiple=True, help="A token or word to follow through all layers; repeatable."
    )(command)


def window_options(command: Command) -> Command:
    """The options of commands that run a model on texts, window by window."""
    options = [
        click.option(
            "--length", type=click.IntRange(min=1), default=128, show_default=True, help="Tokens per window of text."
        ),
        click.option(
            "--skip-first",
            type=click.IntRange(min=0),
            default=16,
            show_default=True,
            help="How many positions at the beginning of a window do not count.",
        ),
        click.option(
            "--on-error",
            type=click.Choice(ON_ERROR),
            default=ON_ERROR[0],
            show_default=True,
            help="What to do if a text fails.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def template_option(command: Command) -> Command:
    """The option of commands that take a chat."""
    return click.option(
        "--template",
        "switches",
        multiple=True,
        metavar="NAME=VALUE",
        help="A switch of the chat template, such as enable_thinking=false; the value is JSON, or text; repeatable.",
    )(command)

"""Writes a page with the lens of an image and a text, from your model, or by default from a tiny model.

The tiny model has the structure of LLaVA and random weights: the page shows the views, but its predictions mean
nothing. For meaningful ones, pass --model with the folder or hub id of a model that reads images, such as
HuggingFaceTB/SmolVLM-256M-Instruct.
"""

from pathlib import Path
from typing import Any

import click
import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

import bauklens

_WORDS = """
<unk> <image> What is in this picture ? a the sun house roof door window tree grass sky cloud
red blue green yellow bright dark small large left right above below
"""
WORDS = _WORDS.split()
UNKNOWN = {"unk_token": WORDS[0]}

SIDE, PATCH = 96, 16


def tiny_model() -> tuple[Any, Any]:
    """A LLaVA of 8 blocks and 6 x 6 patches with random weights, and its processor."""
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, **UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token=WORDS[0], **UNKNOWN)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    size = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    vision = CLIPVisionConfig(**size, num_hidden_layers=3, image_size=SIDE, patch_size=PATCH)
    text = LlamaConfig(**size, num_hidden_layers=8, vocab_size=len(WORDS))
    torch.manual_seed(7)
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2) if parameter.dim() > 1 else parameter.add_(0.2 * torch.randn_like(parameter))
    model.name_or_path = model.config._name_or_path = "tiny LLaVA with random weights"
    shown = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor = LlavaProcessor(
        shown, tokenizer, patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return model.eval(), processor


def drawing() -> Image.Image:
    """A house under the sun."""
    image = Image.new("RGB", (480, 480), "#9ed0f5")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 330, 480, 480), fill="#6fae54")
    draw.ellipse((350, 40, 440, 130), fill="#f7d84a")
    draw.rectangle((120, 210, 320, 390), fill="#e8d7b9", outline="#5c4a33", width=4)
    draw.polygon([(100, 215), (340, 215), (220, 110)], fill="#b5473c", outline="#5c4a33")
    draw.rectangle((195, 300, 245, 390), fill="#6b4a2f")
    draw.rectangle((145, 245, 185, 285), fill="#5aa0d8", outline="#5c4a33", width=3)
    draw.rectangle((255, 245, 295, 285), fill="#5aa0d8", outline="#5c4a33", width=3)
    return image


@click.command(help=__doc__)
@click.option("--model", "name", help="A folder or hub id with a model that reads images and its processor.")
@click.option("--image", type=click.Path(path_type=Path), help="A file; by default a drawing of a house.")
@click.option("--prompt", default="What is in this picture ?", show_default=True)
@click.option("--target", "targets", multiple=True, help="A token to follow over the image; repeatable.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("image.html"), show_default=True)
def main(name: str | None, image: Path | None, prompt: str, targets: tuple[str, ...], output: Path) -> None:
    """Writes the page."""
    try:
        model, processor = tiny_model() if name is None else bauklens.load(name)
        followed = [*targets] or (["sun", "house"] if name is None else None)
        lens = bauklens.logit_lens(model, processor, prompt, images=[image or drawing()], targets=followed)
        lens.to_html(output)
    except bauklens.LensError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{output}: {lens!r}")
    click.echo(lens.checked)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""GPT-2-XL or GPT-J as one HTML report, on CUDA if available: the state after every block, and what each adds.

.venv/bin/python scripts/export_report.py --model EleutherAI/gpt-j-6B --dtype float16 -o report.html "The Eiffel Tower"
"""

import sys
from pathlib import Path

import click

import bauklens
from bauklens.files import require_writable

DEFAULT = ". The Space Needle is located in"


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("prompts", nargs=-1)
@click.option("--model", default="gpt2-xl", show_default=True, help="Hub id, folder, .gguf file, or demo.")
@click.option("--device", help="By default CUDA if available.")
@click.option("--device-map", help="For example auto: spread over devices and offload.")
@click.option("--dtype", default="auto", show_default=True)
@click.option("--topk", default=10, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True)
def main(
    prompts: tuple[str, ...],
    model: str,
    device: str | None,
    device_map: str | None,
    dtype: str,
    topk: int,
    output: Path,
) -> None:
    """Writes two tables for each of PROMPTS; by default for the notebook's prompt."""
    try:
        require_writable(output)
        loaded, tokenizer = bauklens.load(model, device=device, device_map=device_map, dtype=dtype)
        results = [
            (prompt, bauklens.logit_lens(loaded, tokenizer, prompt, stream=stream, topk=topk))
            for prompt in prompts or (DEFAULT,)
            for stream in ("hidden", "delta")
        ]
        bauklens.save_report(results, output, title=f"{results[0][1].model}, layer by layer")
    except bauklens.LensError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()

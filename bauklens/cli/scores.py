"""The command that scores decoders: score."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bauklens.cli.importing import imported
from bauklens.cli.option_values import load_model
from bauklens.cli.options import model_options, window_options
from bauklens.cli.output import require_each_writable, say, write
from bauklens.cli.text_files import read_texts
from bauklens.errors import LensError
from bauklens.files import is_file, require_writable, write_atomically
from bauklens.optional import csv_text
from bauklens.vocabulary import LOGIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bauklens.show.scores import Scores

_FILE = click.Path(path_type=Path)


@click.command(short_help="Score decoders on text: how well they predict what the model predicts.")
@click.option(
    "--decoder",
    "names",
    multiple=True,
    required=True,
    metavar="NAME",
    help="logit, demo, a file, a folder or a hub id; repeatable.",
)
@click.option(
    "--texts", "file", type=_FILE, required=True, help="Running text, .jsonl or .parquet; - reads standard input."
)
@model_options
@click.option("--layer", "layers", multiple=True, help="A layer to score; repeatable. By default all.")
@window_options
@click.option("--tokens", type=click.IntRange(min=1), help="Score about this many tokens; by default all of FILE.")
@click.option("--causal", is_flag=True, help="Add tokens' directions to states, and measure the gain in log p.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed for the intervals and for --causal."
)
@click.option("--force-decoder", is_flag=True, help="Score decoders that were made for another model.")
@click.option("--store", is_flag=True, help="Keep the scores in the decoders' own .safetensors files.")
@click.option("-o", "--output", type=_FILE, help="Write the scores as an HTML page.")
@click.option("--json", "json_path", metavar="FILE|-", help="Write the scores as JSON; - means standard output.")
@click.option("--csv", "csv_path", metavar="FILE|-", help="Write one row per decoder, layer and measure as CSV.")
@click.option("--plot", type=_FILE, help="Draw the scores across layers: a .png, .svg or .pdf file.")
def score(
    names: tuple[str, ...],
    file: Path,
    layers: tuple[str, ...],
    force_decoder: bool,
    store: bool,
    output: Path | None,
    json_path: str | None,
    csv_path: str | None,
    plot: Path | None,
    length: int,
    skip_first: int,
    tokens: int | None,
    causal: bool,
    seed: int,
    on_error: str,
    **options: Any,
) -> None:
    """Score decoders on the texts in FILE, layer by layer, with 95 % intervals over the texts.

    Use texts that they were not fitted on. A .jsonl file has one object per line with "text", a .parquet file has a
    column "text"; any other file is split into texts of about 8,000 characters.

    Example: bauklens score --decoder logit --decoder demo --texts book.txt -o scores.html
    """
    if json_path == csv_path == "-":
        raise LensError("JSON and CSV cannot both go to standard output: pass a file for one of them")
    require_each_writable(output, json_path, csv_path, plot)
    form = None if plot is None else _drawn_as(plot)
    files = _files_to_store(names, force_decoder) if store else {}
    texts = read_texts(file)
    imported("torch")
    from bauklens.decoders.chosen import chosen_decoders, told_apart

    decoders = chosen_decoders(names, force=force_decoder)
    model, tokenizer = load_model(options)
    from bauklens.decoders.score import score_decoder

    scores = score_decoder(
        decoders,
        model,
        tokenizer,
        texts,
        layers=list(layers) or None,
        length=length,
        skip_first=skip_first,
        tokens=tokens,
        causal=causal,
        seed=seed,
        on_error=on_error,
    )
    for name, decoder, called in zip(names, decoders, told_apart([each.name for each in decoders]), strict=True):
        if name in files:
            _store(decoder, scores, called, file, files[name])
    if output is not None:
        scores.to_html(output)
        say(f"wrote {output}")
    if plot is not None and form is not None:
        _draw(scores, plot, form)
        say(f"wrote {plot}")
    if csv_path is not None:
        write(csv_path, csv_text(scores.to_frame()))
    if json_path is not None:
        write(json_path, f"{scores.to_json()}\n")
    if "-" not in (csv_path, json_path):
        from bauklens.show.averages_terminal import print_scores

        print_scores(scores)


def _files_to_store(names: "Sequence[str]", force: bool) -> dict[str, Path]:
    """The file of each decoder that has one; the logit lens has none."""
    if force:
        raise LensError("--store keeps scores of the model that a decoder was made for: leave out --force-decoder")
    files = {name: Path(name).expanduser() for name in names if name != LOGIT}
    for name, path in files.items():
        if path.suffix != ".safetensors" or not is_file(path):
            raise LensError(f"--store takes decoders in .safetensors files on this machine; got {name}")
        require_writable(path)
    if not files:
        raise LensError("--store needs a decoder in a .safetensors file; the logit lens has none")
    return files


def _store(decoder: Any, scores: "Scores", called: str, texts: Path, path: Path) -> None:
    texts_name = "standard input" if str(texts) == "-" else texts.name
    about = {"quality": f"on {scores.documents:,} texts, {scores.tokens:,} tokens of {texts_name}"}
    decoder.with_quality(scores.quality(called), about).save(path)
    say(f"wrote {path}")


def _drawn_as(path: Path) -> str:
    """The format of a figure, from the file's name."""
    from bauklens.show.figures import new_figure

    known = new_figure().canvas.get_supported_filetypes()
    form = path.suffix.lower().removeprefix(".")
    if form not in known:
        raise LensError(f"cannot draw {path}: its name must end with one of {', '.join(f'.{each}' for each in known)}")
    return form


def _draw(scores: "Scores", path: Path, form: str) -> None:
    drawn = io.BytesIO()
    scores.plot().savefig(drawn, format=form, dpi=150)
    write_atomically(path, drawn.getvalue())

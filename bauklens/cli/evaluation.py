"""The evaluate command."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bauklens.cli.importing import imported
from bauklens.cli.option_values import load_model
from bauklens.cli.options import model_options
from bauklens.cli.output import require_each_writable, say, write
from bauklens.errors import LensError
from bauklens.files import write_atomically
from bauklens.optional import csv_text
from bauklens.vocabulary import FORMS, LOGIT, READ_RULES, SPELLED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PICTURES = (".png", ".svg", ".pdf")


@click.command(short_help="Measure how often lenses show the intermediate concepts of prompts.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@model_options
@click.option(
    "--decoder",
    "decoders",
    multiple=True,
    metavar="NAME",
    help="A lens to evaluate: logit, demo, a file, a folder or a hub id; repeatable. By default logit.",
)
@click.option("--force-decoder", is_flag=True, help="Use decoders that were made for another model.")
@click.option(
    "--layer",
    "layers",
    multiple=True,
    help="A layer for the best rank; repeatable. By default all that every decoder has, except the last.",
)
@click.option(
    "--k",
    "ks",
    multiple=True,
    type=click.IntRange(min=1),
    help="A rank k of pass@k; repeatable. By default 1, 5 and 10.",
)
@click.option(
    "--words",
    default=next(iter(SPELLED)),
    show_default=True,
    type=click.Choice(list(SPELLED)),
    help="Words without a single token: leave them out (single), or follow their first token (first).",
)
@click.option(
    "--read",
    type=click.Choice(list(READ_RULES)),
    help="The token to read the lens at: before the target, or the last one; by default as the set is published.",
)
@click.option(
    "--forms",
    type=click.Choice(list(FORMS)),
    help="arithmetic: numbers also as words, operations also as symbols; by default as the set is published.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write a page with every item as HTML.")
@click.option("--json", "json_path", metavar="FILE|-", help="Write the evaluation as JSON; - means standard output.")
@click.option("--csv", "csv_path", metavar="FILE|-", help="Write one row per set, decoder and k as CSV.")
@click.option(
    "--plot", "plot_path", type=click.Path(path_type=Path), help="Draw pass@k against k: a .png, .svg or .pdf file."
)
@click.option("--title", help="The page's heading.")
def evaluate(
    files: tuple[str, ...],
    decoders: tuple[str, ...],
    force_decoder: bool,
    layers: tuple[str, ...],
    ks: tuple[int, ...],
    words: str,
    read: str | None,
    forms: str | None,
    output: Path | None,
    json_path: str | None,
    csv_path: str | None,
    plot_path: Path | None,
    title: str | None,
    **options: Any,
) -> None:
    """Measure how often lenses show the intermediate concepts of the prompts in each FILE: pass@k.

    FILE is a set in the form that was published with the Jacobian lens: {"items": [{"prompt": "...",
    "intermediates": ["..."], "target": "..."}]}. - reads standard input.

    \b
    Example: bauklens evaluate lens-eval-multihop.json --decoder logit --decoder demo -o evaluation.html
    """
    if json_path == csv_path == "-":
        raise LensError("JSON and CSV cannot both go to standard output: pass a file for one of them")
    require_each_writable(output, json_path, csv_path, plot_path)
    if plot_path is not None:
        _require_picture(plot_path)
    from bauklens.decoders.evaluation_sets import item_sets

    sets = item_sets(files, read=read, forms=forms)
    imported("torch")
    from bauklens.decoders.chosen import chosen_decoders
    from bauklens.decoders.evaluate import evaluate as evaluated

    chosen = chosen_decoders(decoders or (LOGIT,), force=force_decoder)
    model, tokenizer = load_model(options)
    found = evaluated(
        chosen,
        model,
        tokenizer,
        sets,
        layers=list(layers) or None,
        k=ks or (1, 5, 10),
        words=words,
    )
    if output is not None:
        found.to_html(output, title=title)
        say(f"wrote {output}")
    if plot_path is not None:
        write_atomically(plot_path, _drawn(found.plot(), plot_path.suffix))
        say(f"wrote {plot_path}")
    if json_path is not None:
        write(json_path, f"{found.to_json()}\n")
    if csv_path is not None:
        write(csv_path, csv_text(found.to_frame()))
    if "-" not in (json_path, csv_path):
        from bauklens.show.evaluation_terminal import print_evaluation

        print_evaluation(found)


def _require_picture(path: Path) -> None:
    """Refuses a picture that cannot be drawn, before anything runs."""
    if path.suffix.lower() not in _PICTURES:
        raise LensError(f"a plot is written as one of {', '.join(_PICTURES)}; got {path.name!r}")
    from bauklens.show.figures import new_figure

    new_figure()


def _drawn(figure: "Figure", suffix: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=suffix[1:].lower(), dpi=150)
    return file.getvalue()

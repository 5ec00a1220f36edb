"""The commands that make decoders: fit and merge."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bauklens.cli.importing import imported
from bauklens.cli.option_values import load_model, loading_quietly
from bauklens.cli.options import model_options, window_options
from bauklens.cli.output import require_each_writable, say
from bauklens.cli.text_files import read_texts
from bauklens.errors import LensError
from bauklens.vocabulary import FIT_METHODS, OPTIMIZERS

if TYPE_CHECKING:
    from bauklens.corpus.workers import Worker
    from bauklens.decoders.learned import LearnedDecoder

_FILE = click.Path(path_type=Path)
_COUNT = click.IntRange(min=1)
_GB = 1_000_000_000
_OUTPUT = "The file to write: .safetensors, or .pt for a Jacobian lens."


@click.command(short_help="Fit a decoder to a model.")
@click.option(
    "--method",
    type=click.Choice(FIT_METHODS),
    default="jacobian",
    show_default=True,
    help="From least work to most: jacobian-mean-field, ridge, tuned, and jacobian, which takes hours.",
)
@click.option(
    "--texts",
    "file",
    type=_FILE,
    help="Running text, .jsonl or .parquet; - reads standard input. By default the model writes its own.",
)
@model_options
@click.option("-o", "--output", type=_FILE, required=True, help=_OUTPUT)
@click.option("--layer", "layers", multiple=True, help="A layer to fit; repeatable. By default all before the target.")
@click.option("--tokens", type=_COUNT, help="About how many tokens to fit on; by default what suits the method.")
@click.option("--target-layer", help="The layer that the maps predict; by default the last.")
@window_options
@click.option("--name", help="The decoder's name in results; by default the output's name without its ending.")
@click.option("--checkpoint", type=_FILE, help="A .safetensors file to resume from, written after every few windows.")
@click.option(
    "--memory", type=click.FloatRange(min=0, min_open=True), help="For ridge and tuned: memory for the sums, in GB."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed for everything random.")
@click.option(
    "--map-dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="The dtype in which the maps are kept.",
)
@click.option("--tolerance", type=float, help="For jacobian: stop when a window moves the mean by less, such as 0.002.")
@click.option("--normalize", is_flag=True, help="For jacobian: weight all windows equally, whatever their size.")
@click.option(
    "--anchors",
    type=_COUNT,
    help="For jacobian: this many further windows, only in closed form, to make the mean more precise.",
)
@click.option("--dim-batch", type=_COUNT, help="For jacobian: rows of one backward pass; by default as memory allows.")
@click.option("--steps", type=_COUNT, help="For tuned: steps of training, by default 100.")
@click.option("--rows-per-step", type=_COUNT, help="For tuned: positions per step, by default 100.")
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="For tuned: the optimizer; by default adamw.")
@click.option("--learning-rate", type=float, help="For tuned: the learning rate at the beginning.")
def fit(
    method: str,
    file: Path | None,
    output: Path,
    layers: tuple[str, ...],
    memory: float | None,
    map_dtype: str,
    normalize: bool,
    checkpoint: Path | None,
    **options: Any,
) -> None:
    """Fit a decoder to a model, and print how close each layer comes to the model's own output.

    \b
    ridge                least squares to the final state: what the model is going to say
    tuned                an affine map, trained for the same
    jacobian             the mean Jacobian: what a state disposes the model to say
    jacobian-mean-field  the same in closed form, for blocks like Llama's

    \b
    Started by torchrun, accelerate launch, srun or an array job of Slurm, each worker fits a part on its share of the
    texts, and the last to finish merges the parts.

    
    Example: bauklens fit --method ridge --texts book.txt -o ridge.safetensors
             bauklens lens "The Eiffel Tower is in" --decoder logit --decoder ridge.safetensors
             torchrun --nproc-per-node 8 -m bauklens fit --texts corpus.parquet -o lens.safetensors
    """
    require_each_writable(output, checkpoint)
    if checkpoint is not None and checkpoint.resolve() == output.resolve():
        raise LensError(f"--checkpoint and -o are both {output}: pass two names")
    _require_suffix(output, method)
    texts = None if file is None else read_texts(file)
    arguments = {name: options.pop(name) for name in _ARGUMENTS}
    arguments["name"] = arguments["name"] or output.stem
    arguments |= {
        "method": method,
        "layers": list(layers) or None,
        "memory": None if memory is None else max(1, int(memory * _GB)),
        "dtype": map_dtype,
        "normalize": normalize or None,
        "checkpoint": checkpoint,
    }
    from bauklens.corpus.workers import this_worker

    worker = this_worker()
    if worker.of > 1:
        _fit_part(output, worker, file, texts, arguments, options)
        return
    model, tokenizer = load_model(options)
    from bauklens.decoders.fit.fitting import fit_decoder

    decoder = fit_decoder(model, tokenizer, texts, **arguments)
    decoder.save(output)
    _print(decoder)
    say(f"wrote {output}")


def _fit_part(
    output: Path,
    worker: "Worker",
    file: Path | None,
    texts: Iterable[str] | None,
    arguments: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Fits the part of one worker of several; if it is the last, merges all parts."""
    if texts is not None and getattr(texts, "is_read_once", False):
        raise LensError("several workers cannot share standard input: pass a file")
    from bauklens.corpus.fit_parts import Share, digest_of, fit_part, merged_parts, part_of
    from bauklens.corpus.models import loaded
    from bauklens.corpus.workers import Worker
    from bauklens.decoders.fit.fitting import fit_decoder
    from bauklens.decoders.fit.wanted import default_tokens

    wanted = [sorted(arguments.items()), sorted(options.items()), digest_of(file)]
    asked = hashlib.sha256(repr(wanted).encode()).hexdigest()[:8]
    parts = [part_of(output, Worker(number, worker.of), asked) for number in range(worker.of)]
    loading_quietly()
    model, tokenizer = loaded(options.pop("model"), {name: value for name, value in options.items() if value}, worker)
    tokens = arguments["tokens"] or default_tokens(arguments["method"], own=texts is None)
    own = {"tokens": -(-tokens // worker.of), "seed": arguments["seed"] + worker.number}
    if arguments["checkpoint"] is not None:
        own["checkpoint"] = part_of(arguments["checkpoint"], worker, asked)
    share = None if texts is None else Share(texts, worker)
    fit_part(parts[worker.number], lambda: fit_decoder(model, tokenizer, share, **(arguments | own)))
    decoder = merged_parts(output, parts, model, tokenizer, texts, arguments["name"])
    if decoder is not None:
        _print(decoder)
        say(f"wrote {output}, of {worker.of} parts")
    else:
        say(f"wrote the part of {worker}: the last worker merges them")


_ARGUMENTS = (
    "tokens",
    "target_layer",
    "length",
    "skip_first",
    "name",
    "seed",
    "on_error",
    "tolerance",
    "anchors",
    "dim_batch",
    "steps",
    "rows_per_step",
    "optimizer",
    "learning_rate",
)


@click.command(short_help="Merge decoders that were fitted on different texts.")
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("-o", "--output", type=_FILE, required=True, help=_OUTPUT)
@click.option("--texts", "file", type=_FILE, help="Texts to measure the merged decoder on, through --model.")
@click.option("--name", help="The decoder's name in results; by default the output's name without its ending.")
@model_options
def merge(files: tuple[Path, ...], output: Path, file: Path | None, name: str | None, **options: Any) -> None:
    """Merge decoders in FILES that were fitted to one model on different texts: their weighted mean.

    Example: bauklens merge part-1.safetensors part-2.safetensors -o whole.safetensors --texts held-out.txt
    """
    require_each_writable(output)
    if not files[1:]:
        raise LensError("merge needs two or more decoders")
    texts = None if file is None else read_texts(file)
    imported("torch")
    from bauklens.decoders.learned import LearnedDecoder
    from bauklens.decoders.loading import load_decoder

    parts = [load_decoder(each) for each in files]
    _require_suffix(output, parts[0].kind)
    model, tokenizer = (None, None) if texts is None else load_model(options)
    decoder = LearnedDecoder.merge(parts, model, tokenizer, texts, name=name or output.stem)
    decoder.save(output)
    _print(decoder)
    say(f"wrote {output}")


def _require_suffix(path: Path, method: str) -> None:
    """Refuses a name under which the decoder cannot be saved, before anything runs."""
    known = (".safetensors", ".pt") if method.startswith("jacobian") else (".safetensors",)
    if path.suffix not in known:
        raise LensError(f"cannot save a decoder as {path.name!r}: its name must end in {' or '.join(known)}")


def _print(decoder: "LearnedDecoder") -> None:
    from bauklens.show.averages_terminal import print_quality

    print_quality(decoder.kind, decoder.quality, decoder.about)

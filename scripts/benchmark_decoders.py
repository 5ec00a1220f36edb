#!/usr/bin/env python3
"""How good each lens is: its predictions, the concepts that it shows, its effect on the model, and its cost.

Four parts, each of which can be switched off:

\b
quality     KL and agreement with the model's own last row, on text that was not used for fitting (score_decoder)
evaluation  pass@k on sets of prompts with concepts on the way to the answer (evaluate)
causal      the gain in log p of a token when states are moved along a lens's direction for it (score_decoder)
cost        seconds of each fit (fit_decoder), and of the exact Jacobian beside the plain estimator

Unless there are --texts, the model writes them itself. The tables are printed, kept as JSON, and, with --docs, written
into docs/DECODERS.md and docs/guide/decoders.md; parts that are switched off stay unchanged there. With --cache, an
interrupted run continues when it is started again.

.venv/bin/python scripts/benchmark_decoders.py --cache build/decoders
"""

import hashlib
import json
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import click
import torch
from benchmark import machine
from decoder_tables import show, write_docs
from plain_jacobian import PlainJacobian, stopped
from tqdm import tqdm

import bauklens
from bauklens.cli.text_files import read_texts
from bauklens.decoders import LearnedDecoder
from bauklens.decoders.fingerprint import weights_hash
from bauklens.decoders.fit.own_texts import own_windows
from bauklens.decoders.fit.states import Fitted
from bauklens.decoders.fit.temperature import best_temperatures
from bauklens.decoders.texts import SKIP_FIRST, Windows
from bauklens.errors import LensError
from bauklens.model.inputs import Inputs
from bauklens.model.provenance import model_name
from bauklens.model.resolving import resolve

ROOT = Path(__file__).resolve().parent.parent
EVALS = "tests/data/lens-evals"

KS = (1, 5, 10)

TEMPERED, CONSTANT = "logit, temperatures", "mean final state"
"""Two lenses that have the same directions as the logit lens, or none."""

MEAN_WINDOWS, TEMPERATURE_WINDOWS = 45, 4
"""The number of windows for the mean final state, and for choosing the logit lens's temperatures."""

APART = 5
"""The last of every this many texts of a file is kept apart, for scoring."""


@dataclass(frozen=True)
class Asked:
    """What to measure.

    Attributes:
        seed: the seed of the texts for fitting; the texts for scoring have the next one.
        length: tokens per window.
        layers: the layers of the part quality; ``evaluated`` and ``moved`` are those of the other two.
        ridge: numbers of tokens that ridge lenses are fitted on.
        tuned: tokens that the tuned lens is fitted on; 0 leaves it out. ``steps`` is the number of training steps.
        windows: numbers of windows that exact Jacobian lenses are fitted on.
        closed: tokens that the Jacobian lens in closed form is fitted on; 0 leaves it out.
        held_out: the number of texts that are scored.
    """

    model: str
    texts: Path | None
    seed: int
    length: int
    layers: tuple[str, ...]
    evaluated: tuple[str, ...]
    moved: tuple[str, ...]
    ridge: tuple[int, ...]
    tuned: int
    steps: int
    windows: tuple[int, ...]
    closed: int
    held_out: int

    @property
    def fitted(self) -> list[str]:
        """The layers that lenses are fitted for."""
        return sorted({*self.layers, *self.evaluated, *self.moved}, key=lambda label: (len(label), label))


class Benchmark:
    """A model, texts, and the lenses that are fitted to it; finished work is kept in a folder."""

    def __init__(self, asked: Asked, folder: Path, command: str) -> None:
        self.asked, self.folder, self.command = asked, folder, command
        self.model, self.tokenizer = bauklens.load(asked.model)
        folder.mkdir(parents=True, exist_ok=True)
        self._require_same_settings()

    def part(self, name: str, measure: Callable[[], dict[str, Any]], **settings: Any) -> dict[str, Any]:
        """The result of a part with its conditions, from the folder if it was measured already."""
        path = self.folder / f"{name}.json"
        settings = json.loads(json.dumps({**settings, "lenses": [each.name for each in self.lenses]}))
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
            if known["settings"] == settings:
                found: dict[str, Any] = known["found"]
                return found
        with stopped() as taken:
            found = measure()
        texts = self.asked.texts
        found["about"] = {
            "model": model_name(self.model),
            "machine": machine(next(self.model.parameters()).device),
            "torch": torch.__version__,
            "texts": "that the model wrote itself" if texts is None else f"of {texts.name}",
            "length": self.asked.length,
            "seed": self.asked.seed,
            "minutes": taken[0] / 60,
            "command": self.command,
        }
        self._keep(path, {"settings": settings, "found": found})
        return found

    # Texts

    @cached_property
    def texts(self) -> Iterable[Any]:
        """The texts for fitting."""
        if self.asked.texts is not None:
            return OfFile(self.asked.texts, apart=False)
        asked = self.asked
        most = max([*asked.ridge, asked.tuned, asked.closed, *(each * self._counted for each in asked.windows), 1])
        wanted = max(MEAN_WINDOWS, -(-most // self._counted)) + 2 * min(
            16, 3 + most // 1_200
        )  # those that a fit keeps apart
        return self._written(wanted, asked.seed)

    @cached_property
    def held_out(self) -> list[list[int]]:
        """The texts for scoring, one window each: token ids."""
        asked = self.asked
        if asked.texts is None:
            return self._written(asked.held_out, asked.seed + 1)[: asked.held_out]
        windows = Windows(self.model, self.tokenizer, OfFile(asked.texts, apart=True), length=asked.length)
        firsts = (window for window in windows if not window.place)
        found = [window.inputs.ids[0].tolist() for window in islice(firsts, asked.held_out)]
        if len(found) < 2:
            raise click.UsageError(f"{asked.texts} is too short: one in five parts of about 8,000 characters is scored")
        return found

    @property
    def _counted(self) -> int:
        """Positions of a window that count."""
        return self.asked.length - 1 - SKIP_FIRST

    def _written(self, count: int, seed: int) -> list[list[int]]:
        """Texts that the model writes, as in fit_decoder(); they are kept, as writing takes long."""
        path = self.folder / f"texts-{seed}.json"
        ids: list[list[int]] = json.loads(path.read_text(encoding="utf-8"))["ids"] if path.exists() else []
        if len(ids) < count:
            with stopped() as taken:
                windows = islice(own_windows(self.model, self.asked.length, seed=seed), count)
                ids = [window.inputs.ids[0].tolist() for window in windows]
            self._keep(path, {"ids": ids, "seconds": taken[0]})
        return ids

    # Lenses

    @cached_property
    def lenses(self) -> list[LearnedDecoder]:
        """All lenses except the logit lens; each is fitted once, and then read from the folder."""
        asked = self.asked
        found = [self._logit_with_temperatures(), self._mean()]
        found += [self._fit(f"ridge, {each:,} tokens", "ridge", each) for each in sorted(asked.ridge)]
        if asked.tuned:
            name = f"tuned, {asked.tuned:,} tokens, {asked.steps} steps"
            found.append(self._fit(name, "tuned", asked.tuned, steps=asked.steps))
        for each in sorted(asked.windows):
            name = f"Jacobian, exact, {each} window{'s' if each > 1 else ''}"
            found.append(self._fit(name, "jacobian", each * self._counted))
        if asked.closed:
            name = f"Jacobian, closed form, {asked.closed:,} tokens"
            try:
                found.append(self._fit(name, "jacobian-mean-field", asked.closed))
            except LensError as error:
                click.echo(f"left out: {name}: {error}", err=True)
        return found

    def _fit(self, name: str, method: str, tokens: int, **options: Any) -> LearnedDecoder:
        """A lens, with its time in ``about["seconds"]``; None if it was interrupted."""
        stem = f"{method}-{tokens}" + "".join(f"-{each}" for each in options.values())
        path, checkpoint = self.folder / f"{stem}.safetensors", self.folder / f"{stem}-checkpoint.safetensors"
        if path.exists():
            return bauklens.load_decoder(path)
        went_on, texts = checkpoint.exists(), self.texts  # written before the time is taken
        with stopped() as taken:
            found = bauklens.fit_decoder(
                self.model,
                self.tokenizer,
                texts,
                method=method,
                tokens=tokens,
                layers=self.asked.fitted,
                length=self.asked.length,
                seed=self.asked.seed,
                checkpoint=checkpoint,
                name=name,
                **options,
            )
        found = found.with_quality(found.quality, {"seconds": None if went_on else taken[0]})
        found.save(path)
        checkpoint.unlink(missing_ok=True)
        return found

    def _some(self, count: int) -> list[Inputs]:
        """A few windows of the texts for fitting."""
        windows = Windows(self.model, self.tokenizer, self.texts, length=self.asked.length)
        return [window.inputs for window in islice(windows, count)]

    def _mean(self) -> LearnedDecoder:
        """The mean final state, at every layer."""
        path = self.folder / "mean.safetensors"
        if not path.exists():
            windows = tqdm(self._some(MEAN_WINDOWS), desc="Mean final state", unit="window", disable=None)
            states = [
                bauklens.get_hidden_states(self.model, None, inputs.ids[0])[-1, 0, SKIP_FIRST:-1] for inputs in windows
            ]
            mean = torch.cat(states).double().mean(dim=0).float().cpu()
            bauklens.MeanLens(dict.fromkeys(self.asked.fitted, mean), name=CONSTANT).save(path)
        return bauklens.load_decoder(path)

    def _logit_with_temperatures(self) -> LearnedDecoder:
        """The logit lens with the temperature per layer that has the least KL on a few texts."""
        path = self.folder / "temperatures.safetensors"
        if not path.exists():
            some = self._some(TEMPERATURE_WINDOWS)
            anatomy = resolve(self.model, some[0])
            labels = tuple(self.asked.fitted)
            fitted = Fitted(self.model, anatomy, labels, anatomy.labels[-1], SKIP_FIRST)
            maps = dict.fromkeys(labels, torch.eye(fitted.size))
            states = torch.cat([fitted.states([each], [*labels, fitted.last]) for each in some], dim=1)
            found = best_temperatures(fitted, bauklens.JacobianLens(maps), states, some[0])
            bauklens.RidgeLens.from_parts(maps, {}, found, name=TEMPERED).save(path)
        return bauklens.load_decoder(path)

    # Parts

    def quality(self) -> dict[str, Any]:
        """KL and agreement, with intervals."""
        scores = bauklens.score_decoder(
            ["logit", *self.lenses],
            self.model,
            self.tokenizer,
            self.held_out,
            layers=self.asked.layers,
            length=self.asked.length,
        )
        rows = [
            {"name": name, **{each: _by_layer(scores, name, each) for each in ("kl", "agreement")}}
            for name in scores.decoders
        ]
        (tempered,) = (each for each in self.lenses if each.name == TEMPERED)
        return {
            "layers": list(self.asked.layers),
            "positions": scores.tokens,
            "texts": scores.documents,
            "temperatures": {label: tempered.temperatures[label] for label in self.asked.layers},
            "rows": rows,
        }

    def evaluation(self, folder: Path) -> dict[str, Any]:
        """pass@k of every set, with intervals."""
        found = bauklens.evaluate(
            ["logit", *self.lenses], self.model, self.tokenizer, _sets(folder), layers=self.asked.evaluated, k=KS
        )
        names = [each.name.removeprefix("lens-eval-") for each in found.sets]
        rows = []
        for number, decoder in enumerate(found.decoders):
            passed: dict[str, dict[str, list[float | None]]] = {}
            for place, k in enumerate(found.ks):
                values = [*found.passed[:, number, place], found.mean[number, place]]
                ends = found.intervals[:, number, place]
                passed[str(k)] = {
                    name: [_known(value), _known(low), _known(high)]
                    for name, value, (low, high) in zip([*names, "mean"], values, ends, strict=True)
                }
            rows.append({"name": decoder, "passed": passed})
        sets = [{"name": name, "items": len(each.scored)} for name, each in zip(names, found.sets, strict=True)]
        return {"layers": list(found.layers), "ks": list(found.ks), "sets": sets, "rows": rows}

    def causal(self, texts: int, tokens: int) -> dict[str, Any]:
        """Gains, with intervals, and those of random directions."""
        moving = [each for each in self.lenses if each.name not in (TEMPERED, CONSTANT)]
        scores = bauklens.score_decoder(
            ["logit", *moving],
            self.model,
            self.tokenizer,
            self.held_out[:texts],
            layers=self.asked.moved,
            length=self.asked.length,
            causal=tokens,
            seed=self.asked.seed,
        )
        rows = [{"name": name, "causal": _by_layer(scores, name, "causal")} for name in scores.decoders]
        random = _by_layer(scores, scores.decoders[0], "causal_random")
        return {
            "layers": list(self.asked.moved),
            "positions": scores.tokens,
            "texts": scores.documents,
            "tokens": tokens,
            "rows": [{"name": "random direction", "causal": random}, *rows],
        }

    def cost(self) -> dict[str, Any]:
        """Seconds of the fits, and of one exact Jacobian beside the plain estimator, all in this run."""
        fits = [
            {
                "name": each.name,
                "layers": len(each.layers),
                "prompts": each.about["prompts"],
                "tokens": each.about["tokens"],
                "seconds": each.about["seconds"],
            }
            for each in self.lenses
            if "seconds" in each.about
        ]
        found: dict[str, Any] = {"fits": fits, "writing": self._seconds_of_writing()}
        if self.asked.windows:
            found["jacobian"] = self._jacobian()
        return found

    def _seconds_of_writing(self) -> float | None:
        """The time for writing the texts for fitting; None if they come from a file."""
        path = self.folder / f"texts-{self.asked.seed}.json"
        if self.asked.texts is not None or not path.exists():
            return None
        return float(json.loads(path.read_text(encoding="utf-8"))["seconds"])

    def _jacobian(self) -> dict[str, Any]:
        (inputs,) = self._some(1)
        anatomy = resolve(self.model, inputs)
        plain = [PlainJacobian(self.model, [*anatomy.blocks], anatomy.parts, inputs).timed()]
        with stopped() as taken:
            lens = bauklens.fit_decoder(
                self.model,
                None,
                [inputs.ids[0].tolist()],
                method="jacobian",
                tokens=self._counted,
                length=self.asked.length,
                dtype="float32",
            )
        plain.append(PlainJacobian(self.model, [*anatomy.blocks], anatomy.parts, inputs).timed())
        own = torch.stack([lens.matrix(label) for label in anatomy.labels[:-1]])[:, : plain[0].rows.shape[1]]
        return {
            "seconds": taken[0],
            "plain_seconds": sum(each.seconds for each in plain) / len(plain),
            "rows": plain[0].rows.shape[1],
            "width": lens.width,
            "copies": plain[0].copies,
            "passes": -(-lens.width // plain[0].copies),
            "positions": self._counted,
            "differ by": float((own - plain[0].rows).norm() / plain[0].rows.norm()),
        }

    def _require_same_settings(self) -> None:
        """Refuses a folder with figures of another run."""
        asked = self.asked
        settings = {
            "model": model_name(self.model),
            "weights": weights_hash(self.model),
            "seed": asked.seed,
            "length": asked.length,
            "layers": asked.fitted,
            "texts": None if asked.texts is None else hashlib.sha256(asked.texts.read_bytes()).hexdigest(),
        }
        path = self.folder / "settings.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else settings
        for name, value in settings.items():
            if known.get(name) != value:
                raise click.UsageError(f"{self.folder} belongs to a run with other {name}: pass another --cache")
        self._keep(path, settings)

    def _keep(self, path: Path, values: Any) -> None:
        """Writes a file atomically."""
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(values), encoding="utf-8")
        beside.replace(path)


@dataclass(frozen=True)
class OfFile:
    """The texts of a file, read again each time: those kept apart, or the others."""

    path: Path
    apart: bool

    def __iter__(self) -> Iterator[str]:
        for number, text in enumerate(read_texts(self.path), 1):
            if (number % APART == 0) == self.apart:
                yield text


def _by_layer(scores: bauklens.Scores, decoder: str, measure: str) -> dict[str, list[float | None]]:
    """Layer -> value and the ends of its interval."""
    columns = [getattr(scores, end)[decoder][measure] for end in ("value", "low", "high")]
    rows = zip(scores.layers[decoder], *columns, strict=True)
    return {layer: [_known(each) for each in values] for layer, *values in rows}


def _known(value: Any) -> float | None:
    return float(value) if value == value else None


def _sets(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.json"))
    if not found:
        raise click.UsageError(f"{folder} has no .json files")
    return found


def _command(context: click.Context) -> str:
    """The command that repeats this run: the options other than the defaults, without the folders of this machine."""
    words = [".venv/bin/python", "scripts/benchmark_decoders.py"]
    for option in context.command.params:
        name, value = str(option.name), context.params[str(option.name)]
        if name in ("cache", "json_path", "docs") or value is None or value == _default(option, context):
            continue
        if isinstance(value, bool):
            words.append(option.opts[0] if value else option.secondary_opts[0])
            continue
        for each in value if isinstance(value, tuple) else (value,):
            words += [option.opts[0], Path(each).name if Path(str(each)).is_absolute() else str(each)]
    return shlex.join(words)


def _default(option: click.Parameter, context: click.Context) -> Any:
    found = option.get_default(context)
    return tuple(found) if isinstance(found, list) else found


def _layers(*default: int) -> Any:
    return {"multiple": True, "default": [str(each) for each in default], "show_default": True}


_COUNT = click.IntRange(min=1)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", default="demo", show_default=True)
@click.option("--texts", type=_FILE, help="Running text, .jsonl or .parquet, instead of texts by the model.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="The seed of the texts.")
@click.option(
    "--length", default=128, show_default=True, type=click.IntRange(min=SKIP_FIRST + 2), help="Tokens per window."
)
@click.option(
    "--held-out", default=24, show_default=True, type=click.IntRange(min=2), help="The number of texts to score."
)
@click.option("--layer", "layers", help="A layer for quality; repeatable.", **_layers(5, 10, 15, 20, 25))
@click.option("--eval-layer", "evaluated", help="A layer for evaluation; repeatable.", **_layers(*range(2, 27, 3), 28))
@click.option("--causal-layer", "moved", help="A layer for causal; repeatable.", **_layers(15))
@click.option(
    "--ridge", multiple=True, default=[2_000, 5_000], show_default=True, type=_COUNT, help="Tokens to fit on."
)
@click.option("--tuned", default=5_000, show_default=True, type=click.IntRange(min=0), help="Tokens; 0 leaves it out.")
@click.option("--steps", default=100, show_default=True, type=_COUNT, help="Training steps of the tuned lens.")
@click.option(
    "--windows", multiple=True, default=[1, 3], show_default=True, help="Windows for an exact Jacobian; 0: none."
)
@click.option("--closed", default=1_000, show_default=True, type=click.IntRange(min=0), help="Tokens; 0 leaves it out.")
@click.option("--evals", type=_FOLDER, help=f"Sets to evaluate, as .json files; by default those in {EVALS}.")
@click.option(
    "--causal-texts",
    default=16,
    show_default=True,
    type=click.IntRange(min=2),
    help="How many of the held-out texts to use.",
)
@click.option("--causal-tokens", default=8, show_default=True, type=_COUNT, help="Tokens per text.")
@click.option("--quality/--no-quality", default=True)
@click.option("--evaluation/--no-evaluation", default=True)
@click.option("--causal/--no-causal", default=True)
@click.option("--cost/--no-cost", default=True)
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), help="Keep finished work in this folder.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option("--docs", type=_FOLDER, is_flag=False, flag_value=ROOT / "docs", help="Write the tables into the pages.")
def main(
    evals: Path | None,
    causal_texts: int,
    causal_tokens: int,
    quality: bool,
    evaluation: bool,
    causal: bool,
    cost: bool,
    cache: Path | None,
    json_path: Path | None,
    docs: Path | None,
    **asked: Any,
) -> None:
    """Prints the tables."""
    asked["windows"] = tuple(each for each in asked["windows"] if each > 0)
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = Asked(**asked)
        benchmark = Benchmark(made, folder, _command(click.get_current_context()))
        if quality:
            found["quality"] = benchmark.part("quality", benchmark.quality, of=made.layers, texts=made.held_out)
        if evaluation:
            sets = evals or ROOT / EVALS
            names = [each.name for each in _sets(sets)]
            found["evaluation"] = benchmark.part(
                "evaluation", lambda: benchmark.evaluation(sets), of=made.evaluated, sets=names
            )
        if causal:
            found["causal"] = benchmark.part(
                "causal",
                lambda: benchmark.causal(causal_texts, causal_tokens),
                of=made.moved,
                texts=[made.held_out, causal_texts, causal_tokens],
            )
        if cost:
            found["cost"] = benchmark.part("cost", benchmark.cost)
    show(found)
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if docs is not None:
        try:
            write_docs(found, docs)
        except ValueError as error:
            raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()

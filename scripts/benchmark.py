#!/usr/bin/env python3
"""What a lens costs in time and memory, compared with the plain notebook's way and with a lower bound.

All figures come from one run with alternating cases, as machines are noisy: read the ratios. The table is
printed, kept as JSON, and, with --docs, written to docs/PERFORMANCE.md.

.venv/bin/python scripts/benchmark.py --tokens 128 --tokens 512
"""

import gc
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from benchmark_parts import of_parts, parts_of
from benchmark_paths import PATHS, of_paths, paths
from benchmark_paths import measure as measure_paths
from benchmark_sweep import SWEEP, of_sweeps
from benchmark_sweep import measure as measure_sweep
from cost import main as write_costs
from gpu_table import GPU, of_gpus
from peers.table import PEERS, of_the_peers
from rich.console import Console
from rich.table import Table
from serve_table import SERVE, of_the_live_page
from start_table import of_the_start
from tqdm import tqdm
from viewer_table import of_the_viewer

import bauklens
from bauklens.model import resolving
from bauklens.model.block_output import state_of
from bauklens.model.forward import model_logits
from bauklens.model.guard import evaluating
from bauklens.model.inputs import Inputs

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TEXT = ROOT / "README.md"

VIEWER = "performance_viewer.json"
"""In docs/: what scripts/benchmark_viewer.py measured."""

START = "performance_start.json"
"""In docs/: what scripts/benchmark_start.py measured."""

FLOOR = "floor: plus one bfloat16 product per layer"
LENS = "bauklens, with its measures"

SHAPES = {
    "gpt2-xl": lambda: _config("gpt2", n_embd=1600, n_layer=48, n_head=25),
    "gptj": lambda: _config("gptj", n_embd=4096, n_layer=28, n_head=16, rotary_dim=64),
}
"""The real sizes of models that are not available here; their weights are random."""

Case = Callable[[], object]


def _config(kind: str, **sizes: int) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **sizes)


def load(model: str, shape: str | None, device: str | None, dtype: str) -> tuple[Any, Any]:
    """The model and its tokenizer; a model of a shape has none."""
    if shape is None:
        return bauklens.load(model, device=device, dtype=dtype)
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    wanted = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    loaded = AutoModelForCausalLM.from_config(SHAPES[shape](), dtype=wanted)
    return loaded.eval().requires_grad_(False).to(device or ("cuda" if torch.cuda.is_available() else "cpu")), None


def prompt_of(tokenizer: Any, vocabulary: int, tokens: int) -> torch.Tensor:
    """(position,), the README's first tokens, repeated; random ones without a tokenizer."""
    if tokenizer is None:
        return torch.randint(0, vocabulary, (tokens,), generator=torch.Generator().manual_seed(0))
    found = tokenizer(TEXT.read_text(encoding="utf-8"))["input_ids"]
    return torch.tensor((found * (1 + tokens // len(found)))[:tokens])


def random_decoder(found: Any) -> bauklens.JacobianLens:
    """A map for every layer except the last, in float16 as in files."""
    generator, size = torch.Generator().manual_seed(0), (found.width, found.width)
    maps = {label: torch.randn(size, generator=generator).half() for label in found.labels[:-1]}
    return bauklens.JacobianLens(maps, name="random")


class Cases:
    """The cases that are measured, on one prompt.

    Args:
        model, tokenizer: as :func:`load` returns them.
        prompt: (position,).
        decoder: the decoder of the case that uses one; by default a random one.
    """

    def __init__(
        self, model: Any, tokenizer: Any, prompt: torch.Tensor, decoder: bauklens.Decoder | None = None
    ) -> None:
        self.model, self.tokenizer, self.prompt = model, tokenizer, prompt
        self.token_ids = prompt[None].to(next(model.parameters()).device)
        self.found = resolving.resolve(model, Inputs(self.token_ids))
        self.head = model.get_submodule(self.found.head)
        self.low = self.head.weight.to(torch.bfloat16)
        self.decoder = decoder or random_decoder(self.found)
        self.lens = bauklens.logit_lens(model, tokenizer, prompt)

    def all(self) -> dict[str, Case]:
        """Name -> case, the forward pass first."""
        cases: dict[str, Case] = {"forward pass": self.forward, FLOOR: self.floor}
        if self.notebook_bytes < 0.6 * _free_bytes(self.token_ids.device):
            cases["notebook: softmax of everything"] = self.notebook
        cases |= {
            "bauklens, top-k only": lambda: self._lens(measures=[]),
            LENS: lambda: self._lens(),
            "bauklens, through a decoder": lambda: self._lens(decoder=self.decoder, missing="plain"),
            "bauklens, with tracked tokens": lambda: self._lens(measures=[], track=200),
            "exact, top-k only": lambda: self._lens(measures=[], precision="exact"),
            "exact, with its measures": lambda: self._lens(precision="exact"),
            "exact, with tracked tokens": lambda: self._lens(measures=[], precision="exact", track=200),
            "last position, top-k only": lambda: self._lens(measures=[], positions=-1),
            "half of the layers, top-k only": lambda: self._lens(
                measures=[], layers=range(len(self.found.blocks) // 2)
            ),
            "hidden states only": lambda: bauklens.get_hidden_states(self.model, None, self.prompt),
            "look at the model for the first time": self.resolve,
            "write the table as HTML": lambda: self.lens.to_html(),
            "write the page": self.page,
        }
        return cases

    @property
    def notebook_bytes(self) -> int:
        """Logits and probabilities of everything, in float32."""
        return 2 * 4 * len(self.found.blocks) * len(self.prompt) * self.found.vocabulary

    @property
    def state_bytes(self) -> int:
        """Keeps the hidden states, as every way does."""
        states = (1 + len(self.found.blocks)) * len(self.prompt) * self.found.width
        return int(states * self.head.weight.element_size())

    def forward(self) -> object:
        """Runs only the model."""
        with evaluating(self.model):
            return model_logits(self.model, Inputs(self.token_ids), logits_to_keep=1)

    def floor(self) -> None:
        """The forward pass plus one bfloat16 product with the head for every layer, results discarded."""
        self.forward()
        states = torch.zeros(len(self.prompt), self.low.shape[1], dtype=torch.bfloat16, device=self.low.device)
        logits = torch.empty(len(self.prompt), len(self.low), dtype=torch.bfloat16, device=self.low.device)
        for _ in range(1 + len(self.found.blocks)):
            torch.mm(states, self.low.T, out=logits)

    def notebook(self) -> object:
        """As notebooks do it: hooks on every block, then the norm, the head, a softmax and a top-k of everything."""
        kept: list[torch.Tensor] = []
        blocks = [self.model.get_submodule(name) for name in self.found.blocks]
        hooks = [block.register_forward_hook(lambda *given: kept.append(state_of(given[-1]))) for block in blocks]
        with torch.no_grad():
            self.forward()
            for hook in hooks:
                hook.remove()
            states = torch.cat(kept)
            for name in self.found.tail[:-1]:
                states = self.model.get_submodule(name)(states)
            return torch.softmax(self.head(states), dim=-1).topk(5)

    def resolve(self) -> object:
        """The one-time cost of the first call on a model."""
        resolving.forget(self.model)
        return resolving.resolve(self.model, Inputs(self.token_ids))

    def page(self) -> None:
        """A file with the whole lens."""
        with tempfile.TemporaryDirectory() as folder:
            bauklens.save_report(self.lens, Path(folder) / "lens.html")

    def _lens(self, **arguments: Any) -> Any:
        return bauklens.logit_lens(self.model, self.tokenizer, self.prompt, **{"track": 0, **arguments})


def seconds(cases: dict[str, Case], rounds: int) -> dict[str, float]:
    """Each case's median over several rounds, in each of which every case runs twice and the second time counts.

    So no case pays for the one before it: a machine that has just been given back gigabytes is slower for a while.
    """
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in tqdm(range(max(1, rounds)), desc="Rounds", unit="round", disable=None):
        for name, case in cases.items():
            if rounds:
                case()
            _synchronize()
            started = time.perf_counter()
            case()
            _synchronize()
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in taken.items()}


def peak_bytes(case: Case) -> int | None:
    """The peak memory of a case above that before it; None if the system does not report it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        case()
        return torch.cuda.max_memory_allocated() - before
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak, proc(5)
        before = _status("VmRSS")
        case()
        return _status("VmHWM") - before
    except OSError:
        return None


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def _free_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(name: str, model: Any, tokenizer: Any, tokens: int, rounds: int) -> dict[str, Any]:
    """One run: everything that the tables need, as plain values."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    decoder = bauklens.load_decoder("demo") if name == "demo" else None
    cases = Cases(model, tokenizer, prompt_of(tokenizer, vocabulary, tokens), decoder)
    every = cases.all()
    taken = seconds(every, rounds)
    peaks = {name: peak_bytes(case) for name, case in every.items()}
    return {
        "model": name,
        "dtype": str(cases.head.weight.dtype).removeprefix("torch."),
        "layers": len(cases.found.blocks),
        "tokens": tokens,
        "rounds": rounds,
        "machine": machine(cases.token_ids.device),
        "torch": torch.__version__,
        "decoding": dict(cases._lens().provenance["decoding"]),  # the first lenses of a process are not in int8
        "parts": parts_of(every[LENS], cases.head.weight, rounds),
        "state_bytes": cases.state_bytes,
        "notebook_bytes": cases.notebook_bytes,
        "seconds": taken,
        "peak_bytes": peaks,
    }


def machine(device: torch.device) -> str:
    """The machine of the measurement."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    capability = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    return f"{name}, {capability}, {threads} thread{'s' if threads > 1 else ''}"


COLUMNS = ("", "milliseconds", "forward passes", "floors", "notebooks", "MB above the forward pass")


def rows_of(run: dict[str, Any]) -> list[list[str]]:
    """The table of one run, as text."""
    taken, peaks = run["seconds"], run["peak_bytes"]
    forward, floor = (taken[name] for name in list(taken)[:2])
    notebook = taken.get("notebook: softmax of everything")
    least = peaks["forward pass"]
    rows = []
    for name, each in taken.items():
        peak = "" if peaks[name] is None else f"{max(0, peaks[name] - least) / 1e6:,.0f}"
        ratio = "" if notebook is None else f"{each / notebook:.2f}"
        rows.append([name, f"{1000 * each:,.1f}", f"{each / forward:.2f}", f"{each / floor:.2f}", ratio, peak])
    return rows


def heading(run: dict[str, Any]) -> str:
    """What a table is about."""
    return f"{run['model']}, {run['layers']} layers, {run['tokens']:,} tokens, {run['dtype']}"


def notes(run: dict[str, Any]) -> str:
    """Facts that the table does not show."""
    decoding, states = run["decoding"], run["state_bytes"] / 1e6
    often = f"medians of {run['rounds']}" if run["rounds"] else "each measured once"
    text = (
        f"{run['machine']}, torch {run['torch']}, {often}. bauklens decoded "
        f"{decoding['rows']:,} rows in {decoding['precision']}, {decoding['decoded again']:,} of them again in "
        f"{run['dtype']}; the hidden states, which every way keeps, are {states:,.0f} MB of its memory."
    )
    if "notebook: softmax of everything" in run["seconds"]:
        return text
    return f"{text} The notebook's way would need {run['notebook_bytes'] / 1e9:,.0f} GB here, and was left out."


def show(run: dict[str, Any]) -> None:
    """Prints one run."""
    console = Console()
    table = Table(title=heading(run), caption=notes(run))
    for column in COLUMNS:
        table.add_column(column, justify="right" if column else "left")
    for row in rows_of(run):
        table.add_row(*row)
    if not console.is_terminal:
        console.width = max(console.width, 120)  # a pipe has no width of its own, and every word is to be read
    console.print(table)


def write_docs(runs: list[dict[str, Any]], folder: Path) -> None:
    """docs/PERFORMANCE.md of these runs and of those kept from before, a run of the same kind replaced."""
    kept = folder / "performance.json"
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    every = {_kind(run): run for run in [*before, *runs]}
    ordered = [every[kind] for kind in sorted(every)]
    kept.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    parts = [_INTRODUCTION]
    for run in ordered:
        lines = [" | ".join(row) for row in [list(COLUMNS), ["---", *["---:"] * (len(COLUMNS) - 1)], *rows_of(run)]]
        table = "\n".join(f"| {line} |" for line in lines)
        parts.append(f"## {heading(run)}\n\n{table}\n\n{notes(run)}\n\n`{_command(run)}`\n")
    parts += [growth(ordered), of_parts(ordered, LENS, FLOOR)]
    if (folder / VIEWER).exists():
        parts.append(of_the_viewer(json.loads((folder / VIEWER).read_text(encoding="utf-8"))))
    if (folder / SWEEP).exists():
        parts.append(of_sweeps(json.loads((folder / SWEEP).read_text(encoding="utf-8"))))
    if (folder / PATHS).exists():
        parts.append(of_paths(json.loads((folder / PATHS).read_text(encoding="utf-8"))))
    if (folder / START).exists():
        parts.append(of_the_start(json.loads((folder / START).read_text(encoding="utf-8"))))
    if (folder / SERVE).exists():
        parts.append(of_the_live_page(json.loads((folder / SERVE).read_text(encoding="utf-8"))))
    if (folder / PEERS).exists():
        parts.append(of_the_peers(json.loads((folder / PEERS).read_text(encoding="utf-8"))))
    if (folder / GPU).exists():
        parts.append(of_gpus(json.loads((folder / GPU).read_text(encoding="utf-8"))))
    (folder / "PERFORMANCE.md").write_text("\n".join(parts), encoding="utf-8")


def growth(runs: list[dict[str, Any]]) -> str:
    """How the cost beyond the forward pass grows with the positions and with the layers."""
    lines = [
        "## Growth",
        "",
        "What `bauklens.logit_lens(..., measures=[])` costs beyond the forward pass, for each row (a layer at a "
        "position). It stays "
        "about the same, so the growth is linear; in short prompts, one-time work counts for more. *Half* is `layers=` "
        "the first half of the blocks.",
        "",
        "| | tokens | rows | milliseconds a row, all layers | exact | half of the layers |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        taken, rows = run["seconds"], run["decoding"]["rows"]
        forward, half = taken["forward pass"], run["layers"] // 2
        costs = [
            (taken["bauklens, top-k only"] - forward) / rows,
            (taken["exact, top-k only"] - forward) / rows,
            (taken["half of the layers, top-k only"] - forward * half / run["layers"]) / (half * run["tokens"]),
        ]
        cells = " | ".join(f"{1000 * cost:.2f}" for cost in costs)
        lines.append(f"| {run['model']} | {run['tokens']:,} | {rows:,} | {cells} |")
    return "\n".join(lines) + "\n"


def _kind(run: dict[str, Any]) -> tuple[str, str, str, int]:
    return run["model"], run["machine"], run["dtype"], run["tokens"]


def _command(run: dict[str, Any]) -> str:
    shape = run["model"].removesuffix(" (random weights)")
    which = f"--shape {shape}" if run["model"] != shape else f"--model {run['model']}"
    rest = f"--dtype {run['dtype']} --tokens {run['tokens']} --rounds {run['rounds']} --docs"
    return f".venv/bin/python scripts/benchmark.py {which} {rest}"


_INTRODUCTION = """# Performance

Written by `scripts/benchmark.py --docs`. All cases of a table were measured in one run, alternating. Each ran twice in
a row, and the second run counts; read the ratios, as machines are noisy. *Floor* is the forward pass plus one bfloat16
product with the unembedding for every layer, results discarded: a lower bound without leaving something out.
*Notebook* is the plain way: hooks, the norm, the head, softmax and top-k of every layer at once. Memory is the peak of
the process above that of the forward pass, the hidden states included.

![Bars of the time of the floor, bauklens, and the notebook's way for 32, 128 and 512 tokens: bauklens stays close to
the floor, and the notebook's way takes more and more forward passes](pictures/PERFORMANCE.svg)
"""


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", default="demo", show_default=True)
@click.option("--shape", type=click.Choice(sorted(SHAPES)), help="A model of this real size with random weights.")
@click.option("--device", help="By default CUDA if available.")
@click.option("--dtype", default="auto", show_default=True, help="float32, bfloat16 or float16.")
@click.option("--tokens", multiple=True, default=[32, 128, 512, 2048], show_default=True, help="Lengths of the prompt.")
@click.option("--rounds", default=5, show_default=True, help="0 runs each case once, without warming up.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option("--docs", is_flag=True, help="Write them to docs/PERFORMANCE.md.")
@click.option("--sweep", is_flag=True, help="Measure sweeps of many prompts instead, by one worker and by two.")
@click.option("--paths", "by_path", is_flag=True, help="Measure each path through the package instead.")
@click.option("--prompts", default=256, show_default=True, help="With --sweep: the number of prompts.")
def main(
    model: str,
    shape: str | None,
    device: str | None,
    dtype: str,
    tokens: tuple[int, ...],
    rounds: int,
    json_path: Path | None,
    docs: bool,
    sweep: bool,
    by_path: bool,
    prompts: int,
) -> None:
    """Prints the tables."""
    loaded, tokenizer = load(model, shape, device, dtype)
    runs = []
    if by_path:
        runs.append(_of_paths(model, loaded, tokenizer, tokens, rounds))
        print(of_paths(runs[-1]))
        if docs:
            (DOCS / PATHS).write_text(json.dumps(runs[-1], indent=1) + "\n", encoding="utf-8")
            write_docs([], DOCS)
        tokens = ()
    if sweep:
        about = {"machine": machine(loaded.device), "dtype": str(loaded.dtype).removeprefix("torch.")}
        runs.append(measure_sweep(model, loaded, tokenizer, prompts, max(rounds, 1), about))
        print(of_sweeps(runs[-1]))
        if docs:
            (DOCS / SWEEP).write_text(json.dumps(runs[-1], indent=1) + "\n", encoding="utf-8")
            write_docs([], DOCS)
        tokens = ()
    for length in tokens:
        name = f"{shape} (random weights)" if shape else model
        runs.append(measure(name, loaded, tokenizer, length, rounds))
        show(runs[-1])
        if docs:
            write_docs(runs[-1:], DOCS)
            write_costs(["--docs"], standalone_mode=False)  # its page sets its formulas beside these figures
    if json_path is not None:
        json_path.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


def _of_paths(name: str, model: Any, tokenizer: Any, tokens: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Each path on a prompt of the first of some lengths."""
    decoder = bauklens.load_decoder("demo") if name == "demo" else None
    cases = Cases(model, tokenizer, prompt_of(tokenizer, model.config.vocab_size, tokens[0]), decoder)
    every = paths(model, tokenizer, cases.prompt, cases.decoder, cases.forward)
    command = (
        f".venv/bin/python scripts/benchmark.py --model {name} --paths --tokens {tokens[0]} --rounds {rounds} --docs"
    )
    about = {"machine": machine(model.device), "tokens": tokens[0], "command": command}
    return measure_paths(name, every, max(rounds, 1), about)


if __name__ == "__main__":
    main()

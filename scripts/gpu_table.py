"""The measurements of scripts/gpu_session.py, on the terminal and as a section of docs/PERFORMANCE.md."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

GPU = "performance_gpu.json"
"""In docs/: the measurements of the script."""

_FORWARD, _FLOOR = "forward pass", "floor: plus one product per layer"


@dataclass(frozen=True)
class Sheet:
    """A table: its first column is text, the others are numbers unless `text` is set."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    text: bool = False


def sheets(found: dict[str, Any]) -> Iterator[Sheet]:
    """The tables of a session; empty ones are left out."""
    for shape, dtype in dict.fromkeys((run["shape"], run["dtype"]) for run in found["runs"]):
        yield _times([run for run in found["runs"] if (run["shape"], run["dtype"]) == (shape, dtype)])
    profiles = [run for run in found["runs"] if "profile" in run]
    if profiles:
        yield _profiles(profiles)
    if found["kernel"]["times"]:
        yield _kernel(found["kernel"]["times"])
    checks = [[each["what"], each["outcome"], each["line"]] for each in found["checks"]]
    if checks:
        yield Sheet("Checks", ["", "outcome", "what was found"], checks, text=True)
    left_out = [[each["what"], each["reason"]] for each in found["left out"]]
    if left_out:
        yield Sheet("Left out or failed", ["", "reason"], left_out, text=True)


def show(found: dict[str, Any]) -> None:
    """Prints a session."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 160)  # a pipe has no width of its own
    console.print(_about(found))
    for sheet in sheets(found):
        table = Table(title=sheet.title, caption=sheet.caption or None)
        for place, column in enumerate(sheet.columns):
            table.add_column(column, justify="right" if place and not sheet.text else "left")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)


def of_gpus(found: dict[str, Any]) -> str:
    """The section of docs/PERFORMANCE.md."""
    parts = ["## GPUs", "", _about(found), ""]
    for sheet in sheets(found):
        rule = ["---", *["---" if sheet.text else "---:"] * (len(sheet.columns) - 1)]
        lines = [f"| {' | '.join(row)} |" for row in [sheet.columns, rule, *sheet.rows]]
        parts += [f"### {sheet.title}", "", *lines, "", *([sheet.caption, ""] if sheet.caption else [])]
    parts.append(f"`{found['command']}`")
    return "\n".join(parts) + "\n"


def _about(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"{found['machine']}, {versions}. Weights are random. Times are medians of up to {found['rounds']} rounds "
        f"after a run that does not count; the session took {found['seconds']:.0f} seconds of "
        f"{found['minutes']:g} minutes."
    )


def _times(runs: list[dict[str, Any]]) -> Sheet:
    """One model in one dtype: one row per way, three columns per length of the prompt."""
    runs = sorted(runs, key=lambda run: run["tokens"])
    names = dict.fromkeys(name for run in runs for name in run["milliseconds"])
    columns = [""]
    for run in runs:
        columns += [f"{run['tokens']:,} tokens, ms", "floors", "MB above the forward pass"]
    rows = [[name, *(cell for run in runs for cell in _cells(run, name))] for name in names]
    states = ", ".join(f"{run['state_bytes'] / 1e6:,.0f}" for run in runs)
    caption = (
        f"The hidden states, which every way except the first three keeps, are {states} MB. TransformerLens is timed "
        "after the others, as it changes the model."
    )
    return Sheet(f"{runs[0]['shape']}, {runs[0]['layers']} layers, {runs[0]['dtype']}", columns, rows, caption)


def _cells(run: dict[str, Any], name: str) -> list[str]:
    taken, peaks = run["milliseconds"], run["peak_bytes"]
    if name not in taken:
        return ["", "", ""]
    floor = f"{taken[name] / taken[_FLOOR]:.2f}" if _FLOOR in taken else ""
    peak, least = peaks.get(name), peaks.get(_FORWARD)
    memory = "" if peak is None or least is None else f"{max(0, peak - least) / 1e6:,.0f}"
    return [f"{taken[name]:,.2f}", floor, memory]


def _profiles(runs: list[dict[str, Any]]) -> Sheet:
    kinds = list(dict.fromkeys(kind for run in runs for kind in run["profile"]))
    rows = [
        [
            f"{run['shape']}, {run['dtype']}, {run['tokens']:,} tokens",
            *(f"{run['profile'][kind]:,.2f}" if kind in run["profile"] else "" for kind in kinds),
        ]
        for run in runs
    ]
    caption = "Milliseconds by torch.profiler. All columns except the first are the lens minus the forward pass."
    return Sheet("What the lens's time is spent on", ["", *kinds], rows, caption)


def _kernel(times: list[dict[str, Any]]) -> Sheet:
    rows = [
        [
            f"{each['way']}, {each['dtype']}, {each['rows']:,} x {each['vocabulary']:,}",
            f"{each['milliseconds']:,.3f}",
            f"{each['torch, milliseconds']:,.3f}",
            f"{each['torch, milliseconds'] / each['milliseconds']:.2f}",
            f"{each['GB/s']:,.0f}",
        ]
        for each in times
    ]
    caption = (
        "Softmax, top-k and entropy of one tile of logits. GB/s is one read of the logits in that time. The package "
        "does not use the kernel."
    )
    return Sheet("One read of the logits", ["", "ms", "torch's operators, ms", "times as fast", "GB/s"], rows, caption)

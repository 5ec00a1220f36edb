"""The measurements of scripts/benchmark_peers.py as tables of docs/PERFORMANCE.md."""

from collections.abc import Iterable, Sequence
from typing import Any

from peers.ways import FLOOR, NAMED

PEERS = "performance_peers.json"
"""In docs/: the measurements of scripts/benchmark_peers.py."""

COLUMNS = (
    "",
    "layers",
    "milliseconds",
    "floors",
    "times bauklens",
    "MB above the forward pass",
    "MB kept",
    "first token as bauklens has it",
)

Run = dict[str, Any]


def rows_of(run: Run) -> list[list[str]]:
    """The table of one length, as text; a way without figures has its reason in :func:`left_out`."""
    found = run["ways"]
    floor = found[FLOOR]["seconds"]
    rows = []
    for name, each in found.items():
        if "reason" in each:
            rows.append([name, *[""] * 6, "not measured"])
            continue
        measure = found[NAMED[name].measure].get("seconds")
        rows.append(
            [
                name,
                str(each.get("layers", "")),
                f"{1000 * each['seconds']:,.1f}",
                f"{each['seconds'] / floor:.2f}",
                "" if measure is None else f"{each['seconds'] / measure:.2f}",
                *(_megabytes(each[column]) for column in ("peak", "kept")),
                f"{each['same']:,} of {each['of']:,}" if "same" in each else "",
            ]
        )
    return rows


def left_out(run: Run) -> list[str]:
    """One line for each way without figures."""
    return [f"{name}: {each['reason']}" for name, each in run["ways"].items() if "reason" in each]


def heading(run: Run) -> str:
    """What a table is about."""
    return f"{run['tokens']:,} tokens of {run['model']}"


def notes(run: Run) -> str:
    """Facts that the table does not show."""
    apart = [each["difference"] for each in run["ways"].values() if "difference" in each]
    return (
        f"{run['layers']} layers, {run['dtype']}; {run['machine']}, medians of {run['rounds']}. The probability of the "
        f"first token differs by at most {max(apart):.1g} from that of bauklens."
    )


def of_the_peers(runs: Sequence[Run]) -> str:
    """The section of docs/PERFORMANCE.md."""
    lines = ["## Other tools", "", *_INTRODUCTION]
    for run in runs:
        table = _table([list(COLUMNS), ["---", *["---:"] * (len(COLUMNS) - 1)], *rows_of(run)])
        why = [f"- {line}" for line in left_out(run)]
        lines += [
            f"### {heading(run)}",
            "",
            *table,
            "",
            *([*why, ""] if why else []),
            notes(run),
            "",
            _command(run),
            "",
        ]
    lines += ["### What is called", "", *_calls(runs)]
    return "\n".join(lines) + "\n"


def _calls(runs: Sequence[Run]) -> list[str]:
    """The calls, and the versions; versions that every process had are listed once."""
    versions = {name: told.items() for run in runs for name, told in run["versions"].items()}
    shared = set.intersection(*map(set, versions.values()))
    rows = [["", "what is called", "versions"], ["---", "---", "---"]]
    for name, told in versions.items():
        rows.append([name, NAMED[name].call, _listed(each for each in told if each not in shared)])
    return [*_table(rows), "", f"All had {_listed(sorted(shared))}."]


def _listed(versions: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {release}" for name, release in versions)


def _command(run: Run) -> str:
    which = f"--model {run['model']} --tokens {run['tokens']} --rounds {run['rounds']}"
    return f"`.venv/bin/python scripts/benchmark_peers.py {which} --docs`"


def _table(rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in rows]


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{max(0, size) / 1e6:,.0f}"


_INTRODUCTION = (
    "The time and memory that it takes to read the top 5 tokens and their probabilities at every layer and position. "
    "Each tool is used as in its documentation, in its own process. A tool that does not work with our versions "
    "has its own virtual environment, with the same torch and transformers. No tool computes gradients. In a round, "
    "the tools take turns; each runs twice, and the second run counts. A tool is timed only if its first token equals "
    "that of bauklens in at least 99 % of the rows.",
    "",
    "*Layers* is how many rows a tool gives for each token; some include the embedding. *Floors* is the time as a "
    "multiple of the floor. *Times bauklens* is the time as a multiple of that of bauklens with its default measures; "
    "the other tools compute at most the entropy. The Jacobian lens is compared with bauklens through the same lens. "
    "*Above the forward pass* is the peak of memory during a call. *Kept* is what stays in memory between calls, such "
    "as a copy of the unembedding.",
    "",
)

"""The measurements of scripts/benchmark_viewer.py as tables of docs/PERFORMANCE.md."""

from typing import Any

_OPENING = ("first paint", "open", "longest block", "open, work")
_MOVING = {
    "scroll": "scrolling",
    "scroll, reader": "scrolling, with the reader",
    "held": "arrow keys held",
    "held, reader": "arrow keys held, with the reader",
}
_KEYS = {
    "arrows": "arrow keys",
    "arrows, reader": "arrow keys, with the reader",
    "pins": "p: pin and unpin",
    "jumps": "jumps: Home, End, n",
}


def of_the_viewer(found: dict[str, Any]) -> str:
    """The section about the viewer."""
    rounds, loads = found["rounds"], [row["load"] for row in found["rows"]]
    lines = [
        "## The viewer",
        "",
        "Pages of random numbers that are a little harder to compress than real ones (12 % more bytes, see "
        "scripts/viewer_cases.py), with every default measure, and as many tracked tokens as a result keeps by "
        "default, in a window of 1,400 x 900 pixels. Three tokens are pinned from the start, two of them tracked. The "
        "panel shows the charts, or the reader. All times are in milliseconds.",
        "",
        "*First paint* is when anything was painted first, which for ours is the table that needs no script. *Open* is "
        "when the viewer was painted. *Longest block* is the longest time in which the page did not respond on the "
        "way. *Processor* is the time that the page's main thread worked for it, which other work on the machine "
        "affects less.",
        "",
        *opening_table(found),
        "",
        "Frames while something moves: the median, and the longest of an opening (16.7 if no frame is late).",
        "",
        *moving_table(found),
        "",
        "From a key to the paint after it: the median, and the longest of an opening. Jumps replace all visible cells.",
        "",
        *keys_table(found),
        "",
        "Processor time of the main thread for a key, with everything that follows: the mean, and the longest task.",
        "",
        *work_table(found),
        "",
        f"Chromium {found['browser']}, headless, without a GPU, medians of {rounds} openings each, on a machine with "
        f"{found['cores']} cores that had other work (load {min(loads):.1f} to {max(loads):.1f} when a row began). "
        f"{found['peers']}",
        "",
        "`.venv/bin/python scripts/benchmark_viewer.py --docs`",
    ]
    return "\n".join(lines) + "\n"


def work_table(found: dict[str, Any]) -> list[str]:
    """Processor time of keys, as lines."""
    names = {f"{name}, work": said for name, said in _KEYS.items()}
    rows = [row for row in found["rows"] if "arrows, work" in row]
    return _table(["", "page", *names.values()], [[*_named(row), *_pairs(row, names)] for row in rows], 2)


def opening_table(found: dict[str, Any]) -> list[str]:
    """Sizes and times of opening, as lines."""
    heads = ["", "page", "tracked", "size", "first paint", "open", "longest block", "processor", "elements"]
    rows = [
        [
            *_named(row),
            "" if row["tracked"] is None else f"{row['tracked']}",
            f"{row['bytes'] / 1e6:.2f} MB",
            *(f"{row[name][0]:,.0f}" for name in _OPENING),
            f"{row['elements']:,}",
        ]
        for row in found["rows"]
    ]
    return _table(heads, rows, 2)


def moving_table(found: dict[str, Any]) -> list[str]:
    """Frames, as lines."""
    return _table(["", "page", *_MOVING.values()], [[*_named(row), *_pairs(row, _MOVING)] for row in found["rows"]], 2)


def keys_table(found: dict[str, Any]) -> list[str]:
    """Keys, as lines; pages without keys are left out."""
    rows = [row for row in found["rows"] if "arrows" in row]
    return _table(["", "page", *_KEYS.values()], [[*_named(row), *_pairs(row, _KEYS)] for row in rows], 2)


def _named(row: dict[str, Any]) -> list[str]:
    return [row["case"], row["page"]]


def _pairs(row: dict[str, Any], names: dict[str, str]) -> list[str]:
    return [f"{row[name][0]:,.0f}, {row[name][1]:,.0f}" if name in row else "" for name in names]


def _table(heads: list[str], rows: list[list[str]], texts: int) -> list[str]:
    rule = ["---"] * texts + ["---:"] * (len(heads) - texts)
    return [f"| {' | '.join(row)} |" for row in [heads, rule, *rows]]

"""The measurements of scripts/benchmark_decoders.py as tables: in Markdown for the pages, and on a terminal."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FIGURES, PAGE, GUIDE = "decoders.json", "DECODERS.md", "guide/decoders.md"
"""In docs/: the figures, the page with all tables, and the page with one small one."""

ENDS = "<!-- until here -->"

PARTS = ("quality", "evaluation", "causal", "cost")

Run = Mapping[str, Any]
Cells = list[list[str]]


def tables_of(part: str, found: Run) -> list[Cells]:
    """The tables of a part, each with its header first."""
    return {"quality": _quality, "evaluation": _evaluation, "causal": _causal, "cost": _cost}[part](found)


def overview(found: Run) -> Cells:
    """KL and agreement in one table, without intervals."""
    rows = [
        [row["name"], *(_both(row["kl"].get(layer), row["agreement"].get(layer)) for layer in found["layers"])]
        for row in found["rows"]
    ]
    return [["KL in nats / same top token", *_of_layers(found)], *rows]


def notes(part: str, found: Run, *, intervals: bool = True) -> str:
    """What a part was measured on, and the command that repeats it."""
    about, said = found["about"], []
    if part in ("quality", "causal"):
        said.append(f"{found['positions']:,} positions of {found['texts']} texts {about['texts']}")
    if part == "causal":
        tokens = f"{found['tokens']} token{'s' if found['tokens'] > 1 else ''}"
        said[-1] = f"{tokens} for each of {found['texts']} texts {about['texts']}"
    if part == "evaluation":
        said.append(f"Best rank over layers {', '.join(found['layers'])}")
    if part == "cost":
        said.append(f"Fitted on texts {about['texts']}")
        if found.get("writing") is not None:
            said[-1] += f", which took {found['writing']:,.0f} s and is not counted"
        if "jacobian" in found:
            said.append(f"The two Jacobians differ by {found['jacobian']['differ by']:.0e} of their norm")
    if found.get("temperatures"):
        ends = min(found["temperatures"].values()), max(found["temperatures"].values())
        said.append(f"Temperatures of the logit lens: {ends[0]:.2g} to {ends[1]:.2g}")
    if intervals and any(_has_interval(each) for row in found.get("rows", ()) for each in _intervals(row)):
        said.append(f"In brackets: 95 % intervals over {'items' if part == 'evaluation' else 'texts'}")
    said.append(f"{about['model']}, {about['machine']}, torch {about['torch']}, {about['minutes']:.1f} minutes")
    said.append(f"Repeat it with `{about['command']}`" if about.get("command") else about["from"])
    return ". ".join(said) + "."


def as_markdown(table: Cells) -> str:
    """A table."""
    head, *rows = table
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def regions(figures: Run) -> dict[str, str]:
    """Name of a region -> its text; for a part that was not measured, a line about it."""
    found = {}
    for part in PARTS:
        if part in figures:
            found[part] = "\n".join(map(as_markdown, tables_of(part, figures[part])))
            found[part] += f"\n{notes(part, figures[part])}\n"
        else:
            found[part] = "Not measured yet.\n"
    found["overview"] = (
        f"{as_markdown(overview(figures['quality']))}\n{notes('quality', figures['quality'], intervals=False)}\n"
        if "quality" in figures
        else "Not measured yet.\n"
    )
    return found


def begins(region: str) -> str:
    """The comment at the beginning of a region."""
    return f"<!-- {region}: written by scripts/benchmark_decoders.py -->"


def write_docs(found: Run, folder: Path) -> None:
    """Keeps the measured parts together with earlier ones, and writes the tables into the pages.

    Raises:
        ValueError: a page has no place for a table.
    """
    path = folder / FIGURES
    figures = {**(json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}), **found}
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    written = regions(figures)
    for page, names in ((PAGE, PARTS), (GUIDE, ("overview",))):
        text = (folder / page).read_text(encoding="utf-8")
        for name in names:
            text = _replaced(text, name, written[name], page)
        (folder / page).write_text(text, encoding="utf-8")


def show(found: Run) -> None:
    """Prints all tables."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 160)
    for part in (part for part in PARTS if part in found):
        tables = tables_of(part, found[part])
        for number, (head, *rows) in enumerate(tables, 1):
            table = Table(caption=notes(part, found[part]) if number == len(tables) else None)
            for place, column in enumerate(head):
                table.add_column(column, justify="right" if place else "left")
            for row in rows:
                table.add_row(*row)
            console.print(table)


def _replaced(text: str, region: str, written: str, page: str) -> str:
    pattern = f"{re.escape(begins(region))}.*?{re.escape(ENDS)}"
    text, count = re.subn(pattern, lambda _: f"{begins(region)}\n\n{written}\n{ENDS}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{page} has no place for a table: looked for {begins(region)} and {ENDS}")
    return text


def _quality(found: Run) -> list[Cells]:
    return [
        [
            [head, *_of_layers(found)],
            *([row["name"], *_cells(row[name], found["layers"], form)] for row in found["rows"]),
        ]
        for head, name, form in (("KL in nats", "kl", "{:.2f}"), ("same top token, %", "agreement", "{:.0%}"))
    ]


def _evaluation(found: Run) -> list[Cells]:
    named = [each["name"] for each in found["sets"]]
    tables = []
    for k in found["ks"]:
        head = [f"pass@{k}, %", *named, "mean"]
        rows = [[row["name"], *_cells(row["passed"][str(k)], [*named, "mean"], "{:.1%}")] for row in found["rows"]]
        tables.append([head, *rows])
    return tables


def _causal(found: Run) -> list[Cells]:
    head = ["gain in log p, nats", *_of_layers(found)]
    return [[head, *([row["name"], *_cells(row["causal"], found["layers"], "{:.2f}")] for row in found["rows"])]]


def _cost(found: Run) -> list[Cells]:
    fits = [["fit", "layers", "windows", "tokens", "seconds"]]
    fits += [
        [
            each["name"],
            str(each["layers"]),
            f"{each['prompts']:,}",
            f"{each['tokens']:,}",
            "cut off, and went on" if each["seconds"] is None else f"{each['seconds']:,.1f}",
        ]
        for each in found["fits"]
    ]
    jacobian = found.get("jacobian")
    if jacobian is None:
        return [fits]
    timed = [["one window's exact Jacobian, all layers", "seconds"]]
    timed += [["bauklens", f"{jacobian['seconds']:,.1f}"]]
    plain = (
        f"plain: {jacobian['copies']} copies of the window, {jacobian['passes']} backward passes; "
        f"{jacobian['rows']} of {jacobian['width']} rows were timed, and scaled"
    )
    timed += [[plain, f"{jacobian['plain_seconds']:,.1f}"]]
    return [fits, timed]


def _of_layers(found: Run) -> list[str]:
    return [f"layer {layer}" for layer in found["layers"]]


def _cells(values: Mapping[str, Sequence[Any]], names: Iterable[str], form: str) -> list[str]:
    return [_cell(values.get(name), form) for name in names]


def _cell(value: Sequence[Any] | None, form: str) -> str:
    """A value, and the ends of its interval if known; shares in percent without the sign."""
    if value is None or value[0] is None:
        return ""
    texts = [form.format(each).removesuffix("%") for each in value if each is not None]
    return texts[0] if len(texts) < 3 else f"{texts[0]} ({texts[1]} .. {texts[2]})"


def _both(kl: Sequence[Any] | None, agreement: Sequence[Any] | None) -> str:
    return "" if kl is None or agreement is None else f"{kl[0]:.2f} / {100 * agreement[0]:.0f} %"


def _intervals(row: Run) -> Iterable[Any]:
    """All (value, low, high) of a row."""
    for each in row.values():
        if isinstance(each, Mapping):
            yield from _intervals(each)
        elif isinstance(each, (list, tuple)):
            yield each


def _has_interval(value: Sequence[Any]) -> bool:
    return len(value) == 3 and value[1] is not None

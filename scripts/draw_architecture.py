#!/usr/bin/env python3
"""Draws docs/architecture.svg, and writes the table of docs/architecture.md, from the imports of the package.

A room is a few modules that belong together. An arrow goes from a room to one that it imports, at once or when it is
needed; one that another way round implies is left out, and so are the methods of a result that fetch its pages.

.venv/bin/python scripts/draw_architecture.py
"""

import ast
import re
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bauklens"
PICTURE = ROOT / "docs" / "architecture.svg"
PAGE = ROOT / "docs" / "architecture.md"

ROOMS = {
    "command": (("__main__", "cli", "command"), "the `bauklens` command, its options, and errors in one line"),
    "loading": (("loading", "doctor"), "`load()`; what a machine has. Transformers is imported here alone"),
    "lens": (
        ("lens", "request", "run", "words", "notebook", "apart", "neurons", "inspection"),
        "`logit_lens()`: what it is asked for, one run, its rows decoded, and the check; two models; neurons",
    ),
    "pages": (
        ("page", "table", "view", "script", "frontend", "ranking", "summary", "terminal"),
        "the static table, the viewer's data and script, fragments and pages, means over a corpus, the terminal",
    ),
    "result": (
        ("result", "sound", "storage", "export", "interchange", "comparison", "plot"),
        "`LensResult`: frozen arrays, files, frames, figures; two beside each other. No torch from here to the page",
    ),
    "decoding": (
        ("decode", "reference", "unembed", "mixed", "reading"),
        "states to what is read off their logits, some rows at a time, in bfloat16 where that is certain",
    ),
    "streams": (
        ("stream", "batch", "generation"),
        "hidden states and deltas of a forward pass, of several prompts at once; what a model goes on to say",
    ),
    "anatomy": (
        ("anatomy", "layout", "sublayers", "head", "replay", "proof"),
        "finds the blocks and the tail of a model by running it, how it is decoded, and the proof",
    ),
    "tracing": (
        ("trace", "tracedict", "calls", "prompt", "wrappers"),
        "baukit's `TraceDict` or our own; a model is left as it was; prompts to ids",
    ),
    "measures": (("measure", "measures", "targets"), "measures as pure functions, their names and units; targets"),
    "ground": (
        ("__init__", "errors", "files", "caches", "progress", "tokens", "readable", "select", "frozen", "frame",
         "provenance"),
        "errors, files, progress, token texts, arrays that do not change",
    ),
}  # fmt: skip
"""Room -> its modules, and what it is for; each imports only those below it."""

WIDTH, HEIGHT, GAP, MARGIN = 214, 66, 46, 10


def imported(module: str) -> set[str]:
    """The modules of the package that one imports, at once or when they are needed."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "bauklens":
            inner = (node.module or "").partition(".")[2]
            found |= {inner} if inner else {each.name for each in node.names}
    return {each if (PACKAGE / f"{each}.py").exists() else "__init__" for each in found}


def uses() -> dict[str, set[str]]:
    """Room -> the rooms that it imports."""
    room_of = {module: room for room, (modules, _) in ROOMS.items() for module in modules}
    missing = {path.stem for path in PACKAGE.glob("*.py")} ^ set(room_of)
    if missing:
        raise SystemExit(f"ROOMS in scripts/draw_architecture.py is not up to date: {', '.join(sorted(missing))}")
    order = list(ROOMS)
    found = {
        room: {room_of[each] for module in modules if module != "__init__" for each in imported(module)}
        for room, (modules, _) in ROOMS.items()
    }
    return {room: {each for each in below if order.index(each) > order.index(room)} for room, below in found.items()}


def needed(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph without the arrows that a longer way implies."""

    def reached(room: str) -> set[str]:
        return graph[room].union(*(reached(each) for each in graph[room]))

    return {
        room: {each for each in below if not any(each in reached(other) for other in below - {each})}
        for room, below in graph.items()
    }


def rows(graph: dict[str, set[str]]) -> list[list[str]]:
    """Rooms by how far they are from the ground, the farthest first."""

    def depth(room: str) -> int:
        return 1 + max((depth(each) for each in graph[room]), default=0)

    deepest = max(map(depth, graph))
    return [[room for room in graph if depth(room) == level] for level in range(deepest, 0, -1)]


def drawn() -> str:
    """The picture, in the colours of the page that shows it, light or dark."""
    graph = uses()
    levels = rows(graph)
    across = max(map(len, levels))
    whole = across * WIDTH + (across - 1) * GAP + 2 * MARGIN
    tall = len(levels) * (HEIGHT + GAP) - GAP + 2 * MARGIN
    at = {}
    for level, rooms in enumerate(levels):
        left = (whole - len(rooms) * WIDTH - (len(rooms) - 1) * GAP) / 2
        for place, room in enumerate(rooms):
            at[room] = (left + place * (WIDTH + GAP), MARGIN + level * (HEIGHT + GAP))
    parts = [_arrow(at[room], at[other]) for room, below in needed(graph).items() for other in sorted(below)]
    parts += [part for room in ROOMS for part in _box(room, *at[room])]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {tall}"',
            ' font-family="system-ui, sans-serif" text-anchor="middle">',
            "<title>The rooms of bauklens, and which of them each imports</title>",
            "<style>rect{fill:#fff;stroke:#8a93a0}text{fill:#0b0e13}path{stroke:#565e6a}.small{fill:#565e6a}"
            "@media(prefers-color-scheme:dark){rect{fill:#1d2128;stroke:#5b6470}text{fill:#f4f6f9}"
            "path{stroke:#a9b2be}.small{fill:#a9b2be}}</style>",
            '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M1 1L7 4L1 7" fill="none"/></marker></defs>',
            *parts,
            "</svg>\n",
        ]
    )


def _arrow(source: tuple[float, float], target: tuple[float, float]) -> str:
    x, y = source[0] + WIDTH / 2, source[1] + HEIGHT
    to_x, to_y = target[0] + WIDTH / 2, target[1] - 3
    bend = (to_y - y) / 2
    curve = f"M{x:g} {y:g}C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"
    return f'<path d="{curve}" fill="none" stroke-width="1.3" marker-end="url(#end)"/>'


def _box(room: str, x: float, y: float) -> list[str]:
    lines = _lines([each for each in ROOMS[room][0] if not each.startswith("__")])
    middle = x + WIDTH / 2
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="7"/>',
        f'<text x="{middle:g}" y="{y + 19:g}" font-size="15" font-weight="600">{escape(room)}</text>',
        *(
            f'<text class="small" x="{middle:g}" y="{y + 36 + 13 * number:g}" font-size="11">{escape(line)}</text>'
            for number, line in enumerate(lines)
        ),
    ]


def _lines(modules: list[str], longest: int = 38) -> list[str]:
    lines = [""]
    for each in modules:
        if lines[-1] and len(lines[-1]) + len(each) + 2 > longest:
            lines.append("")
        lines[-1] += f"{', ' if lines[-1] else ''}{each}"
    return lines


def table() -> str:
    """The rooms as Markdown, the first that a prompt comes to at the top."""
    lines = ["| room | modules | |", "|---|---|---|"]
    for room, (modules, about) in ROOMS.items():
        named = ", ".join(f"`{each}`" for each in modules)
        lines.append(f"| **{room}** | {named} | {about} |")
    return "\n".join(lines)


def written() -> str:
    """docs/architecture.md with the table as it is now."""
    page = PAGE.read_text(encoding="utf-8")
    return re.sub(r"(<!-- rooms -->\n).*?(\n<!-- end -->)", lambda at: at[1] + table() + at[2], page, flags=re.DOTALL)


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
    PAGE.write_text(written(), encoding="utf-8")

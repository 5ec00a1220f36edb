#!/usr/bin/env python3
"""Draws docs/architecture.svg from the folders of the package and their imports.

A room is a folder; the modules beside the folders are the ground. An arrow goes from a room to one that it imports. An
arrow that a longer path implies is left out, and so are the few upward imports, which setup.cfg names.

.venv/bin/python scripts/draw_architecture.py
"""

import ast
from configparser import ConfigParser
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bauklens"
PICTURE = ROOT / "docs" / "architecture.svg"
GROUND = "ground"

WIDTH, GAP, MARGIN = 284, 40, 10


def levels() -> list[list[str]]:
    """The rooms in the order of setup.cfg, from the command at the top to the ground, row by row."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["importlinter:contract:one-way"]["layers"].split("\n")
    rows = [[each.strip() for each in line.split("|") if (PACKAGE / each.strip()).is_dir()] for line in lines if line]
    return [*filter(None, rows), [GROUND]]


def order() -> list[str]:
    """The rooms, row by row."""
    return [room for row in levels() for room in row]


def modules_of(room: str) -> list[Path]:
    """The modules of a room."""
    found = PACKAGE.glob("*.py") if room == GROUND else (PACKAGE / room).rglob("*.py")
    return sorted(each for each in found if not each.name.startswith("__"))


def uses() -> dict[str, set[str]]:
    """Room -> the rooms below it that it imports, immediately or when needed."""
    rooms = order()
    found: dict[str, set[str]] = {}
    for place, room in enumerate(rooms):
        trees = [ast.parse(module.read_text(encoding="utf-8")) for module in modules_of(room)]
        named = [
            node.module.split(".")[1]
            for tree in trees
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bauklens.") and node.module
        ]
        found[room] = {each if each in rooms else GROUND for each in named} & set(rooms[place + 1 :])
    return found


def needed(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph without the arrows that a longer path implies."""

    def reached(room: str) -> set[str]:
        return graph[room].union(*(reached(each) for each in graph[room]))

    return {
        room: {each for each in below if not any(each in reached(other) for other in below - {each})}
        for room, below in graph.items()
    }


def places(graph: dict[str, set[str]]) -> dict[str, tuple[float, float]]:
    """Room -> the left edge of its box; a single room is in line with its one neighbour in a row of several."""
    rows = levels()
    whole = _across(rows)
    at: dict[str, tuple[float, float]] = {}
    for level, rooms in enumerate(rows):
        left = (whole - len(rooms) * WIDTH - (len(rooms) - 1) * GAP) / 2
        top = MARGIN + sum(height(above[0]) + GAP for above in rows[:level])
        at |= {room: (left + place * (WIDTH + GAP), top) for place, room in enumerate(rooms)}
    beside = {room for row in rows if len(row) > 1 for room in row}
    for (room,) in (row for row in rows if len(row) == 1):
        above, below = [each for each in graph if room in graph[each]], [*graph[room]]
        neighbours = [each for each in (above, below) if len(each) == 1 and each[0] in beside]
        if neighbours:
            at[room] = (at[neighbours[0][0]][0], at[room][1])
    return at


def height(room: str) -> int:
    """The height of the boxes of a row, into which all their modules fit."""
    beside = next(row for row in levels() if room in row)
    return 34 + 13 * max(len(_lines(each)) for each in beside)


def _across(rows: list[list[str]]) -> int:
    most = max(map(len, rows))
    return most * WIDTH + (most - 1) * GAP + 2 * MARGIN


def drawn() -> str:
    """The picture, in the colours of the page that shows it, light or dark."""
    graph = needed(uses())
    rows, at = levels(), places(graph)
    whole, tall = _across(rows), sum(height(row[0]) + GAP for row in rows) - GAP + 2 * MARGIN
    parts = [_arrow(room, at[room], at[other]) for room, below in graph.items() for other in sorted(below)]
    parts += [part for room in graph for part in _box(room, *at[room])]
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


def _arrow(room: str, source: tuple[float, float], target: tuple[float, float]) -> str:
    x, y = source[0] + WIDTH / 2, source[1] + height(room)
    to_x, to_y = target[0] + WIDTH / 2, target[1] - 3
    bend = (to_y - y) / 2
    curve = f"M{x:g} {y:g}C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"
    return f'<path d="{curve}" fill="none" stroke-width="1.3" marker-end="url(#end)"/>'


def _box(room: str, x: float, y: float) -> list[str]:
    lines = _lines(room)
    middle = x + WIDTH / 2
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{height(room)}" rx="7"/>',
        f'<text x="{middle:g}" y="{y + 19:g}" font-size="15" font-weight="600">{escape(room)}</text>',
        *(
            f'<text class="small" x="{middle:g}" y="{y + 36 + 13 * number:g}" font-size="11">{escape(line)}</text>'
            for number, line in enumerate(lines)
        ),
    ]


def _lines(room: str, longest: int = 48) -> list[str]:
    lines = [""]
    for each in (module.stem for module in modules_of(room)):
        if lines[-1] and len(lines[-1]) + len(each) + 2 > longest:
            lines.append("")
        lines[-1] += f"{', ' if lines[-1] else ''}{each}"
    return lines


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")

"""The prose of this project, piece by piece, and what in it a native reader would stumble over.

python -m tests.prose docs/guide/viewer.md bauklens/show   # prints where, and what to write instead
"""

import ast
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORDS = Path(__file__).with_name("prose_words.txt")

Piece = tuple[int, str]
"""The line that a text begins at, and the text."""


def patterns() -> list[tuple[re.Pattern[str], str]]:
    """What to look for, and what to write instead."""
    lines = [line for line in WORDS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pairs = [re.split(r"\s{2,}", line, maxsplit=1) for line in lines]
    return [(re.compile(pattern, re.IGNORECASE | re.MULTILINE), better) for pattern, better in pairs]


def sources() -> list[Path]:
    """Every file whose prose is read."""
    found = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    found += (ROOT / "docs").rglob("*.md")
    found += (ROOT / "notebooks").glob("*.ipynb")
    for folder in ("bauklens", "scripts"):
        found += (ROOT / folder).rglob("*.py")
    found += [path for path in (ROOT / "bauklens" / "viewer").iterdir() if path.suffix in (".js", ".html")]
    return sorted(found)


def pieces(path: Path) -> Iterator[Piece]:
    """The texts of a file, without code in them."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield 1, _without_code(text)
    elif path.suffix == ".ipynb":
        for cell in json.loads(text)["cells"]:
            if cell["cell_type"] == "markdown":
                yield 1, _without_code("".join(cell["source"]))
    elif path.suffix == ".py":
        yield from _of_python(text)
    elif path.suffix == ".html":
        yield 1, re.sub(r"<[^>]*>", lambda tag: re.sub(r"[^\n]", " ", tag[0]), text)
    else:
        yield from _of_javascript(text)


def _without_code(text: str) -> str:
    """Markdown with code, addresses of links, and quotations blanked out, so that lines keep their numbers."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    for code in (r"^```.*?^```", r"``[^`]+``", r"`[^`]*`", r"\]\([^)]*\)", r"^> .*$", r"“[^”]*”"):
        text = re.sub(code, blank, text, flags=re.DOTALL | re.MULTILINE)
    return text


def _of_python(text: str) -> Iterator[Piece]:
    """Docstrings, all other texts that have more than one word, and comments."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            joined = "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
            yield node.lineno, _without_code(joined)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, _without_code(node.value)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], _without_code(token.string.lstrip("# "))


def _of_javascript(text: str) -> Iterator[Piece]:
    """Texts in quotation marks that have more than one word."""
    for found in re.finditer(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`', text):
        said = found[1] or found[2] or ""
        if " " in said.strip():
            yield text.count("\n", 0, found.start()) + 1, re.sub(r"\$\{[^}]*\}", "{}", said)


def stumbles(path: Path) -> list[str]:
    """Each place in a file that a pattern is found at, as a line that says what to write."""
    found = []
    for line, text in pieces(path):
        for pattern, better in patterns():
            for each in pattern.finditer(text):
                number = line + text.count("\n", 0, each.start())
                said = " ".join(text[max(0, each.start() - 40) : each.end() + 30].split())
                found.append(f"{path.relative_to(ROOT)}:{number}: {said!r}: write {better!r} for {each[0]!r}")
    return found


def main(given: list[str]) -> None:
    """Prints what is found in some files and folders."""
    wanted = [Path(each).resolve() for each in given] or [ROOT]
    for path in sources():
        if any(path == each or each in path.parents for each in wanted):
            print(*stumbles(path), sep="\n", end="\n" if stumbles(path) else "")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Scripts and styles without what a browser ignores: comments, indents, spaces, empty lines. Names do not change."""

import re

_TEXT = r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\""""
_PATTERN = r"(?<=[(,=:\[!&|?{};>]) ?/(?![/*])(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/"
_SCRIPT = re.compile(rf"({_TEXT}|{_PATTERN})|(`)|//[^\n]*|/\*.*?\*/|(\s+)", re.DOTALL)
_IN_TEMPLATE = re.compile(r"\\.|`|\$\{", re.DOTALL)
_IN_BRACES = re.compile(rf"{_TEXT}|[`{{}}]", re.DOTALL)
_WORD = re.compile(r"[\w$]")

_STYLE = re.compile(r"""("[^"\n]*")|/\*.*?\*/|\s*([{};,])\s*|(:)\s+|\s+""", re.DOTALL)


def minified_script(script: str) -> str:
    """A script in fewer characters; lines stay lines, as some statements end with them.

    It must be written like this package's scripts: a pattern follows a sign, and no text spans several lines.
    """
    parts: list[str] = []
    end = 0
    while found := _SCRIPT.search(script, end):
        parts.append(script[end : found.start()])
        end = found.end()
        kept, template, space = found.groups()
        if template:
            end = _end_of_template(script, end)
            parts.append(script[found.start() : end])
        elif kept is not None:
            parts.append(kept.lstrip(" "))
        elif space is not None:
            around = script[max(0, found.start() - 1) : found.start()] + script[end : end + 1]
            parts.append("\n" if "\n" in space else " " if _needs_space(around) else "")
    lines = "".join([*parts, script[end:]]).split("\n")
    return "\n".join(line.strip(" ") for line in lines if line.strip())


def minified_style(style: str) -> str:
    """A stylesheet on one line."""

    def shorter(found: re.Match[str]) -> str:
        text, sign, colon = found.groups()
        return text or sign or colon or ("" if found[0].startswith("/*") else " ")

    return _STYLE.sub(shorter, style).replace(";}", "}").strip()


def _needs_space(around: str) -> bool:
    """Whether the characters around a space would be read as one sign or name without it."""
    return around in ("++", "--", "+-", "-+", "//") or len(_WORD.findall(around)) == 2


def _end_of_template(script: str, place: int) -> int:
    """The place behind a template's closing backtick, from the place behind its opening one."""
    while found := _IN_TEMPLATE.search(script, place):
        place = found.end()
        if found[0] == "`":
            return place
        if found[0] == "${":
            place = _end_of_braces(script, place)
    raise ValueError("a template of the script does not end")


def _end_of_braces(script: str, place: int) -> int:
    depth = 1
    while depth and (found := _IN_BRACES.search(script, place)):
        place = found.end()
        if found[0] == "`":
            place = _end_of_template(script, place)
        depth += {"{": 1, "}": -1}.get(found[0], 0)
    return place

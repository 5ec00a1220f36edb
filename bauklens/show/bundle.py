"""The viewer's modules as one script: in the order of their imports, each once, and safe inside a script element.

There are two stylesheets: one for the static tables, and one for the viewer and the pages.
"""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from markupsafe import Markup

from bauklens.show.minified import minified_script, minified_style

VIEWER = Path(__file__).parent.parent / "viewer"

_IMPORT = re.compile(r'^import \{ [\w, ]+ \} from "\./(\w+)\.js";\n', re.MULTILINE)
_TOP_LEVEL = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (\[[^\]]*\]|\w+)", re.MULTILINE)
_COMMENT = re.compile(r"^ *(?://.*|/\*\*(?:[^*]|\*(?!/))*\*/)\n", re.MULTILINE)
_TYPE = re.compile(r"/\*\* @type \{[^}]*\} \*/ ")
_INDENT = re.compile(r"^ +", re.MULTILINE)


@cache
def joined(folder: Path, entry: str) -> str:
    """The module ``entry`` and all that it imports, as one text without imports, exports, comments and indents.

    Raises:
        ValueError: modules import each other in a circle, two of them define the same name at the top level, an import
            or export has an unknown form, or a text would end the script element or open a comment in it.
    """
    texts: dict[str, str] = {}
    names: dict[str, str] = {}

    def add(module: str, above: tuple[str, ...]) -> None:
        if module in above:
            raise ValueError(f"modules import each other in a circle: {' -> '.join([*above, module])}")
        if module in texts:
            return
        source = (folder / f"{module}.js").read_text(encoding="utf-8")
        for imported in _IMPORT.findall(source):
            add(imported, (*above, module))
        for name in (each for found in _TOP_LEVEL.findall(source) for each in re.findall(r"\w+", found)):
            if names.setdefault(name, module) != module:
                raise ValueError(f"{name} is defined at the top level of {names[name]}.js and of {module}.js")
        text = re.sub(r"^export (?=async|function|const|let|class)", "", _IMPORT.sub("", source), flags=re.MULTILINE)
        if re.search(r"^(import|export)\b", text, re.MULTILINE):
            raise ValueError(f"{module}.js imports or exports in a way that cannot be joined")
        if re.search(r"</script|<!--", text, re.IGNORECASE):
            raise ValueError(f"{module}.js holds a text that would end its script element")
        text = _INDENT.sub("", _TYPE.sub("", _COMMENT.sub("", text))).strip()
        texts[module] = f"// {module}.js\n{text}\n"

    add(entry, ())
    return "\n".join(texts.values())


@cache
def viewer_version() -> str:
    """Distinguishes this viewer from any other on a page: a hash of its modules and its style."""
    return hashlib.sha256((joined(VIEWER, "viewer") + page_style()).encode()).hexdigest()[:12]


def table_style() -> Markup:
    """The style of static tables and rankings."""
    return _style("table")


def page_style() -> Markup:
    """The style of everything: tables, and then the viewer and pages."""
    return table_style() + _style("lens")


def _style(name: str) -> Markup:
    return Markup(minified_style((VIEWER / f"{name}.css").read_text(encoding="utf-8")))  # noqa: S704


@cache
def viewer_script() -> Markup:
    """The script of a page: it defines the viewer once per version, and mounts every figure that waits for it."""
    key = f'Symbol.for("bauklens {viewer_version()}")'
    defined = f'globalThis[{key}] ??= () => start("{viewer_version()}");'
    lines = [
        "(() => {",
        '"use strict";',
        minified_script(joined(VIEWER, "viewer")),
        defined,
        f"globalThis[{key}]();",
        "})();",
    ]
    return Markup("\n".join(lines))  # noqa: S704


def live_style() -> Markup:
    """The style of the live page, without that of the viewer."""
    return _style("live")


@cache
def live_script() -> Markup:
    """The script of the live page, without that of the viewer."""
    return Markup("\n".join(["(() => {", '"use strict";', minified_script(joined(VIEWER, "live")), "})();"]))  # noqa: S704


def script_source(script: str) -> str:
    """The entry of a content security policy that allows only this script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def viewer_call() -> Markup:
    """The script of a figure on a page with the viewer elsewhere: it mounts the figure if the viewer has run."""
    return Markup(f'globalThis[Symbol.for("bauklens {viewer_version()}")]?.();')  # noqa: S704

"""What is imported when, and that data flows one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bauklens

PACKAGE = Path(bauklens.__file__).parent

ORDER = [
    "__init__",
    "errors",
    "files",
    "caches",
    "progress",
    "tokens",
    "select",
    "measures",
    "frame",
    "frozen",
    "targets",
    "tracedict",
    "trace",
    "wrappers",
    "prompt",
    "calls",
    "layout",
    "sublayers",
    "replay",
    "head",
    "proof",
    "anatomy",
    "stream",
    "batch",
    "measure",
    "reading",
    "mixed",
    "unembed",
    "reference",
    "decode",
    "generation",
    "provenance",
    "readable",
    "storage",
    "sound",
    "result",
    "interchange",
    "export",
    "comparison",
    "plot",
    "table",
    "view",
    "script",
    "frontend",
    "page",
    "ranking",
    "summary",
    "terminal",
    "run",
    "request",
    "words",
    "lens",
    "apart",
    "neurons",
    "inspection",
    "notebook",
    "loading",
    "doctor",
    "command",
    "cli",
    "__main__",
]
"""Each module imports only modules above it."""

UPWARD = {
    ("comparison", "page"),
    ("result", "export"),
    ("result", "interchange"),
    ("result", "page"),
    ("result", "plot"),
    ("sound", "result"),  # for its type alone
    ("summary", "lens"),
}
"""Who imports a module below it, once it is called."""

STANDARD_ONLY = {"errors", "files", "tokens", "select", "measures", "readable"}
WITHOUT_TORCH = STANDARD_ONLY | {
    "__init__",
    "caches",
    "progress",
    "frame",
    "frozen",
    "targets",
    "sound",
    "storage",
    "result",
    "interchange",
    "export",
    "comparison",
    "plot",
    "table",
    "view",
    "script",
    "frontend",
    "page",
    "ranking",
    "summary",
    "terminal",
    "command",
    "cli",
    "__main__",
}


def imports(name, *, top_level):
    """The modules that a module of the package imports when it is imported itself, or at any time."""
    tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "bauklens":
                yield from (
                    f"bauklens.{alias.name}" if alias.name in ORDER else "bauklens.__init__" for alias in node.names
                )
            else:
                yield node.module


def test_every_module_has_its_place():
    assert sorted(ORDER) == sorted(path.stem for path in PACKAGE.glob("*.py"))


@pytest.mark.parametrize("name", [each for each in ORDER if each != "__init__"])
def test_a_module_imports_only_what_stands_above_it(name):
    inner = [each.removeprefix("bauklens.") for each in imports(name, top_level=True) if each.startswith("bauklens")]
    assert [each for each in inner if ORDER.index(each) >= ORDER.index(name)] == []


def test_the_ways_up_are_known():
    found = {
        (name, inner)
        for name in ORDER
        if name != "__init__"
        for inner in (each.partition(".")[2] for each in imports(name, top_level=False) if each.startswith("bauklens."))
        if inner in ORDER and ORDER.index(inner) > ORDER.index(name)
    }
    assert found == UPWARD


@pytest.mark.parametrize("name", sorted(STANDARD_ONLY))
def test_the_lowest_import_only_the_standard_library(name):
    outer = {each.partition(".")[0] for each in imports(name, top_level=False)}
    assert outer - set(sys.stdlib_module_names) <= {"bauklens"}


@pytest.mark.parametrize("name", sorted(WITHOUT_TORCH - {"cli", "command", "__init__"}))
def test_what_reads_a_result_imports_no_torch(name):
    assert not {each.partition(".")[0] for each in imports(name, top_level=False)} & {"torch", "transformers"}


def test_only_loading_imports_transformers():
    having = [
        each
        for each in ORDER
        if any(module.partition(".")[0] == "transformers" for module in imports(each, top_level=False))
    ]
    assert having == ["loading"]


@pytest.mark.parametrize("arguments", [["-c", "import bauklens; dir(bauklens)"], ["-m", "bauklens", "--help"]])
def test_the_package_and_its_help_load_neither_torch_nor_transformers(arguments):
    ran = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in ran.stderr.splitlines()}
    assert "bauklens" in loaded
    assert not loaded & {"torch", "transformers", "numpy"}


def test_every_public_name_is_there():
    for name in bauklens.__all__:
        assert getattr(bauklens, name) is not None
        assert name in dir(bauklens)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bauklens.nothing  # noqa: B018

"""Runs the notebooks of notebooks/, and makes a self-contained page of each."""

import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, select_autoescape
from markupsafe import Markup
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
ORDER = (
    "does-it-matter",
    "change-its-mind",
    "which-lens",
    "early-decoding",
    "corpus",
    "images",
    "gpt2-xl",
    "embeddings",
    "practice",
)

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }} - bauklens</title>
<style>
:root { color-scheme: light dark; }
body { max-width: 1240px; margin: 0 auto; padding: clamp(12px, 3vw, 32px); background: light-dark(#fff, #14171c);
  color: light-dark(#0b0e13, #f4f6f9); font: 16px/1.55 system-ui, sans-serif; }
:is(p, ul, h1, h2) { max-width: 44em; }
a { color: light-dark(#0b57d0, #8ab4ff); }
pre { margin: 0; padding: 10px 12px; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13px/1.45 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.highlight pre { border-radius: 6px; background: light-dark(#f4f6f8, #1d2128); }
.output_subarea { margin: 6px 0 18px; overflow-x: auto; }
.output_area img { max-width: 100%; border-radius: 6px; background: #fff; }
.prompt, .anchor-link, .jp-InputPrompt, .jp-OutputPrompt { display: none; }
table.dataframe { border-collapse: collapse; font-size: 13px; }
table.dataframe :is(td, th) { padding: 2px 9px; border: 1px solid light-dark(#d5d9df, #333942); text-align: right; }
.text_cell_render :is(td, th) { padding: 2px 14px 2px 0; text-align: left; vertical-align: top; }
{{ light }}
@media (prefers-color-scheme: dark) { {{ dark }} }
</style>
</head>
<body>
<p><a href="../notebooks.html">Notebooks</a></p>
{{ body }}
</body>
</html>
"""


def executed(path: Path) -> Any:
    """A notebook with its outputs, run from top to bottom in an empty folder.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised an error.
    """
    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}})
        quiet = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore", "TRANSFORMERS_VERBOSITY": "error"}
        client.execute(env=os.environ | quiet | {"HF_HUB_OFFLINE": "1"})
    return book


def title_of(book: Any) -> str:
    """The heading of its first cell."""
    first: str = book.cells[0].source
    return first.partition("\n")[0].lstrip("# ")


def page_of(book: Any) -> str:
    """A notebook's page, which makes no requests."""
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(book)
    styles = {name: HtmlFormatter(style=style) for name, style in (("light", "default"), ("dark", "github-dark"))}
    rules = {name: Markup(each.get_style_defs(".highlight")) for name, each in styles.items()}  # noqa: S704
    template = Environment(autoescape=select_autoescape(default=True, default_for_string=True)).from_string(PAGE)
    return template.render(title=title_of(book), body=Markup(body), **rules)  # noqa: S704

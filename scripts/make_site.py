#!/usr/bin/env python3
"""Builds the documentation's site: runs the notebooks on the demo model, makes their pages, and calls mkdocs.

.venv/bin/python scripts/make_site.py --output site
"""

import logging
import sys
from pathlib import Path

import click
import nbformat
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from notebook_pages import NOTEBOOKS, ORDER, executed, page_of
from site_pages import RENDERED, ROOT
from tqdm import tqdm


def run_notebooks() -> None:
    """Writes each notebook with its outputs, and its page, to build/notebooks."""
    RENDERED.mkdir(parents=True, exist_ok=True)
    for name in tqdm(ORDER, desc="Notebooks", disable=None):
        book = executed(NOTEBOOKS / f"{name}.ipynb")
        nbformat.write(book, RENDERED / f"{name}.ipynb")
        (RENDERED / f"{name}.html").write_text(page_of(book), encoding="utf-8")


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "--output", type=click.Path(path_type=Path), default=ROOT / "site", help="By default site/.")
@click.option("--keep-notebooks", is_flag=True, help="Use the notebooks' pages that are in build/notebooks.")
def main(output: Path, keep_notebooks: bool) -> None:
    """Builds the site; a warning of mkdocs is an error."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    if not keep_notebooks:
        run_notebooks()
    try:
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(output.resolve()), strict=True))
    except Abort as error:
        sys.exit(str(error))
    click.echo(f"wrote {output}/index.html")


if __name__ == "__main__":
    main()

"""The notebooks as they are stored; tests/test_site.py runs them."""

from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_from_a_lens_to_a_swap_its_control_and_its_effect_takes_few_lines():
    book = nbformat.read(ROOT / "notebooks" / "does-it-matter.ipynb", as_version=4)
    lines = [
        line for cell in book.cells if cell.cell_type == "code" for line in cell.source.splitlines() if line.strip()
    ]
    assert len(lines) < 25

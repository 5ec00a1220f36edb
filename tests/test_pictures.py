"""scripts/page_pictures.py makes a picture for each page of the documentation, and charts show what was measured."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT / "scripts"))
pictures = importlib.import_module("page_pictures")
charts = importlib.import_module("measured_charts")


def texts(svg):
    return [each.strip() for each in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def test_every_picture_is_made_by_a_case_and_every_case_has_made_its_picture():
    assert sorted(path.name for path in pictures.PICTURES.iterdir()) == sorted(pictures.CASES)


@pytest.mark.parametrize("name", pictures.CASES)
def test_a_picture_is_small_and_called_like_its_page(name):
    path = pictures.PICTURES / name
    assert path.stat().st_size <= pictures.LARGEST
    assert any((folder / f"{path.stem}.md").exists() for folder in (DOCS, DOCS / "guide"))
    if path.suffix == ".png":
        with Image.open(path) as image:
            assert image.width <= pictures.WIDEST
    else:
        assert not re.search(r"url\((?!#)|(href|src)=.http", path.read_text(encoding="utf-8"))  # fetches nothing


def test_all_pictures_together_are_small():
    assert sum(path.stat().st_size for path in pictures.PICTURES.iterdir()) <= 1_500_000


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("DECODERS.svg", charts.predicting_and_disclosing),
        ("PERFORMANCE.svg", charts.performance),
        ("large-models.svg", charts.on_paper),
    ],
)
def test_a_chart_shows_the_figures_that_were_measured(name, draw):
    drawn = texts(charts.charted(draw()))
    assert len(drawn) > 8
    assert texts((pictures.PICTURES / name).read_text(encoding="utf-8")) == drawn

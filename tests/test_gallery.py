"""The gallery's pictures are goldens: the viewer draws the same lenses as it did when they were made."""

import importlib
import os
import re
import struct
import sys
from pathlib import Path

import pytest

import bauklens

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
gallery = importlib.import_module("make_gallery")

_NEAR = 3
"""Of 255: how far a colour may be from the golden's, as versions of Chromium round them otherwise."""


def parts(svg):
    """The picture without its colours, and these as bytes."""
    colours = [bytes.fromhex(each) for each in re.findall('"#([0-9a-f]{6})"', svg)]
    return re.sub('"#[0-9a-f]{6}"', '""', svg), colours


@pytest.mark.parametrize("name", gallery.CASES)
def test_the_viewer_draws_what_it_drew(browser, tmp_path, name):
    golden = gallery.GALLERY / f"{name}.svg"
    drawn = gallery.draw(browser, gallery.CASES[name], tmp_path / "page.html")
    if not golden.exists() and not os.environ.get("CI"):
        golden.write_text(drawn, encoding="utf-8")
    assert golden.exists(), f"{golden.name} is missing: scripts/make_gallery.py makes it"
    (shapes, colours), (golden_shapes, golden_colours) = parts(drawn), parts(golden.read_text(encoding="utf-8"))
    assert shapes == golden_shapes
    far = [pair for pair in zip(colours, golden_colours, strict=True) if max(map(abs, map(int.__sub__, *pair))) > _NEAR]
    assert far == []


def test_the_lens_over_an_image_is_drawn_and_is_said_to_mean_nothing(browser, tmp_path):
    taken = gallery.photograph(browser, gallery.IMAGE, tmp_path / "page.html")
    sizes = [struct.unpack(">2I", png[16:24]) for png in (taken, (gallery.GALLERY / "image.png").read_bytes())]
    assert sizes[0][0] == sizes[1][0] > 1000
    lens = bauklens.LensResult.load(gallery.GALLERY / "image.json")
    assert lens.model == "tiny LLaVA with random weights"
    assert "random weights, so what it says of the image means nothing" in gallery.index()


def test_the_index_names_every_picture():
    assert (gallery.GALLERY / "README.md").read_text(encoding="utf-8") == gallery.index()

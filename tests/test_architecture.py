"""The picture of the architecture is drawn from the imports, and has to be drawn again when a module comes or goes."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_picture_of_the_architecture_is_that_of_the_imports():
    code = "import draw_architecture as d\nassert d.PICTURE.read_text() == d.drawn()"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True)
    assert ran.returncode == 0, f"run scripts/draw_architecture.py\n{ran.stderr}"


def test_every_module_of_the_picture_is_within_its_box():
    drawing = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    boxes, lowest = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="(\d+)"', drawing), {}
    for x, y in re.findall(r'<text class="small" x="([\d.]+)" y="([\d.]+)"', drawing):
        above = [box for box in boxes if float(box[0]) + float(box[2]) / 2 == float(x) and float(box[1]) < float(y)]
        box = max(above, key=lambda each: float(each[1]))
        lowest[box] = max(float(y), lowest.get(box, 0))
    assert len(lowest) == len(boxes)
    assert all(y < float(box[1]) + float(box[3]) for box, y in lowest.items())

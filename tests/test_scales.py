"""The ends of a colour scale: the same in Python and in the viewer."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bauklens.show.scales import scale_of
from tests.made import made

VIEWER = Path(__file__).parent.parent / "bauklens" / "viewer"


def cells(kind):
    values = np.random.default_rng(0).normal(3, 1, size=(4, 300)).astype(np.float32)
    if kind == "position 0":
        values[:, 0] = 900
    if kind == "embed":
        values[0] = 500
    if kind == "a few cells":
        values[2, 17] = values[3, 80] = 7_000
    if kind == "signed":
        values -= 3
    if kind == "a few below":
        values -= 3
        values[2, 17] = -7_000
    if kind == "no values":
        values[:] = np.nan
    if kind == "some values":
        values[:, ::2] = np.nan
        values[1, 3] = np.inf
    return values


@pytest.mark.parametrize(
    "kind", ["plain", "position 0", "embed", "a few cells", "signed", "a few below", "no values", "some values"]
)
def test_the_viewer_has_the_same(kind):
    values = cells(kind)
    lens = made(4, 300)
    low, high = scale_of(lens, values)
    assert (low, high) == pytest.approx(_in_the_viewer(lens, values), rel=1e-6)
    if kind != "no values":
        assert 1 < high < 8


def test_one_cell_is_a_scale():
    assert scale_of(made(1, 1), np.array([[4.0]])) == (0.0, 4.0)


def _in_the_viewer(lens, values):
    script = f"""
        import {{ scaleOf }} from "{(VIEWER / "scale.js").as_uri()}";
        const [lens, values] = JSON.parse(await new Response(process.stdin).text());
        const read = {{ NaN: NaN, inf: Infinity }};
        const {{ low, high }} = scaleOf(lens, Float32Array.from(values, (each) => read[each] ?? each));
        console.log(JSON.stringify([low, high]));
    """
    rows, columns = values.shape
    given = {"layers": list(lens.layers), "rows": rows, "columns": columns, "positions": lens.positions.tolist()}
    numbers = [float(each) if np.isfinite(each) else ("NaN" if np.isnan(each) else "inf") for each in values.ravel()]
    ran = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        input=json.dumps([given, numbers]),
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(json.loads(ran.stdout))

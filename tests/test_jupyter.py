"""The viewer in a real JupyterLab, and in the page that nbconvert makes of a notebook."""

import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress

import pytest
from playwright.sync_api import TimeoutError as TooLate
from playwright.sync_api import expect

from tests.test_viewer import rising

pytestmark = [pytest.mark.slow, pytest.mark.long]  # servers share their user's settings: tests/scheduling.py

CELLS = [
    "import bauklens\none = bauklens.LensResult.load('one.safetensors')",
    "one",
    "bauklens.compare(one, bauklens.LensResult.load('two.safetensors'))",
]
SCRIPT = "function mount("


@pytest.fixture
def folder(tmp_path):
    import nbformat  # which takes seconds

    rising(9, 12).save(tmp_path / "one.safetensors")
    rising(9, 12, prompt="two").save(tmp_path / "two.safetensors")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "lens.ipynb")
    return tmp_path


@pytest.fixture
def lab(folder):
    """The address of a JupyterLab of our own on this machine."""
    with served("jupyterlab", folder) as address:
        yield address


@contextmanager
def served(application, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=", "--no-browser"]
    options += [f"--ServerApp.root_dir={folder}", "--ServerApp.allow_root=True"]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", application, *options], stdout=log, stderr=log, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            time.sleep(0.5)
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "server.log").read_text()
        yield address
    finally:
        server.terminate()
        server.wait(30)


def opened(browser, lab):
    page = opened_at(browser, f"{lab}/lab/tree/lens.ipynb")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=120_000)
    return page


def opened_at(browser, address):
    page = browser.new_context(viewport={"width": 1400, "height": 1800}).new_page()
    page.add_locator_handler(page.locator("dialog.jp-Dialog"), accept)
    page.goto(address)
    page.locator(".jp-NotebookPanel .jp-CodeCell").nth(len(CELLS) - 1).wait_for(timeout=120_000)
    return page


def accept(dialog):
    """Presses the button of a question that Jupyter asks, as on a slow machine, and prints it for a test that fails."""
    print("Jupyter asked:", dialog.first.inner_text())
    dialog.first.locator(".jp-mod-accept").click()


def run_all(page):
    """Has all cells run; a notebook that is still opening can forget it, and is told again."""
    begun = page.locator(".jp-CodeCell .jp-InputPrompt").filter(has_text=re.compile(r"\[[*\d]")).first
    for _ in range(5):
        page.get_by_text("Run", exact=True).first.click()
        page.get_by_text("Run All Cells", exact=True).click()
        with suppress(TooLate):
            return begun.wait_for(timeout=20_000)
    raise AssertionError("no cell ran")


def assert_works(page, which):
    figure = page.locator("figure.mounted").nth(which)
    figure.wait_for(timeout=120_000)
    figure.scroll_into_view_if_needed()
    pin = figure.get_by_role("button", name="pin ␣Paris").first
    pin.click()
    name = figure.locator(".measures dt").first  # Jupyter's own style would make it a narrow column
    assert name.evaluate("(dt) => [getComputedStyle(dt).float, dt.offsetWidth > 40]") == ["none", True]
    assert figure.locator(".told").text_content().endswith("● ␣Paris leads from layer 6 on.") or which
    assert figure.locator(".pin[aria-pressed=true]").count() > 0
    figure.locator(".cell.chosen").click()
    page.keyboard.press("ArrowUp")
    assert figure.locator(".place small").text_content() == "layer 6, position 11"
    for key in ("b", "d", "d", "x"):  # which JupyterLab would take for itself: a new cell, and away with this one
        page.keyboard.press(key)
    assert figure.is_visible()


def scripts(folder):
    """How many outputs of the saved notebook carry the viewer's script."""
    import nbformat  # which takes seconds

    cells = nbformat.read(folder / "lens.ipynb", 4).cells
    outputs = [output for cell in cells for output in cell.outputs if "text/html" in output.get("data", {})]
    return len(outputs), sum(SCRIPT in output["data"]["text/html"] for output in outputs)


def save(page, folder, count):
    page.keyboard.press("Control+s")
    for _ in range(60):
        time.sleep(0.5)
        if scripts(folder)[0] == count:
            return
    raise AssertionError("the notebook was not saved")


@pytest.mark.filterwarnings("default")
def test_a_notebook_holds_the_viewer_once_and_every_output_works_also_after_a_reload(browser, lab, folder):
    page = opened(browser, lab)
    run_all(page)
    for which in (0, 1):
        assert_works(page, which)
    expect(page.locator(".jp-CodeCell")).to_have_count(len(CELLS))
    save(page, folder, 2)
    assert scripts(folder) == (2, 1)
    run_all(page)
    page.wait_for_timeout(3000)
    assert_works(page, 1)
    save(page, folder, 2)
    assert scripts(folder) == (2, 1)
    page.context.close()
    fresh = opened(browser, lab)
    for which in (0, 1):
        assert_works(fresh, which)
    fresh.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt").click()
    fresh.keyboard.press("d")
    fresh.keyboard.press("d")
    fresh.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt").click()
    fresh.keyboard.press("Control+Enter")
    fresh.wait_for_timeout(3000)
    save(fresh, folder, 1)
    assert scripts(folder) == (1, 1)  # the cell that carried it was deleted
    fresh.context.close()


@pytest.mark.filterwarnings("default")
def test_notebook_7(browser, folder):
    """It looks at keys before the viewer does, and would delete a cell upon "d", "d"."""
    with served("notebook", folder) as address:
        page = opened_at(browser, f"{address}/notebooks/lens.ipynb")
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=120_000)
        run_all(page)
        for which in (0, 1):
            assert_works(page, which)
        page.wait_for_timeout(1000)
        expect(page.locator(".jp-CodeCell")).to_have_count(len(CELLS))
        save(page, folder, 2)
        assert scripts(folder) == (2, 1)
        page.context.close()


@pytest.mark.filterwarnings("default")
def test_nbconvert_makes_a_page_that_works(opening, folder):
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "lens.ipynb"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    html = (folder / "lens.html").read_text(encoding="utf-8")
    html = re.sub(r"<script[^>]*src=[^>]*></script>", "", html)  # its own, from the network
    page, _, complaints = opening(html)
    for which in (0, 1):
        assert_works(page, which)
    assert not [each for each in complaints if "bauklens" in each]

"""Fixtures: tiny models, the demo model, and a real browser; pytest itself starts without torch."""

import os
import sys
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers are not given the words, but the environment
    os.environ["BAUKLENS_TESTS_HUB"] = "1" if "--hub" in sys.argv else ""
if not os.environ["BAUKLENS_TESTS_HUB"]:  # before anything reads them
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_CACHE"] = tempfile.mkdtemp(prefix="bauklens-tests-hub-")
os.environ["OMP_NUM_THREADS"] = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"  # torch's, also in what tests start

import atexit
import gc
import shutil
from collections import defaultdict

import pytest

import bauklens
from tests import NAMES
from tests.scheduling import scheduler

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_addoption(parser):
    parser.addoption("--hub", action="store_true", help="run the tests that need weights from the model hub")


def pytest_configure(config):
    if not config.getoption("--hub"):
        atexit.register(shutil.rmtree, os.environ["HF_HUB_CACHE"], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        if "browser" in item.fixturenames:
            item.add_marker("browser")
        if {"demo", "eiffel"} & set(item.fixturenames):
            item.add_marker("slow")
        if item.get_closest_marker("hub") and not config.getoption("--hub"):
            item.add_marker(pytest.mark.skip(reason="needs the model hub: run pytest --hub where it can be reached"))
        if item.get_closest_marker("cuda") and not has_cuda():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_collection_finish():
    """What is imported and collected stays until the end, so the garbage collector need not look at it again."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return scheduler(config, log) if config.getoption("dist") == "loadgroup" else None


def has_cuda():
    import torch

    return torch.cuda.is_available()


def pytest_terminal_summary(terminalreporter):
    """Counts what tests recorded with ``record_property``, whichever process ran them."""
    found = defaultdict(set)
    for report in terminalreporter.stats.get("passed", []):
        for what, value in report.user_properties:
            found[what].add(value)
    for what, values in found.items():
        terminalreporter.write_line(f"{what}: {len(values)}")


@pytest.fixture(params=NAMES)
def model(request):
    from tests.tiny import tiny_model

    return tiny_model(request.param)


@pytest.fixture
def gpt2():
    from tests.tiny import tiny_model

    return tiny_model("gpt2")


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Refuses a name that it has been given before, by any process of this run."""

    def claim(name):
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
        folder = tmp_path_factory.getbasetemp()
        (folder.parent / f"{name}-{run}" if run else folder / name).mkdir()

    return claim


@pytest.fixture(scope="session")
def tokenizer():
    from tests.tiny import tiny_tokenizer

    return tiny_tokenizer()


@pytest.fixture(scope="session")
def demo():
    """The demo model with its real weights; a machine without the package fails here and says what to install."""
    return bauklens.load("demo", device="cpu")


@pytest.fixture(autouse=True)
def demo_stays_as_it_is(request):
    """All tests of a process share the demo model, so one that leaves it changed would change what others see."""
    yield
    if "demo" in request.fixturenames:
        model, _ = request.getfixturevalue("demo")
        assert not [name for name, module in model.named_modules() if "forward" in vars(module)]
        assert not any(module.training for module in model.modules())


@pytest.fixture(scope="session")
def eiffel(demo):
    """The lens that the README shows."""
    return bauklens.logit_lens(*demo, "The Eiffel Tower is located in the city of")


@pytest.fixture
def opening(browser, tmp_path):
    """Opens a page from disk -> (playwright page, everything that it asked for, everything that it complained of)."""
    contexts = []

    def open_page(html, *, scheme="light", width=1400, height=900, script=True, fragment=""):
        context = browser.new_context(
            color_scheme=scheme,
            viewport={"width": width, "height": height},
            java_script_enabled=script,
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        asked, complaints = [], []
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        file = tmp_path / "page.html"
        file.write_text(html, encoding="utf-8")
        page.goto(file.as_uri() + fragment)
        return page, [each for each in asked if each.partition("#")[0] != file.as_uri()], complaints

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "no Chromium on this machine: apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(autouse=True)
def _numbers_that_do_not_depend_on_the_tests_before(request):
    """Compiled code is otherwise used once a process has read much; a test that wants it says so."""
    compiled = sys.modules.get("bauklens.decode.compiled")
    if compiled is not None:
        request.getfixturevalue("monkeypatch").setattr(compiled, "READ_BEFORE", 10**9)


@pytest.fixture(params=["int8", "bfloat16"])
def numbers(request, monkeypatch):
    """What heads are multiplied in if that is faster: "int8", which takes compiled code, or "bfloat16"."""
    from bauklens.decode import compiled
    from bauklens.decode.cpu import has_int8

    monkeypatch.setattr(compiled, "READ_BEFORE", -1 if request.param == "int8" else 10**9)
    if request.param == "int8" and not (has_int8() and compiled.starts(1)):
        pytest.skip("this CPU does not multiply int8, or numba is not installed")
    return request.param

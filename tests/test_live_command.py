"""bauklens serve, the command: it prints an address, serves, and ends with Ctrl-C."""

import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from bauklens.cli.serve import serve
from tests.live import Client
from tests.test_docs import PAGES, blocks
from tests.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow

LINES = [
    line
    for page in PAGES
    for language, code in blocks(page)
    if language == "sh"
    for line in code.splitlines()
    if line.startswith("bauklens serve ")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model("gpt2").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


class Address:
    def __init__(self, url):
        self.url = url


@contextmanager
def started(folder, *options):
    command = [sys.executable, "-m", "bauklens", "serve", "--model", str(folder), *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also if the tests run in the background
    ) as server:
        try:
            yield server
        finally:
            server.kill()


def test_it_serves_until_ctrl_c(folder):
    with started(folder) as server:
        url = server.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#token=[\w-]{32}", url), server.communicate()[1]
        client = Client(Address(url))
        assert client.json("/about")["model"] == str(folder)
        events = client.events("/look", {"prompt": "the tower"})
        assert events[-1][0] == "end"
        assert str(folder) in dict(events)["done"]["command"]
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=30)
        assert server.returncode == 130
        assert "Traceback" not in said


def test_ctrl_c_while_a_page_waits_ends_it_too(folder):
    with started(folder, "--token", "abcdefgh12") as server:
        url = server.stdout.readline().strip()
        assert url.endswith("#token=abcdefgh12")
        connection, answer = Client(Address(url)).send("POST", "/look", {"prompt": "the", "new_tokens": 50})
        try:
            assert answer.readline()
            server.send_signal(signal.SIGINT)
            _, said = server.communicate(timeout=30)
        finally:
            connection.close()
            answer.close()
        assert server.returncode == 130
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0"), "pass --token"),
        (("--decoder", "nowhere.pt"), "nowhere.pt"),
        (("--port", "70000"), "70000"),
        (("--token", "no spaces"), "letters, digits"),
    ],
)
def test_bad_options_get_a_line(folder, options, said):
    with started(folder, *options) as server:
        _, errors = server.communicate(timeout=60)
    assert server.returncode == 2
    assert said in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_packages_it_needs_it_says_so_in_a_line(folder, package):
    program = f"import sys; sys.modules[{package!r}] = None; from bauklens.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "serve", "--model", str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].endswith("needs starlette and uvicorn: pip install 'bauklens[serve]'")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("line", LINES)
def test_lines_of_the_documentation_are_commands(line):
    assert serve.make_context("serve", shlex.split(line, comments=True)[2:]).params["model"] == "demo"


def test_there_are_such_lines():
    assert len(LINES) >= 3

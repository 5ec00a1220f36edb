"""What the tests themselves rely on: programs that are forked, and files whose tests stay in one process."""

import json
import subprocess
import sys
import textwrap

import pytest

from tests.processes import FORKS, ROOT, python
from tests.scheduling import TOGETHER, unit_of


@pytest.mark.slow  # it starts a process
def test_a_program_that_is_forked_finds_what_one_that_is_started_finds(tmp_path, monkeypatch):
    program = tmp_path / "programs" / "program.py"
    program.parent.mkdir()
    program.write_text(
        textwrap.dedent("""
        import atexit, json, os, sys

        atexit.register(print, "it ends", file=sys.stderr)
        print(json.dumps([
            __name__, sys.argv, sys.path[0], os.getcwd(), os.environ["SAID"], sys.stdin.read(),
            [file.isatty() for file in (sys.stdin, sys.stdout, sys.stderr)],
        ]))
        if "killed" in sys.argv:
            os.kill(os.getpid(), 9)
        sys.exit(3)
        """)
    )
    monkeypatch.setenv("SAID", "now")
    for word, status in (("ends", 3), ("killed", -9)):
        words = [str(program), word, "\udcfe", "x" * 100_000]
        forked = python(*words, cwd=tmp_path, stdin="läuft\n" * 50_000)
        started = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            input="läuft\n" * 50_000,
            check=False,
        )
        assert (forked.returncode, forked.stdout, forked.stderr) == (status, started.stdout, started.stderr)
        assert started.returncode == status


@pytest.mark.slow  # it starts a process
@pytest.mark.skipif(not FORKS, reason="programs are started here")
def test_a_forked_program_has_what_takes_long_to_import_and_no_thread_of_a_pool(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import json, os, sys\nprint(json.dumps(['torch' in sys.modules, os.listdir('/proc/self/task')]))"
    )
    imported, threads = json.loads(python(program).stdout)
    assert imported
    assert len(threads) == 1


def test_the_files_that_stay_in_one_process_are_there():
    for name in TOGETHER:
        assert (ROOT / name).exists()
        assert unit_of(f"{name}::test_one[a::b]") == unit_of(f"{name}::TestIt::test_two") == name
    assert unit_of("tests/test_cli.py::test_one") != unit_of("tests/test_cli.py::test_two")

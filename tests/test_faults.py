"""Whatever happens while a model is read, it is left as it was: a short run of tests/faults.py."""

import pytest

from tests.processes import ROOT, python


@pytest.mark.slow
@pytest.mark.long
def test_errors_interrupts_and_own_calls():
    """In a process of its own: pytest's and hypothesis's own functions are not to be interrupted."""
    ran = python("-m", "tests.faults", "60", cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count(" 0 findings") == 7

"""Whatever happens while a model is read, it is left as it was: short versions of tests/faults.py."""

import pytest

from tests import faults

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("hooked", [False, True], ids=["in a shell", "in place"])
def test_errors(hooked):
    assert list(faults.errors(100, hooked=hooked)) == []


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("hooked", [False, True], ids=["in a shell", "in place"])
def test_interrupts(hooked, twice):
    assert list(faults.interrupts(100, twice=twice, hooked=hooked)) == []


def test_calls_of_the_model_in_another_thread():
    assert list(faults.own_calls(50)) == []

"""An interrupt at every single moment at which a model is taken or given back: afterwards it is as it was."""

import itertools
import random
import signal
import sys
import threading

import pytest
from torch import nn

from bauklens.model.guard import evaluating
from bauklens.signals import finished, take, unbroken
from tests.faults import state_of

NEVER = 1 << 30


@pytest.fixture(autouse=True)
def ctrl_c():
    """SIGINT is Python's, also if the tests were started with it ignored, in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _looked_at(model, in_place):
    with evaluating(model, in_place=in_place) as running:
        running[1].register_forward_pre_hook(lambda module, given: None)


def _pressed(function, line, call):
    """Presses Ctrl-C at a line, and again at a later call or return; what was raised is kept, as IPython does.

    Returns the number of lines that ran until the first, the number of calls until the second, and what was raised.
    """
    lines, calls = itertools.count(), itertools.count()
    ran = [0, 0]

    def trace(frame, event, argument):
        if frame.f_code is _looked_at.__code__:  # Python handles no signal between its block and the manager's exit
            return trace
        ran[0] = next(lines)
        if ran[0] == line:
            sys.setprofile(profile)
            signal.raise_signal(signal.SIGINT)
        return trace

    def profile(frame, event, argument):
        if frame.f_code in (_pressed.__code__, _looked_at.__code__):
            return
        ran[1] = next(calls)
        if ran[1] == call:
            signal.raise_signal(signal.SIGINT)

    raised = None
    tracing = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt as error:
        raised = error
    finally:
        sys.settrace(tracing)
        sys.setprofile(None)
    return *ran, raised


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ctrl-C as a generator is deleted
@pytest.mark.parametrize("in_place", [False, True], ids=["in a shell", "in place"])
def test_ctrl_c_at_any_line_of_taking_a_model_and_giving_it_back(in_place):
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)).train()
    before = state_of(model)
    lines, _, raised = _pressed(lambda: _looked_at(model, in_place), NEVER, NEVER)
    assert raised is None
    assert lines > 200
    chance, interrupted = random.Random(0), 0
    for line in range(lines):
        _, calls, raised = _pressed(lambda: _looked_at(model, in_place), line, NEVER)
        interrupted += raised is not None
        assert state_of(model) == before, f"Ctrl-C at line {line}"
        again = chance.randrange(calls + 1)
        _pressed(lambda: _looked_at(model, in_place), line, again)
        assert state_of(model) == before, f"Ctrl-C at line {line}, and {again} calls later"
    assert interrupted > 100


def test_a_signal_waits_until_a_function_has_finished():
    done = []

    def pressed():
        signal.raise_signal(signal.SIGINT)
        done.append(True)

    with pytest.raises(KeyboardInterrupt):
        finished(pressed)
    assert done == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_within_a_manager_a_signal_is_handled_at_once():
    left = []

    @unbroken
    def manager():
        try:
            yield
        finally:
            left.append(True)

    def pressed():
        with manager():
            signal.raise_signal(signal.SIGINT)
            left.append(False)

    with pytest.raises(KeyboardInterrupt):
        pressed()
    assert left == [True]


def test_signals_that_come_while_a_manager_is_left_are_all_handled_afterwards():
    came = []

    def note(number, _):
        came.append((number, list(left)))
        raise KeyboardInterrupt

    @unbroken
    def manager():
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)
            left.append(True)

    left = []
    before = [signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        with pytest.raises(KeyboardInterrupt), manager():
            pass
        assert sorted(came) == [(signal.SIGINT, [True]), (signal.SIGTERM, [True])]
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == [note, note]
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def test_a_handler_that_reads_a_model_loses_no_other_signal():
    came = []

    def note(number, _):
        came.append(number)
        with unbroken(lambda: (yield))():
            pass

    def pressed():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    before = [signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        finished(pressed)
        assert sorted(came) == [signal.SIGINT, signal.SIGTERM]
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def test_a_signal_is_handled_while_a_lock_is_waited_for():
    lock, held, free = threading.Lock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            free.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()

    @unbroken
    def manager():
        take(lock)
        yield

    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    try:
        with pytest.raises(KeyboardInterrupt), manager():
            pass
        assert not free.is_set()
    finally:
        free.set()
        thread.join()


def test_in_another_thread_nothing_is_changed():
    handlers = []

    def look():
        with unbroken(lambda: (yield))():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]

"""Errors, interrupts and calls from another thread by the thousand: the model is left as it was, or there is a finding.

``python -m tests.faults 1000`` is a long run: so many errors, twice as many interrupts, and half as many own calls.
"""

import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

import bauklens
from bauklens import LensResult
from bauklens.model.guard import locked
from bauklens.model.resolving import forget
from bauklens.model.shell import HOOKS
from tests.tiny import tiny_model

IDS = [5, 90, 17, 60, 8, 33, 71, 2, 44, 12]
ERRORS = [
    *(RuntimeError, ValueError, IndexError, KeyError, TypeError, AttributeError, NotImplementedError, StopIteration),
    *(ZeroDivisionError, OSError, MemoryError, torch.OutOfMemoryError, bauklens.LensError),
    *(KeyboardInterrupt, SystemExit, GeneratorExit),
]
LOOKS: dict[str, Callable[[nn.Module], Any]] = {
    "hidden": lambda model: bauklens.logit_lens(model, None, IDS),
    "delta": lambda model: bauklens.logit_lens(model, None, IDS, stream="delta", norm="final"),
    "sublayers": lambda model: bauklens.logit_lens(model, None, IDS, stream=["attention", "mlp", "mid"]),
    "several": lambda model: bauklens.logit_lens(model, None, [IDS, IDS[:7], IDS[::-1]]),
    "generated": lambda model: bauklens.logit_lens(model, None, IDS[:4], max_new_tokens=4, do_sample=True, seed=3),
    "no norm": lambda model: bauklens.logit_lens(model, None, IDS, norm=None, layers=[0, 1], measures=[]),
    "named norm": lambda model: bauklens.logit_lens(model, None, IDS, norm="model.norm"),
    "edited": lambda model: bauklens.logit_lens(model, None, IDS, edit_output=lambda output, layer: None),
    "states": lambda model: bauklens.get_hidden_states(model, None, IDS),
    "neurons": lambda model: bauklens.top_neurons(model, None, IDS, layer=1, position=3),
}
"""What a model is asked for."""

_CALLS = 150
"""About as many modules are called for one of these, at most."""


def made(*, hooked: bool) -> nn.Module:
    """A model, some of which trains; with a hook of the caller's it is read in place instead of in a shell."""
    model = tiny_model("llama").train()
    model.model.layers[1].eval()
    model.model.norm.weight.requires_grad_(False)
    if hooked:
        model.model.norm.register_forward_hook(lambda module, given, output: None)
    return model


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that a lens might leave changed."""
    return {
        "modules": [(name, id(module), id(type(module))) for name, module in model.named_modules()],
        "modes": [module.training for module in model.modules()],
        "hooks": [[len(vars(module)[name]) for name in HOOKS] for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "gradients": [(each.requires_grad, each.grad is None) for each in model.parameters()],
        "weights": sum(each.detach().double().sum().item() for each in model.parameters()),
        "configuration": repr(getattr(model, "config", None)),
        "lock": _other_threads_can_look(model),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "torch": (torch.is_grad_enabled(), torch.get_default_dtype(), torch.random.get_rng_state().tolist()),
    }


def _other_threads_can_look(model: nn.Module) -> bool:
    def look() -> None:
        with locked(model):
            looked.append(True)

    looked: list[bool] = []
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(10)
    return bool(looked)


def same(one: Any, other: Any) -> bool:
    """Whether two looks at a model show the same."""
    if isinstance(one, list):
        return all(map(same, one, other))
    if torch.is_tensor(one):
        return torch.equal(one, other)
    if not isinstance(one, LensResult):
        return type(one) is type(other)
    return np.array_equal(one.top_ids, other.top_ids) and np.allclose(one.top_probs, other.top_probs, atol=1e-6)


def errors(count: int, *, hooked: bool = False) -> Iterator[str]:
    """Findings of so many looks, in each of which some module raises some error before or after it runs."""
    chance, model = random.Random(count), made(hooked=hooked)
    right = {name: look(model) for name, look in LOOKS.items()}
    before = state_of(model)
    for number in range(count):
        name, error = chance.choice(list(LOOKS)), chance.choice(ERRORS)
        if chance.random() < 0.5:
            forget(model)
        register = chance.choice([register_module_forward_hook, register_module_forward_pre_hook])
        with raising(register, error, after=chance.randrange(_CALLS)):
            LOOKS[name](model)
        changed = [what for what, value in state_of(model).items() if value != before[what]]
        if not changed and number % 10 == 0 and not same(LOOKS[name](model), right[name]):
            changed = ["what is seen next"]
        if changed:
            yield f"{error.__name__} in {name!r} changed {', '.join(changed)}"
            model = made(hooked=hooked)
            before = state_of(model)


@contextmanager
def raising(register: Callable[..., Any], error: type[BaseException], *, after: int) -> Iterator[None]:
    """Any module raises an error when so many have run."""
    calls = iter(range(after))

    def hook(*_: Any) -> None:
        if next(calls, None) is None:
            raise error("on purpose")

    handle = register(hook)
    try:
        yield
    except BaseException as raised:
        if isinstance(raised, KeyboardInterrupt) and error is not KeyboardInterrupt:
            raise
    finally:
        handle.remove()


def interrupts(count: int, *, twice: bool, hooked: bool = False) -> Iterator[str]:
    """Findings of so many looks, each interrupted at some moment; a second time soon after, if asked for."""
    chance, model = random.Random(count), made(hooked=hooked)
    took = {name: _seconds(look, model) for name, look in LOOKS.items()}
    before = state_of(model)
    for _ in range(count):
        name = chance.choice(list(LOOKS))
        if chance.random() < 0.5:
            forget(model)
        moments = [1e-4 + chance.random() * took[name] * 1.3, chance.random() * 0.004]
        _interrupted(LOOKS[name], model, moments if twice else moments[:1])
        changed = [what for what, value in state_of(model).items() if value != before[what]]
        if changed:
            yield f"an interrupt of {name!r} changed {', '.join(changed)}"
            torch.set_grad_enabled(True)
            model = made(hooked=hooked)
            before = state_of(model)


def _interrupted(look: Callable[[nn.Module], Any], model: nn.Module, moments: list[float]) -> None:
    """Raises KeyboardInterrupt after some seconds, and then again after some more, and waits until all have come."""
    waits, left = iter(moments), len(moments)

    def interrupt(*_: Any) -> None:
        nonlocal left
        left -= 1
        signal.setitimer(signal.ITIMER_REAL, next(waits, 0))
        raise KeyboardInterrupt

    def until_all_have_come() -> None:
        while left:
            time.sleep(0.001)

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, next(waits))
            look(model)
            until_all_have_come()
        except KeyboardInterrupt:
            until_all_have_come()
    except KeyboardInterrupt:
        pass
    signal.signal(signal.SIGALRM, old)


def _seconds(look: Callable[[nn.Module], Any], model: nn.Module) -> float:
    began = time.perf_counter()
    look(model)
    return time.perf_counter() - began


def own_calls(count: int) -> Iterator[str]:
    """Findings of so many calls of a model while another thread looks at it."""
    model, ids, stop = made(hooked=False).eval(), torch.tensor([IDS]), threading.Event()
    right, seen, found = model(input_ids=ids).logits, LOOKS["hidden"](model), []

    def look() -> None:
        while not stop.is_set():
            if not same(LOOKS["hidden"](model), seen):
                found.append("a lens beside a call of the model is wrong")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(count):
            if not torch.allclose(model(input_ids=ids).logits, right, atol=1e-4):
                found.append("a call of the model beside a lens is wrong")
    finally:
        stop.set()
        thread.join()
    yield from found


def main(count: int) -> int:
    """Prints all findings, and how many there are of how many."""
    found = 0
    for what, number, findings in [
        ("errors", count, errors(count)),
        ("errors, read in place", count, errors(count, hooked=True)),
        ("interrupts", 2 * count, interrupts(2 * count, twice=False)),
        ("interrupts, twice each", 2 * count, interrupts(2 * count, twice=True)),
        ("interrupts, read in place", 2 * count, interrupts(2 * count, twice=False, hooked=True)),
        ("interrupts, read in place, twice each", 2 * count, interrupts(2 * count, twice=True, hooked=True)),
        ("own calls", count // 2, own_calls(count // 2)),
    ]:
        began, here = time.monotonic(), 0
        for finding in findings:
            here += 1
            print(finding)
        print(f"{number} {what}: {here} findings, {time.monotonic() - began:.0f} s", flush=True)
        found += here
    return 1 if found else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main(int(sys.argv[1])))

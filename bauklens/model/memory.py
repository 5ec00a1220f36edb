"""Running out of memory: recognised, explained, and cleaned up after, with accelerate's help."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from bauklens.errors import LensError


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, of Python, of an accelerator, or of torch on the CPU."""
    from accelerate.utils.memory import should_reduce_batch_size  # slow to import, and rarely needed

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error):
        return True
    return isinstance(error, RuntimeError) and should_reduce_batch_size(RuntimeError(str(error)))


def free_bytes() -> int:
    """About how many bytes of this machine's memory are free."""
    return int(psutil.virtual_memory().available)


def free_memory(error: BaseException) -> None:
    """Frees the memory of a failed attempt, and what the device keeps for later."""
    from accelerate.utils.memory import clear_device_cache

    error.__traceback__ = None
    clear_device_cache()


@contextmanager
def explaining_out_of_memory(positions: int) -> Iterator[None]:
    """Turns running out of memory, in a forward pass of this many positions, into one clear error."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise LensError(
            f"out of memory in the forward pass of {positions:,} tokens: pass a shorter prompt, or load the model with "
            "dtype='float16' or device_map='auto'"
        ) from None

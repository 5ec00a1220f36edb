"""Which worker on a corpus this process is, according to its launcher's environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from bauklens.arguments import checked_count
from bauklens.errors import LensError

_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),  # torchrun, accelerate launch
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),  # srun; unset outside a step
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),  # mpirun
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
)
"""Variables with a worker's number, how many there are, and its number on its machine; the first that are set count."""

_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT")
_INDEX = "JOB_COMPLETION_INDEX"
"""The variable of a pod of a Kubernetes indexed job, which does not report the number of pods."""


@dataclass(frozen=True)
class Worker:
    """One of several processes that share a corpus.

    Attributes:
        number: which, from 0.
        of: how many there are.
        local: which of those on its machine, from 0: the number of its GPU.
    """

    number: int = 0
    of: int = 1
    local: int = 0

    @property
    def is_first(self) -> bool:
        """Whether it is the one that prints."""
        return self.number == 0

    def __str__(self) -> str:
        return f"worker {self.number} of {self.of}"


def this_worker(
    number: int | None = None, of: int | None = None, environment: Mapping[str, str] = os.environ
) -> Worker:
    """Which worker this process is.

    Args:
        number: its number, if the caller passes it; else the launcher's.
        of: how many there are, if the caller passes it.
        environment: the variables that launchers set.

    Raises:
        LensError: the number is not below the count, one of the two is missing, or a launcher's number is not a number.
    """
    if of is not None:
        checked_count("workers", of)
    if number is not None:
        checked_count("worker", number, least=0)
        found = Worker(number, 1 if of is None else of, 0)
        if of is None:
            raise LensError(f"worker={number} needs workers=, the number of workers")
    else:
        found = _launched(environment, of)
    if not 0 <= found.number < found.of:
        raise LensError(
            f"{found} does not exist: workers count from 0; pass worker= and workers= if the launcher numbers them "
            "differently"
        )
    return found


def _launched(environment: Mapping[str, str], of: int | None) -> Worker:
    for names in _LAUNCHERS:
        if all(name in environment for name in names[:2]):
            number, count, local = (_number(environment, name, "0") for name in names)
            if of not in (None, count):
                raise LensError(f"workers={of}, but the launcher has started {count}: leave workers= out")
            return Worker(number, count, local)
    if all(name in environment for name in _ARRAY):
        task, first, step, count = (_number(environment, name) for name in _ARRAY)
        return Worker((task - first) // max(1, step), count)
    if _INDEX in environment:
        if of is None:
            raise LensError("a Kubernetes job does not report how many workers it has: pass workers=, its completions")
        return Worker(_number(environment, _INDEX), of)
    if of is not None and of > 1:
        raise LensError(f"workers={of} needs worker=, which of them this is, or a launcher such as torchrun")
    return Worker()


def _number(environment: Mapping[str, str], name: str, default: str | None = None) -> int:
    given = environment.get(name, default)
    if given is None or not given.isascii() or not given.isdigit():
        raise LensError(f"{name} is {given!r:.40}, which is not a number: pass worker= and workers=")
    return int(given)

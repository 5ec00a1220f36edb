"""Which output of a notebook contains the viewer's script, so that a notebook has it only once."""

import sys
from typing import Any

_carrier: dict[str, Any] = {"version": None, "cell": None, "run": None}


def carries_script(version: str) -> bool:
    """Whether the output that is being made should contain the script of this version.

    One output of a notebook does: the first output of the first cell that showed a lens, again whenever that cell is
    rerun, and another one if it was deleted. If outputs do not share a page (Colab), or it is not known which cell runs
    (a frontend that does not report it, a plain file), every output does.
    """
    running = _running()
    if running is None:
        return True
    cell, run, deleted = running
    is_new = _carrier["version"] != version or _carrier["cell"] in deleted
    if is_new or (_carrier["cell"] == cell and _carrier["run"] != run):
        _carrier.update(version=version, cell=cell, run=run)
        return True
    return False


def _running() -> tuple[str, int, list[str]] | None:
    """The id of the running notebook cell, the number of its run, and the ids of cells that were deleted since."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    if shell is None or "google.colab" in sys.modules or not hasattr(shell, "get_parent"):
        return None
    told = shell.get_parent().get("metadata", {})
    if not told.get("cellId"):
        return None
    return str(told["cellId"]), int(shell.execution_count), list(told.get("deletedCells", ()))

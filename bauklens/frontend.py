"""Which output of a notebook carries the viewer's script, so that a notebook holds it once."""

import sys
from typing import Any

_carrier: dict[str, Any] = {"version": None, "cell": None, "run": None}


def carries_script(version: str) -> bool:
    """Whether the output that is being made is to carry the script of this version.

    One output of a notebook does: the first of the cell that showed a lens first, and again whenever that cell is run
    anew. Where outputs do not share a page (Colab, a plain file), or it is not known which cell runs, each does.
    """
    cell, run = _running()
    if cell is None:
        return True
    if _carrier["version"] != version or (_carrier["cell"] == cell and _carrier["run"] != run):
        _carrier.update(version=version, cell=cell, run=run)
        return True
    return False


def _running() -> tuple[str | None, int]:
    """The id of the notebook cell that runs, where its frontend tells, and the number of its run."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    if shell is None or "google.colab" in sys.modules or not hasattr(shell, "get_parent"):
        return None, 0
    cell = shell.get_parent().get("metadata", {}).get("cellId")
    return (str(cell), int(shell.execution_count)) if cell else (None, 0)

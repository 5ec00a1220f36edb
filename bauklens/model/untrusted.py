"""Things in a model's folder that must not be opened or run without permission: pipes, devices, and code of the hub."""

import logging
from pathlib import Path
from typing import Any

from bauklens.errors import LensError

log = logging.getLogger(__name__)

_OF_TRANSFORMERS = ("eager", "sdpa", "flex_attention")
"""The ways to compute attention that need only the code of transformers and torch."""


def require_regular_files(folder: Path) -> None:
    """Refuses a folder with a pipe or a device in it, as opening one might wait forever.

    Raises:
        LensError: there is one; the error names it.
    """
    for each in folder.iterdir():
        if each.exists() and not each.is_file() and not each.is_dir():
            raise LensError(f"{each} is not a regular file: pass a folder without pipes and devices")


def without_hub_kernels(source: str, config: Any) -> dict[str, Any]:
    """Options for ``from_pretrained`` with which a configuration that names other code for attention does not load it.

    Such a name may be a repository of the hub, or one that transformers looks for there. The attention is then the
    default of transformers for the model.

    Args:
        source: the model's name in a warning.
        config: its configuration, which is changed.
    """
    named = sorted({each for each in _attention(config) if each not in _OF_TRANSFORMERS})
    if not named:
        return {}
    log.warning(
        "the configuration of %s names the attention kernel %s, which is code from elsewhere and is not loaded: pass "
        "attn_implementation= or trust_remote_code=True to use it",
        source,
        named[0],
    )
    config._attn_implementation = None
    return {"config": config}


def _attention(config: Any) -> list[str]:
    """The kinds of attention that a configuration and those inside it name."""
    inner = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    own = getattr(config, "_attn_implementation", None)
    return [*([str(own)] if own is not None else []), *(name for each in inner if each for name in _attention(each))]

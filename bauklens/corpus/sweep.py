"""sweep(): runs a corpus through a model, in shards, by as many workers as are started."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from bauklens.corpus.asked import Asked
from bauklens.corpus.columns import ERROR, OWN
from bauklens.corpus.models import loaded, named_models
from bauklens.corpus.on_ray import swept_on_ray
from bauklens.corpus.opened import MODEL, Sweep, open_sweep
from bauklens.corpus.texts import open_corpus
from bauklens.corpus.workers import Worker, this_worker
from bauklens.corpus.working import swept
from bauklens.errors import LensError
from bauklens.files import path_of
from bauklens.model.ranks import ranks_of
from bauklens.vocabulary import PER_SHARD


def sweep(
    prompts: Any,
    out: str | os.PathLike[str],
    model: Any,
    tokenizer: Any = None,
    *,
    per: int = PER_SHARD,
    rows: str | None = None,
    positions: str | int | None = None,
    column: str | None = None,
    keep: Iterable[str] | None = None,
    split: str = "train",
    config: str | None = None,
    limit: int | None = None,
    streaming: bool = False,
    on_error: str = "row",
    worker: int | None = None,
    workers: int | None = None,
    load: Mapping[str, Any] | None = None,
    ray: str | None = None,
    tell: Callable[[str], None] | None = None,
    **options: Any,
) -> Sweep:
    """Runs a corpus through a model, and writes the results as Parquet files, one per shard of the prompts.

    A shard that is written is never computed again: whatever ended a sweep, the same call continues it. Several
    processes share the shards: those that torchrun, ``accelerate launch``, srun, a Slurm array job or mpirun started,
    or those that ``worker`` and ``workers`` number. The ranks of a model that is spread over several, such as by tensor
    parallelism, are one worker. The content of a file depends only on the prompts, the model and the options, not on
    which worker wrote it.

    Args:
        prompts: a file (``.jsonl``, ``.parquet``, ``.csv``, or ``.txt`` with one prompt per line), the name of a data
            set on the hub, a ``datasets.Dataset``, or a list of texts, of lists of ids, or of mappings. A prompt may be
            a text, ids, or a chat.
        out: the folder to write, which is created if necessary; for several models, the folder of their folders.
        model: the model, or its name as :func:`bauklens.load` takes it; or a list of names or a pattern such as
            ``"run/checkpoint-*"``, for one sweep after another.
        tokenizer: the tokenizer, if the model itself is passed and not its name.
        per: how many prompts a shard has.
        rows: ``"layer"``, one row per prompt and layer; ``"cell"``, one per prompt, layer and position.
        positions: ``"last"``, the last position of each prompt; a number, that position; ``"all"``. By default the last
            for rows of layers, and all for rows of cells.
        column: the column of the prompts; by default ``prompt``, ``text`` or ``messages``.
        keep: other columns of the input that go into the output; by default all that contain numbers, texts, truth
            values or dates.
        split: the split of a data set on the hub.
        config: the configuration of a data set on the hub.
        limit: the maximum number of prompts to take, from the first.
        streaming: read a data set on the hub as it is needed, instead of its whole files; needs ``limit``.
        on_error: what to do if a prompt fails: ``"row"``, write its error in its place; ``"raise"`` it.
        worker: the number of this worker, from 0, if no launcher sets it.
        workers: how many workers there are.
        load: options of :func:`bauklens.load` for a model that is passed by name, such as ``{"dtype": "bfloat16"}``.
        ray: let Ray start the workers, which share the shards: the address of a cluster, or ``""`` for the one that the
            environment names or else one on this machine. The model must then be passed by name, and ``workers`` is the
            number of actors: by default one for each GPU, or else for each CPU.
        tell: a function such as ``print``, called by the first worker with a line after each shard.
        options: of a lens, as for :func:`bauklens.logit_lens`: ``stream``, ``topk``, ``layers``, ``norm``,
            ``decoder``, ``missing``, ``precision``, ``chunk_rows``, ``blocks``, ``head``, ``measures``, ``targets``,
            ``mass`` and ``words``.

    Returns:
        What all workers have written so far, as :func:`bauklens.open_sweep` returns it.

    Raises:
        LensError: the folder holds another sweep; the prompts, the model or the options cannot be read or do not fit;
            the disk is full.
    """
    folder = path_of(out)
    asking = per, rows, positions, on_error, options
    asked = Asked.of(*asking)
    places = None if isinstance(model, nn.Module) else named_models(model)
    texts = {
        "prompts": prompts,
        "column": column,
        "keep": keep if keep is None or isinstance(keep, str) else list(keep),
        "split": split,
        "config": config,
        "limit": limit,
        "streaming": streaming,
        "taken": (*OWN, ERROR, *([MODEL] if places and "" not in places.values() else [])),
    }
    corpus = open_corpus(**texts)
    if ray is not None:
        if places is None:
            raise LensError("Ray workers load the model themselves: pass its name")
        for name, place in places.items():
            swept_on_ray(texts, folder / place, name, dict(load or {}), asking, address=ray, workers=workers, tell=tell)
        return open_sweep(folder)
    in_ranks = isinstance(model, nn.Module) and ranks_of(model) is not None  # ranks of one model are not workers
    me = Worker(worker or 0, workers or 1) if in_ranks else this_worker(worker, workers)
    if isinstance(model, nn.Module):
        swept(corpus, folder, model, tokenizer, asked, me, tell)
        return open_sweep(folder)
    for name, place in (places or {}).items():
        swept(corpus, folder / place, *loaded(name, load or {}, me), asked, me, tell)
    return open_sweep(folder)

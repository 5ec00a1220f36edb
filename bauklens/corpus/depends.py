"""What the shards of a sweep depend on: the model, the prompts, the options and the versions."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import nn

from bauklens import __version__
from bauklens.corpus.asked import Asked
from bauklens.corpus.manifest import Manifest
from bauklens.corpus.texts import Corpus
from bauklens.decoders.fingerprint import weights_hash
from bauklens.model.provenance import model_name

_PACKAGES = ("torch", "transformers", "numba")

_TOKENIZED = 20
"""Prompts whose ids tell one tokenizer from another."""


def manifest_of(corpus: Corpus, model: nn.Module, tokenizer: Any, asked: Asked) -> Manifest:
    """What the shards depend on, and so what has to be the same when a sweep goes on."""
    about: Mapping[str, Mapping[str, Any]] = {
        "model": {
            "name": model_name(model),
            "revision": getattr(getattr(model, "config", None), "_commit_hash", None),
            "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
            "weights": weights_hash(model),
        },
        "input": {
            "source": corpus.source,
            "column": corpus.column,
            "kept": list(corpus.kept),
            "prompts": len(corpus),
            "hash": corpus.digest(),
            "tokenizer": None if tokenizer is None else _tokenizer_hash(tokenizer, corpus),
        },
        "options": asked.described(),
        "layout": {**asked.layout, "threads": torch.get_num_threads()},
        "versions": {"bauklens": __version__, **{name: _version(name) for name in _PACKAGES}},
    }
    return Manifest(json.loads(json.dumps(about)))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _tokenizer_hash(tokenizer: Any, corpus: Corpus) -> str:
    """SHA-256 of a tokenizer's vocabulary and chat template, and of the ids that it makes of the first texts."""
    vocabulary = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
    about = [sorted(map(str, vocabulary.items())), str(getattr(tokenizer, "chat_template", None))]
    found = hashlib.sha256(json.dumps(about).encode())
    for row in corpus.rows(0, min(_TOKENIZED, len(corpus))):
        text = row[corpus.column]
        if isinstance(text, str):
            with suppress(Exception):  # if this fails, the prompt itself will raise it
                found.update(json.dumps(list(tokenizer(text)["input_ids"])).encode())
    return found.hexdigest()

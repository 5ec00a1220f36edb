"""load_decoder(): a file, a folder, a name on the hub or "demo" -> a decoder; and a decoder -> a file or folder."""

import io
import json
import os
from pathlib import Path
from typing import Any

import torch

from bauklens.decoders.jlens import read_jlens, write_jlens
from bauklens.decoders.kinds import JacobianLens, TunedLens
from bauklens.decoders.learned import LearnedDecoder
from bauklens.decoders.own_files import read_own, write_own
from bauklens.decoders.tuned_lens import CONFIG, PARAMETERS, is_tuned_lens, read_tuned_lens, write_tuned_lens
from bauklens.errors import LensError
from bauklens.files import is_there, path_of, require_writable, write_atomically
from bauklens.vocabulary import LOGIT


def load_decoder(source: str | os.PathLike[str], *, force: bool = False, revision: str | None = None) -> LearnedDecoder:
    """Reads a learned decoder.

    Args:
        source: a ``.safetensors`` file that :meth:`bauklens.decoders.LearnedDecoder.save` wrote; a ``.pt`` file of a
            Jacobian lens, of the reference implementation, TransformerLens and others, or a checkpoint of its fit; a
            folder of tuned-lens; ``"owner/repository"`` or ``"owner/repository:file"`` on the hub; or ``"demo"``, a
            Jacobian lens of the demo model, which is fitted the first time and kept in the user's cache.
        force: use it even with a model that it does not fit according to the file (another model, another number of
            blocks); results then mention that. A map of another width cannot be used in any case.
        revision: branch, tag or commit on the hub.

    Returns:
        The decoder, for ``logit_lens(..., decoder=...)``.

    Raises:
        LensError: the file does not exist, is not a decoder, is damaged, or could run code.
    """
    if not isinstance(source, (str, os.PathLike)) or not os.fspath(source):
        raise LensError(f"a decoder's name must be text, not {source!r:.80}: pass a file, a folder, or a hub id")
    name = os.fspath(source)
    if name == LOGIT and not is_there(name):
        raise LensError("the logit lens needs no file: pass decoder='logit'")
    if name == "demo" and not is_there(name):
        from bauklens.decoders.demo import demo_decoder

        found = demo_decoder()
    else:
        path, called = _located(name, revision)
        found = _read(path, name)
        found.name = called or found.name
    found.forced = force
    return found


def save(decoder: LearnedDecoder, path: str | os.PathLike[str]) -> None:
    """Writes a decoder; see :meth:`bauklens.decoders.LearnedDecoder.save`."""
    path = path_of(path)
    if path.suffix == ".safetensors":
        write_own(decoder, path)
    elif path.suffix == ".pt" and isinstance(decoder, JacobianLens):
        write_atomically(path, _as_torch_file(write_jlens(decoder)))
    elif not path.suffix and isinstance(decoder, TunedLens):
        config, state = write_tuned_lens(decoder)
        _make_folder(path)
        write_atomically(path / PARAMETERS, _as_torch_file(state))
        write_atomically(path / CONFIG, json.dumps(config).encode())
    else:
        raise LensError(
            f"cannot save {decoder!r} as {path.name!r}: pass a .safetensors file; for a Jacobian lens also a .pt file, "
            "for a tuned lens also a folder, whose name has no suffix"
        )


def _located(name: str, revision: str | None) -> tuple[Path, str]:
    """A decoder's place on this machine, and its name if its file's name is not specific."""
    try:
        path = Path(name).expanduser()
    except RuntimeError:
        raise LensError(f"the file or folder {name} does not exist") from None
    if is_there(path):
        if revision is not None:
            raise LensError(f"revision= is for decoders on the hub, but {name} is on this machine: leave it out")
        return path, ""
    if path.suffix in (".safetensors", ".pt") and ":" not in name:
        raise LensError(f"the file {name} does not exist")
    if name.startswith(("/", "./", "../", "~")):
        raise LensError(f"the file or folder {name} does not exist")
    from bauklens.decoders.hub import from_hub

    repository, _, file = name.partition(":")
    found = from_hub(name, revision)
    return found, Path(file).stem if file else repository.rpartition("/")[2]


def _read(path: Path, name: str) -> LearnedDecoder:
    try:
        if path.is_dir():
            if not is_tuned_lens(path):
                raise LensError(f"it is a folder without {CONFIG} and {PARAMETERS}, the files of a tuned lens")
            return read_tuned_lens(path)
        if path.suffix == ".safetensors":
            return read_own(path)
        if path.name == PARAMETERS and is_tuned_lens(path.parent):
            return read_tuned_lens(path.parent)
        return read_jlens(path)
    except LensError as error:
        raise LensError(f"cannot read the decoder {name}: {error}") from None


def _as_torch_file(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise LensError(f"cannot write {path}: {error.strerror}") from None
    require_writable(path / PARAMETERS)

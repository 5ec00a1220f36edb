"""A decoder's name on the model hub -> its file or folder on this machine."""

import logging
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from bauklens.decoders.tuned_lens import CONFIG, PARAMETERS
from bauklens.errors import LensError

log = logging.getLogger(__name__)

_USUAL = ("decoder.safetensors", "lens.safetensors", "lens.pt")
"""Names that a file has if a repository holds one decoder."""

_KINDS = ("model", "dataset", "space")

_ABSENT = (EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError)


def from_hub(name: str, revision: str | None) -> Path:
    """The path of ``"owner/repository"`` or ``"owner/repository:file"``, downloaded if it is not in the hub's cache.

    A file may be a folder of tuned-lens. A repository may be of models, datasets or spaces.

    Raises:
        LensError: there is no such repository or file, or the hub cannot be reached.
    """
    repository, _, file = name.partition(":")
    if repository.count("/") != 1:
        raise LensError(f"there is no file {name!r}; pass a file, a folder, a hub id ('owner/name:file'), or 'demo'")
    wanted = (
        [(file,), (f"{file}/{PARAMETERS}", f"{file}/{CONFIG}")]
        if file
        else [*((each,) for each in _USUAL), (PARAMETERS, CONFIG)]
    )
    try:
        for kind in _KINDS:
            for files in wanted:
                found = _downloaded(repository, kind, files, revision)
                if found is not None:
                    return found if len(files) == 1 else found.parent
        there = _decoders_in(repository, revision)
    except (HfHubHTTPError, OSError, ValueError) as error:  # one of a name that leads out of the repository, too
        log.debug("decoder %s", name, exc_info=error)
        raise LensError(f"cannot load the decoder {name!r}: {str(error).splitlines()[0]:.200}") from None
    what = f"the file {file}" if file else f"one of {', '.join(_USUAL)}"
    hint = f"; it has {', '.join(there[:5])}: pass '{repository}:{there[0]}', say" if there else ""
    raise LensError(
        f"cannot load the decoder {name!r}: looked for {what} in {repository} on the hub, or in its cache{hint}"
    )


def _downloaded(repository: str, kind: str, files: tuple[str, ...], revision: str | None) -> Path | None:
    """The path of the first of some files that belong together; None if they are not all there."""
    found = []
    for file in files:
        try:
            found.append(hf_hub_download(repository, file, repo_type=kind, revision=revision))
        except _ABSENT:
            return None
    return Path(found[0])


def _decoders_in(repository: str, revision: str | None) -> list[str]:
    """Files of a repository of models that may be decoders; none if it cannot be asked."""
    try:
        files = HfApi().list_repo_files(repository, revision=revision)
    except Exception as error:  # the message without it is clear as well
        log.debug("files of %s", repository, exc_info=error)
        return []
    return [file for file in files if file.endswith((".safetensors", ".pt"))]

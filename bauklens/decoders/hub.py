"""A decoder's name on the model hub -> its file or folder on this machine."""

import logging
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from bauklens.decoders.tuned_lens import CONFIG, PARAMETERS
from bauklens.errors import LensError
from bauklens.model.caches import hub_has_an_address

log = logging.getLogger(__name__)

_USUAL = ("decoder.safetensors", "lens.safetensors", "lens.pt")
"""Names that a file has if a repository holds one decoder."""

_KINDS = ("model", "dataset", "space")


def from_hub(name: str, revision: str | None) -> Path:
    """The path of ``"owner/repository"`` or ``"owner/repository:file"``, downloaded if it is not in the hub's cache.

    A file may be a folder of tuned-lens. A repository may hold models, datasets or spaces.

    Raises:
        LensError: the repository or file does not exist, or the hub cannot be reached.
    """
    repository, _, file = name.partition(":")
    if repository.count("/") != 1:
        raise LensError(
            f"the file {name!r} does not exist; pass 'logit', 'demo', a file, a folder, or a hub id ('owner/name:file')"
        )
    wanted = (
        [(file,), (f"{file}/{PARAMETERS}", f"{file}/{CONFIG}")]
        if file
        else [*((each,) for each in _USUAL), (PARAMETERS, CONFIG)]
    )
    hub = _Hub(repository, revision)
    try:
        for kind in _KINDS:
            for files in wanted:
                found = hub.downloaded(kind, files)
                if found is not None:
                    return found if len(files) == 1 else found.parent
        there = hub.decoders()
    except (HfHubHTTPError, OSError, ValueError) as error:  # also if the name leads out of the repository
        log.debug("decoder %s", name, exc_info=error)
        raise LensError(f"cannot load the decoder {name!r}: {str(error).splitlines()[0]:.200}") from None
    what = f"the file {file}" if file else f"one of {', '.join(_USUAL)}, {CONFIG} with {PARAMETERS}"
    where = "its cache (the hub cannot be reached)" if hub.is_away else "the hub"
    hint = f"; it has {', '.join(there[:5])}: pass '{repository}:{there[0]}', for example" if there else ""
    raise LensError(
        f"cannot load the decoder {name!r}: no file or folder here has that name, and no repository "
        f"{repository} with {what} was found in {where}{hint}"
    )


class _Hub:
    """A repository, asked for files; once the hub cannot be reached, only its cache is used."""

    def __init__(self, repository: str, revision: str | None) -> None:
        self._repository, self._revision = repository, revision
        self.is_away = HF_HUB_OFFLINE or not hub_has_an_address()

    def downloaded(self, kind: str, files: tuple[str, ...]) -> Path | None:
        """The path of the first of some files that belong together; None if they are not all there."""
        found = []
        for file in files:
            try:
                path = hf_hub_download(
                    self._repository,
                    file,
                    repo_type=kind,
                    revision=self._revision,
                    local_files_only=self.is_away,
                )
            except LocalEntryNotFoundError:
                self.is_away = True
                return None
            except (EntryNotFoundError, RepositoryNotFoundError):
                return None
            found.append(path)
        return Path(found[0])

    def decoders(self) -> list[str]:
        """Files of a repository of models that may be decoders; none if it cannot be asked."""
        if self.is_away:
            return []
        try:
            files = HfApi().list_repo_files(self._repository, revision=self._revision)
        except Exception as error:  # the message is clear without it
            log.debug("files of %s", self._repository, exc_info=error)
            return []
        return [file for file in files if file.endswith((".safetensors", ".pt"))]

"""The Hugging Face hub: a file of a repository is fetched by its name, a folder of files is published.

huggingface_hub transfers and caches. Address, size and the names under which it would store a file are checked before,
the content is compared with the announced SHA-256 afterwards.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
from huggingface_hub import errors

from cutler_pl.errors import ConfigError, CutlerError, UploadError, WeightsNotFoundError
from cutler_pl.runtime.download import is_safe_address
from cutler_pl.runtime.files import file_digest
from cutler_pl.runtime.limits import DOWNLOAD_BYTES
from cutler_pl.runtime.logging import get_logger

WEIGHTS_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.json", "README.md"
MAX_CONFIG_BYTES = 16 << 20

# what huggingface_hub accepts of a name
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_ID = re.compile(rf"({_PART}/{_PART})(?:@({_PART}(?:/{_PART})*))?")
_MOST_CHARACTERS = 96
_COMMIT, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_STORED_NAME = re.compile(r"[\w-]+(?:[.][\w-]+)*")
_REACHABLE_SECONDS = 8
_LOG_IN = "log in by `hf auth login` or set HF_TOKEN"

log = get_logger(__name__)


class HubId(NamedTuple):
    """A repository and a revision of it: a branch, a tag or a commit."""

    repository: str
    revision: str = "main"

    def __str__(self) -> str:
        return self.repository if self.revision == "main" else f"{self.repository}@{self.revision}"


def read_hub_id(text: str) -> HubId | None:
    """The repository that `owner/name` or `owner/name@revision` names; None for what cannot be a name."""
    match = _ID.fullmatch(text)
    if match is None or len(match[1]) > _MOST_CHARACTERS or match[1].endswith(".git"):
        return None
    if ".." in text or "--" in match[1]:
        return None
    return HubId(match[1], match[2] or "main")


def fetch_hub_file(hub: HubId, name: str, *, newest: bool = False, max_bytes: int | None = None) -> Path:
    """The local file of a repository's file, fetched if it is not there yet.

    Args:
        name: A file at the top of the repository.
        newest: Ask the hub whether a branch has moved on, and take the cached file only where it does not answer.
        max_bytes: The largest file that is fetched; None for the limit of downloads.

    Raises:
        WeightsNotFoundError: There is no such repository, revision or file, or it cannot be fetched.
        FileNotFoundError: `HubFileNotFoundError`, a WeightsNotFoundError: the repository has no such file.
    """
    cached = _cached(hub, name)
    offline = huggingface_hub.constants.HF_HUB_OFFLINE
    if cached is not None and (offline or not newest or _COMMIT.fullmatch(hub.revision)):
        return cached
    if offline:
        raise WeightsNotFoundError(f"{hub}: {name} is not in the local cache, and HF_HUB_OFFLINE is set; unset it")
    endpoint = huggingface_hub.constants.ENDPOINT
    address = huggingface_hub.hf_hub_url(hub.repository, name, revision=hub.revision, endpoint=endpoint)
    _check_address(address, address)  # before a token goes there
    try:
        # one short request, since the retries of the download would take half a minute without a network
        announced = huggingface_hub.get_hf_file_metadata(address, timeout=_REACHABLE_SECONDS)
        _check_announced(address, announced, max_bytes)
        fetched = huggingface_hub.hf_hub_download(hub.repository, name, revision=hub.revision, endpoint=endpoint)
    except CutlerError:
        raise
    except errors.EntryNotFoundError as error:
        raise HubFileNotFoundError(f"{hub}: the repository holds no {name}") from error
    except Exception as error:
        if cached is not None and not isinstance(error, errors.HfHubHTTPError):
            log.warning("%s: %s does not answer, so the file of the local cache is taken", hub, endpoint)
            return cached
        raise WeightsNotFoundError(_explain(error, hub, address, "cannot be fetched")) from error
    path = Path(fetched)
    _check_digest(path, address, announced.etag)
    return path


class HubFileNotFoundError(WeightsNotFoundError):
    """A repository has no file of a name."""


def is_in_hub_cache(repository: str) -> bool:
    """Whether a repository's weights are on this machine."""
    return isinstance(huggingface_hub.try_to_load_from_cache(repository, WEIGHTS_FILE), str)


def publish(
    folder: Path,
    names: Sequence[str],
    hub: HubId,
    *,
    private: bool | None = None,
    message: str,
) -> str:
    """Put files of a folder into a repository as one commit; the repository and the branch are made if need be.

    Args:
        private: Whether a new repository is private; None for what its owner's settings say.

    Returns:
        Address of the commit.

    Raises:
        UploadError: The hub does not take them: no or a wrong token, no right to write, no connection.
    """
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise UploadError(f"{hub}: nothing is published while HF_HUB_OFFLINE is set; unset it")
    endpoint = huggingface_hub.constants.ENDPOINT
    if not is_safe_address(endpoint):
        raise UploadError(f"{hub}: not published, since {endpoint} is no https address; unset HF_ENDPOINT")
    api = huggingface_hub.HfApi(endpoint=endpoint)
    files = [huggingface_hub.CommitOperationAdd(name, str(folder / name)) for name in names]
    try:
        api.create_repo(hub.repository, private=private, exist_ok=True)
        if hub.revision != "main":
            api.create_branch(hub.repository, branch=hub.revision, exist_ok=True)
        done = api.create_commit(hub.repository, files, commit_message=message, revision=hub.revision)
    except Exception as error:
        raise UploadError(_explain(error, hub, f"{endpoint}/{hub.repository}", "cannot be published")) from error
    return str(done.commit_url)


def require_hub_id(text: str) -> HubId:
    """The repository of a name; raises `ConfigError` for what is none."""
    if (hub := read_hub_id(text)) is None:
        raise ConfigError(f"{text!r} is no repository of the Hugging Face hub; give owner/name or owner/name@revision")
    return hub


def _cached(hub: HubId, name: str) -> Path | None:
    try:
        found = huggingface_hub.hf_hub_download(hub.repository, name, revision=hub.revision, local_files_only=True)
    except errors.LocalEntryNotFoundError:
        return None
    return Path(found)


def _explain(error: BaseException, hub: HubId, address: str, failed: str) -> str:
    """What went wrong and the way out, in one sentence."""
    cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ is not None else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(cause, errors.GatedRepoError):
        return f"{address}: access is granted by its owner; ask for it on the page of {hub.repository}, and {_LOG_IN}"
    if isinstance(cause, errors.RevisionNotFoundError):
        return f"{hub}: the repository has no revision {hub.revision}; give a branch, a tag or a commit of it"
    if isinstance(cause, errors.RepositoryNotFoundError):
        return (
            f"{address}: there is no such repository, or it is private; check the name, and if it is private, {_LOG_IN}"
        )
    if status == 401 or isinstance(cause, errors.LocalTokenNotFoundError):
        return f"{address}: {failed}, since the hub knows no token or refuses it; {_LOG_IN}"
    if status == 403:
        return (
            f"{address}: {failed}, since your token may not do this; take one with the right, or another owner's name"
        )
    reason = (str(cause).splitlines() or [type(cause).__name__])[0] if status is None else f"the hub answers {status}"
    where = "from" if failed == "cannot be fetched" else "on"
    return f"{address}: {failed} {where} the Hugging Face hub ({reason or type(cause).__name__}); try again later"


def _check_address(address: str, place: str) -> None:
    if not is_safe_address(place):
        raise WeightsNotFoundError(f"{address}: not fetched, since {place} is no https address; unset HF_ENDPOINT")


def _check_announced(address: str, announced: Any, max_bytes: int | None) -> None:
    """Raise `WeightsNotFoundError` for an unsafe address, a file that is too large, or a hostile name."""
    _check_address(address, announced.location)
    # huggingface_hub makes file names of both
    for part in (announced.etag, announced.commit_hash):
        if part is not None and not _STORED_NAME.fullmatch(part):
            raise WeightsNotFoundError(f"{address}: not fetched, since the server calls it {part!r}; unset HF_ENDPOINT")
    size, limit = announced.size or 0, DOWNLOAD_BYTES.value()
    if max_bytes is not None and size > max_bytes:
        raise WeightsNotFoundError(
            f"{address}: not fetched, since it has {size:,} bytes, and such a file has at most {max_bytes:,}; choose "
            "another repository"
        )
    if size > limit:
        raise WeightsNotFoundError(
            f"{address}: not fetched, since it has {size:,} bytes, over the limit of {limit:,}; "
            f"{DOWNLOAD_BYTES.way_out(size)}"
        )


def _check_digest(path: Path, address: str, etag: str | None) -> None:
    """Compare with the SHA-256 by which the hub names large files; huggingface_hub compares the size only."""
    if etag is None or not _SHA256.fullmatch(etag) or (found := file_digest(path)) == etag:
        return
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise WeightsNotFoundError(f"{address}: what came has the SHA-256 {found} instead of {etag}; fetch it again")

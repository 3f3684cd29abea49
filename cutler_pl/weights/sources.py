"""Where weights come from: a file, a packaged or released name, an https address, or a Hugging Face hub repository.

CutLER's authors released their files without checksums. Downloads are kept in torch.hub's folder
(`$TORCH_HOME/hub/checkpoints`, else `~/.cache/torch/hub/checkpoints`), where files put by hand are found too; hub files
are kept by huggingface_hub.
"""

import difflib
import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from cutler_pl.errors import ConfigError, CutlerError, DownloadError, WeightsNotFoundError
from cutler_pl.runtime.download import fetch_file, is_safe_address
from cutler_pl.runtime.files import file_digest
from cutler_pl.runtime.limits import DOWNLOAD_BYTES

_ROOT = "https://dl.fbaipublicfiles.com/cutler/checkpoints/"
_SEMI_PERCENTS = (1, 2, 5, 10, 20, 30, 40, 50, 60, 80)
_FILES = (
    "cutler_mrcnn_final.pth",
    "cutler_cascade_final.pth",
    "cutler_cascade_r1.pth",
    "cutler_cascade_r2.pth",
    *(f"cutler_semi_{percent}perc.pth" for percent in _SEMI_PERCENTS),
    "cutler_fully_100perc.pth",
    "dino_RN50_pretrain_d2_format.pkl",
)
RELEASED: dict[str, str] = {PurePosixPath(file).stem: _ROOT + file for file in _FILES}
"""Address of each released file by its name, which is the file's name without its ending."""

PACKAGED: dict[str, Path] = {"tiny_generated": Path(__file__).with_name("tiny_generated.safetensors")}
"""File of each detector that is part of this package, by its name; beside each lies its model card."""

_HUB_FILE = "model.safetensors"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENDINGS = (".pth", ".pt", ".pkl", ".ckpt", ".safetensors")
_REACHABLE_SECONDS = 8


def locate_weights(source: str | Path) -> Path:
    """The local file of a source, downloaded if it is not there yet.

    Args:
        source: A file, a packaged name, a released name with or without its ending, an https address, or a hub
            repository `owner/name` that holds `model.safetensors`.

    Raises:
        WeightsNotFoundError: There is no such source, or it cannot be fetched; the message says how to do it by hand.
    """
    name = str(source)
    if Path(source).is_file():
        return Path(source)
    if name in PACKAGED:
        return PACKAGED[name]
    address = name if "://" in name else released_address(name)
    if address is not None:
        return _fetch(address)
    if isinstance(source, str) and _HUB_ID.fullmatch(name) and not name.endswith(_ENDINGS):
        return _fetch_from_hub(name)
    raise WeightsNotFoundError(
        f"{name}: no such file, and not the name of a packaged or released one{_suggestion(name)}; give a path, "
        "an https address or a repository of the Hugging Face hub; cutler weights lists the names"
    )


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(PurePosixPath(name).stem, (*RELEASED, *PACKAGED), n=5)
    best = sorted(close, key=lambda released: not released.endswith("_final"))[:1]
    return f" (did you mean {best[0]}?)" if best else ""


def released_address(name: str) -> str | None:
    """Address of a released file by name, with or without the file's ending; None if there is no such name."""
    address = RELEASED.get(name, RELEASED.get(PurePosixPath(name).stem))
    return address if address and name in (PurePosixPath(address).stem, PurePosixPath(address).name) else None


def cached_file(address: str) -> Path:
    """Where the file of an address is kept, whether it is there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _file_name(address)


def _fetch(address: str) -> Path:
    path = cached_file(address)
    if not path.is_file():
        try:
            fetch_file(address, path)
        except (DownloadError, ConfigError) as error:
            raise WeightsNotFoundError(f"{error}; or give the path of your copy instead") from error
    return path


def _fetch_from_hub(hub_id: str) -> Path:
    try:
        return Path(huggingface_hub.hf_hub_download(hub_id, _HUB_FILE, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise WeightsNotFoundError(f"{hub_id}: not in the local cache, and HF_HUB_OFFLINE is set")
    address = huggingface_hub.hf_hub_url(hub_id, _HUB_FILE)
    try:
        # one short request, since the retries of the download would take half a minute without a network
        announced = huggingface_hub.get_hf_file_metadata(address, timeout=_REACHABLE_SECONDS)
        _check_announced(address, announced)
        path = Path(huggingface_hub.hf_hub_download(hub_id, _HUB_FILE))
    except CutlerError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsNotFoundError(f"{address}: cannot be fetched from the Hugging Face hub ({reason})") from error
    _check_digest(path, address, announced.etag)
    return path


def _check_announced(address: str, announced: Any) -> None:
    """Raise `WeightsNotFoundError` for a file that comes from an unsafe address, or is too large."""
    for part in (address, announced.location):
        if not is_safe_address(part):
            raise WeightsNotFoundError(f"{address}: not fetched, since {part} is no https address; unset HF_ENDPOINT")
    limit = DOWNLOAD_BYTES.value()
    if (announced.size or 0) > limit:
        raise WeightsNotFoundError(
            f"{address}: not fetched, since it has {announced.size:,} bytes, over the limit of {limit:,}; "
            f"{DOWNLOAD_BYTES.way_out(announced.size)}"
        )


def _check_digest(path: Path, address: str, etag: str | None) -> None:
    """Compare with the SHA-256 by which the hub names large files; huggingface_hub compares the size only."""
    if etag is None or not _SHA256.fullmatch(etag) or (found := file_digest(path)) == etag:
        return
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise WeightsNotFoundError(f"{address}: what came has the SHA-256 {found} instead of {etag}; fetch it again")


def _file_name(address: str) -> str:
    """Name in the cache: of released files their own, of others with a mark of the whole address."""
    name = PurePosixPath(urlsplit(address).path)
    if address in RELEASED.values():
        return name.name
    return f"{name.stem}-{hashlib.sha256(address.encode()).hexdigest()[:8]}{name.suffix}"


def is_in_hub_cache(hub_id: str) -> bool:
    """Whether a hub repository's weights are on this machine."""
    return isinstance(huggingface_hub.try_to_load_from_cache(hub_id, _HUB_FILE), str)

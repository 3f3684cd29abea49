"""The released weights by name, and files from the internet, fetched once.

The files were published by CutLER's authors without checksums. They are kept in torch.hub's folder
(`$TORCH_HOME/hub/checkpoints`, else `~/.cache/torch/hub/checkpoints`), where files put by hand are found too.
"""

import hashlib
import http.client
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import torch

from cutler_pl.errors import CheckpointError
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

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


def released_address(name: str) -> str | None:
    """Address of a released file by name, with or without the file's ending; None if there is no such name."""
    address = RELEASED.get(name, RELEASED.get(PurePosixPath(name).stem))
    return address if address and name in (PurePosixPath(address).stem, PurePosixPath(address).name) else None


def fetch(address: str) -> Path:
    """The local copy of a file, downloaded if it is not there yet.

    Args:
        address: An https address.

    Raises:
        CheckpointError: It cannot be fetched; the message says from where and to where, so that it can be done by hand.
    """
    if not address.startswith("https://"):
        raise CheckpointError(f"{address}: not fetched, since only https addresses are safe against changes on the way")
    path = Path(torch.hub.get_dir()) / "checkpoints" / _file_name(address)
    if path.is_file():
        return path
    log.info("fetching %s into %s", address, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(path), progress=False)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CheckpointError(
            f"{address}: cannot be fetched ({error}) and there is no copy of it at {path}; fetch it where there is a "
            "connection and put it there, or give the path of your copy instead"
        ) from error
    return path


def _file_name(address: str) -> str:
    """Name in the cache: of released files their own, of others with a mark of the whole address."""
    name = PurePosixPath(urlsplit(address).path)
    if address in RELEASED.values():
        return name.name
    return f"{name.stem}-{hashlib.sha256(address.encode()).hexdigest()[:8]}{name.suffix}"

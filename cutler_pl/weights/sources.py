"""Where weights come from: a file, a folder with one, a packaged or released name, an https address, or a Hugging Face
hub repository.

CutLER's authors released their files without checksums. Downloads are kept in torch.hub's folder
(`$TORCH_HOME/hub/checkpoints`, else `~/.cache/torch/hub/checkpoints`), where files put by hand are found too; hub files
are kept by huggingface_hub.
"""

import difflib
import hashlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

import torch

from cutler_pl.errors import CheckpointError, ConfigError, DownloadError, WeightsNotFoundError
from cutler_pl.runtime.download import fetch_file
from cutler_pl.runtime.files import file_digest
from cutler_pl.weights.files import is_safetensors
from cutler_pl.weights.hub import (
    CONFIG_FILE,
    MAX_CONFIG_BYTES,
    WEIGHTS_FILE,
    HubFileNotFoundError,
    HubId,
    fetch_hub_file,
    read_hub_id,
)

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

_ENDINGS = (".pth", ".pt", ".pkl", ".ckpt", ".safetensors")


class DetectorFiles(NamedTuple):
    """Files of a detector; `config` says how it is built, None where that is read from the weights' file."""

    weights: Path
    config: Path | None = None


def detector_digest(files: DetectorFiles) -> str:
    """SHA-256 of the weights' file, or of the SHA-256 of both."""
    digests = [file_digest(file) for file in files if file is not None]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def locate_detector(source: str | Path) -> DetectorFiles:
    """The local files of a detector, downloaded if they are not there yet.

    Args:
        source: As `locate_weights`. A branch of a hub repository is asked for its newest files, and the cached ones are
            taken only where the hub does not answer.

    Raises:
        WeightsNotFoundError: There is no such source, or it cannot be fetched.
        CheckpointError: A file of a hub repository is not of the format that its name says.
    """
    if Path(source).is_dir():
        weights = locate_weights(source)
        config = weights.with_name(CONFIG_FILE)
        return DetectorFiles(weights, config if weights.name == WEIGHTS_FILE and config.is_file() else None)
    if (hub := _hub_id(source)) is None:
        return DetectorFiles(locate_weights(source))
    try:
        described = fetch_hub_file(hub, CONFIG_FILE, newest=True, max_bytes=MAX_CONFIG_BYTES)
    except HubFileNotFoundError:
        described = None
    return DetectorFiles(_fetch_weights(hub, newest=True), described)


def locate_weights(source: str | Path) -> Path:
    """The local file of a source, downloaded if it is not there yet.

    Args:
        source: A file; a folder that `CutLER.save_pretrained`, a training or a recipe wrote; a packaged name, a
            released name with or without its ending, an https address, or a hub repository `owner/name` or
            `owner/name@revision` that holds `model.safetensors`.

    Raises:
        WeightsNotFoundError: There is no such source, or it cannot be fetched; the message says how to do it by hand.
        CheckpointError: What a hub repository calls safetensors is something else.
    """
    name = str(source)
    if Path(source).is_file():
        return Path(source)
    if Path(source).is_dir():
        return weights_in(Path(source))
    if name in PACKAGED:
        return PACKAGED[name]
    address = name if "://" in name else released_address(name)
    if address is not None:
        return _fetch(address)
    if (hub := _hub_id(source)) is not None:
        return _fetch_weights(hub)
    raise WeightsNotFoundError(
        f"{name}: no such file, and not the name of a packaged or released one{_suggestion(name)}; give a path, "
        "an https address or a repository of the Hugging Face hub; cutler weights lists the names"
    )


def _hub_id(source: str | Path) -> HubId | None:
    """The hub repository of a source; None for a file, a folder, a name or an address."""
    name = str(source)
    if not isinstance(source, str) or Path(source).exists() or name.endswith(_ENDINGS) or name in PACKAGED:
        return None
    return None if released_address(name) else read_hub_id(name)


def _fetch_weights(hub: HubId, *, newest: bool = False) -> Path:
    try:
        path = fetch_hub_file(hub, WEIGHTS_FILE, newest=newest)
    except HubFileNotFoundError as error:
        raise WeightsNotFoundError(
            f"{error}; other formats are not fetched, so ask its owner for safetensors"
        ) from error
    if not is_safetensors(path):
        raise CheckpointError(
            f"{hub}: its {WEIGHTS_FILE} is no safetensors file, and nothing else is read from the hub"
        )
    return path


def weights_version(source: str) -> str:
    """What tells the weights of a source from others of the same name: for a hub repository, the commit, too."""
    if (hub := _hub_id(source)) is None:
        return source
    return f"{hub.repository}@{locate_detector(source).weights.parent.name}"


def weights_in(folder: Path) -> Path:
    """Weights that `save_pretrained` wrote, else those of the last step of a training, the last one of a recipe.

    Raises:
        WeightsNotFoundError: The folder holds none.
    """
    trained = sorted(folder.glob("stages/*/checkpoints/last.ckpt"), key=lambda path: _stage_number(path.parents[1]))
    for path in (folder / WEIGHTS_FILE, folder / "checkpoints" / "last.ckpt", *reversed(trained)):
        if path.is_file():
            return path
    raise WeightsNotFoundError(
        f"{folder}: the folder holds neither {WEIGHTS_FILE} nor checkpoints/last.ckpt, nor stages with one; give the "
        "file of the weights, or the folder of a finished run"
    )


def _stage_number(folder: Path) -> int:
    number = folder.name.partition("_")[0]
    return int(number) if number.isdigit() else 0


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


def _file_name(address: str) -> str:
    """Name in the cache: of released files their own, of others with a mark of the whole address."""
    name = PurePosixPath(urlsplit(address).path)
    if address in RELEASED.values():
        return name.name
    return f"{name.stem}-{hashlib.sha256(address.encode()).hexdigest()[:8]}{name.suffix}"

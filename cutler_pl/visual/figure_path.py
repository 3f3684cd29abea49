"""The name of an image's figure: below the figures' folder whatever the image's name, and of no other image."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Set
from pathlib import Path, PurePosixPath

from cutler_pl.images import IMAGE_SUFFIXES

_SUFFIX = ".jpg"
_JPEG = (".jpg", ".jpeg")
_ELSEWHERE = "elsewhere"
"""Folder of the figures whose images have names that cannot be taken over; no other figure lies there."""
_MAX_NAME_BYTES = 200  # a file system has 255, and a temporary name is longer
_MAX_PATH_BYTES = 1000


def figure_path(folder: Path, name: str, *, alike: Set[str] = frozenset()) -> Path:
    """Path of an image's figure in a folder of figures.

    Args:
        folder: Folder of the figures.
        name: The image's path relative to the input, or any other path.
        alike: Names of the run that some file systems take for one another, from `names_alike`.

    Returns:
        The name with `.jpg` added if it does not end so; a shortened name with a digest below `elsewhere/` for a path
        that leads out of the input, is too long, or could be that of another image's figure, as `a.png.jpg`.
    """
    if name in alike or not _is_plain(name):
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        readable = re.sub(r"[^A-Za-z0-9_-]", "_", PurePosixPath(name).stem)[:60]
        return folder / _ELSEWHERE / f"{readable}-{digest}{_SUFFIX}"
    return folder / (name if name.lower().endswith(_JPEG) else f"{name}{_SUFFIX}")


def names_alike(names: Iterable[str]) -> frozenset[str]:
    """The names that differ from another one by case or by the form of their characters alone; `names` is read twice.

    File systems of macOS and Windows ignore both.
    """
    seen: set[int] = set()
    twice: set[int] = set()
    for name in names:
        key = hash(_folded(name))
        (twice if key in seen else seen).add(key)
    return frozenset(name for name in names if hash(_folded(name)) in twice) if twice else frozenset()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_plain(name: str) -> bool:
    parts = name.split("/")
    return (
        not {"", ".", ".."}.intersection(parts)
        and parts[0].lower() != _ELSEWHERE
        and _is_image_name(name)  # else `a` and `a.jpg` would share a figure
        and not (name.lower().endswith(_JPEG) and _is_image_name(PurePosixPath(name).stem))  # the figure of `a.png`
        and not any(part.lower().endswith(_JPEG) for part in parts[:-1])  # a folder of the name of a figure
        and not re.search(r"[\x00-\x1f\\:]", name)
        and all(len(part.encode("utf-8", "surrogateescape")) <= _MAX_NAME_BYTES for part in parts)
        and len(name.encode("utf-8", "surrogateescape")) <= _MAX_PATH_BYTES
    )


def _is_image_name(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES

"""The images, the videos or the camera that a user names: a file, a folder, a pattern, a list, `camera:0`."""

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cutler_pl.errors import DatasetNotFoundError, InputError
from cutler_pl.images import IMAGE_SUFFIXES, list_images

VIDEO_SUFFIXES = frozenset({
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts",
    ".webm", ".wmv",
})  # fmt: skip
_SOUND_SUFFIXES = frozenset({".aac", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".wma"})
"""Files of these hold no image; the reader of videos says so."""
MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
_CAMERA = re.compile(r"camera:(\d{1,3})")

Source = str | Path
KINDS = "an image, a video, a folder, a pattern such as 'images/*.jpg', a list of these, a .txt list or camera:<number>"


@dataclass(frozen=True)
class Sources:
    """What was named: files by their paths relative to `root`, sorted, or a camera.

    Attributes:
        is_single: One image, one video or a camera was named itself, not a folder, pattern or list that holds one.
    """

    root: Path
    images: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    camera: int | None = None
    is_single: bool = False


def find_sources(source: Source | Sequence[Source]) -> Sources:
    """Find what a source names.

    Args:
        source: An image, a video, a folder with its subfolders, a pattern (`*`, `?`, `[…]`, `**` for any folders), a
            `.txt` file with one path per line relative to its own folder, `camera:<number>`, or a list of these.

    Raises:
        DatasetNotFoundError: Something is missing, cannot be read, or holds neither an image nor a video.
        InputError: A camera is named in a list, or without its number.
    """
    if isinstance(source, str | Path):
        if (number := camera_number(source)) is not None:
            return Sources(Path(), camera=number, is_single=True)
        root, names = _expand(source)
        is_single = _is_file(source)
    else:
        if not source:
            raise DatasetNotFoundError(f"the list of inputs is empty; give {KINDS}")
        if camera := next((one for one in source if camera_number(one) is not None), None):
            raise InputError(f"{camera}: a camera is read alone, outside of a list")
        root, names = _below_one_root([_expand(one) for one in source])
        is_single = False
    videos = [name for name in names if _is_video(name)]
    images = [name for name in names if not _is_video(name)]
    return Sources(root, images, videos, is_single=is_single)


def camera_number(source: Source) -> int | None:
    """The number of a camera; None for any other source.

    Raises:
        InputError: The number is missing.
    """
    if not str(source).startswith("camera:") or Path(source).exists():
        return None
    if match := _CAMERA.fullmatch(str(source)):
        return int(match.group(1))
    raise InputError(f"{source}: expected camera:<number>, such as camera:0")


def is_pattern(source: Source) -> bool:
    """Whether a source is a pattern, and no file or folder of that very name."""
    return glob.has_magic(str(source)) and not os.path.lexists(source)


def _expand(source: Source) -> tuple[Path, list[str]]:
    """Root and sorted names of one source."""
    if is_pattern(source):
        return _matches(str(source))
    return list_images(source, suffixes=MEDIA_SUFFIXES, expected=KINDS)


def _matches(pattern: str) -> tuple[Path, list[str]]:
    parts = Path(pattern).parts
    literal = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:literal])
    matches = glob.iglob(pattern, recursive=True)  # noqa: PTH207  # hidden files are left out
    found = (name for name in matches if Path(name).suffix.lower() in MEDIA_SUFFIXES)
    names = sorted({Path(name).relative_to(root).as_posix() for name in found if Path(name).is_file()})
    if not names:
        raise DatasetNotFoundError(f"{pattern}: the pattern matches no image and no video; check the path before it")
    return root, names


def _below_one_root(found: Sequence[tuple[Path, list[str]]]) -> tuple[Path, list[str]]:
    """The files of several sources, each once, by their paths relative to the folder that holds them all."""
    paths = sorted({Path(os.path.abspath(root / name)) for root, names in found for name in names})  # noqa: PTH100  # links stay
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return root, sorted(path.relative_to(root).as_posix() for path in paths)


def _is_file(source: Source) -> bool:
    return not is_pattern(source) and not Path(source).is_dir() and Path(source).suffix.lower() != ".txt"


def _is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES | _SOUND_SUFFIXES

"""Frames of a video file, or of a camera by its number."""

import os
import sys
from pathlib import Path
from typing import Any

from cutler_pl.errors import VideoReadError
from cutler_pl.media.reader import VideoReader, pyav
from cutler_pl.media.sources import camera_number


def open_video(source: str | Path) -> VideoReader:
    """A video file, or `camera:<number>`.

    Raises:
        VideoReadError: It cannot be read as a video, or there is no such camera.
    """
    number = camera_number(source)
    return VideoReader(source) if number is None else open_camera(number)


def open_camera(number: int) -> VideoReader:
    """Open a camera; its times begin with the first frame.

    Raises:
        VideoReadError: There is no such camera, it cannot be opened, or this system names its cameras otherwise.
    """
    name = f"camera:{number}"
    return VideoReader(name, container=_container(number, name))


def _container(number: int, name: str) -> Any:
    av = pyav()
    if sys.platform.startswith("linux"):
        device, kind = f"/dev/video{number}", "v4l2"
        if not Path(device).exists():
            raise VideoReadError(f"{name}: there is no such camera; {_others()}")
        if not os.access(device, os.R_OK):
            raise VideoReadError(f"{name}: no permission to read it; add yourself to the group video, or use a file")
    elif sys.platform == "darwin":
        device, kind = str(number), "avfoundation"
    else:
        raise VideoReadError(f"{name}: cameras are read on Linux and macOS; record a video file and give that")
    try:
        return av.open(device, format=kind)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoReadError(f"{name}: cannot be opened ({reason}); close other programs that use it") from error


def _others() -> str:
    numbers = sorted(int(path.name[5:]) for path in Path("/dev").glob("video*") if path.name[5:].isdigit())
    return f"there is {', '.join(f'camera:{one}' for one in numbers)}" if numbers else "this machine has none"

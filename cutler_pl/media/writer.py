"""Write a video: H.264 or VP9 with the times of the frames it is made from, and their sound as it was."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from cutler_pl.errors import InputError
from cutler_pl.media.reader import VideoReader, pyav
from cutler_pl.runtime.logging import get_logger

_QUALITY = "20"  # constant rate factor: 0 is lossless, 51 the worst
_BT709 = 1  # of ISO/IEC 23091-2, for color_primaries, color_trc and colorspace
_LIMITED_RANGE = 1


class _Container(NamedTuple):
    name: str
    codec: str
    options: dict[str, str]
    sound: str  # codec of sound that it does not take as it is


_X264 = ("libx264", {"crf": _QUALITY, "preset": "veryfast"}, "aac")
_VP9 = ("libvpx-vp9", {"crf": "30", "b": "0", "cpu-used": "5", "row-mt": "1"}, "libopus")
_CONTAINERS = {
    ".mp4": _Container("mp4", *_X264),
    ".m4v": _Container("mp4", *_X264),
    ".mov": _Container("mov", *_X264),
    ".mkv": _Container("matroska", *_X264),
    ".webm": _Container("webm", *_VP9),
}
WRITTEN_SUFFIXES = tuple(_CONTAINERS)

log = get_logger(__name__)


def check_suffix(path: str | Path) -> None:
    """Raise `InputError` if videos of this ending cannot be written."""
    if Path(path).suffix.lower() not in _CONTAINERS:
        raise InputError(f"{path}: videos are written as {', '.join(_CONTAINERS)}; end the name in one of them")


class VideoWriter:
    """A video like another one, with other pixels.

    Args:
        path: File to write, such as a temporary one.
        like: The video whose size, frame times and sound it takes over.
        suffix: Ending that says which container it is.

    Raises:
        InputError: There is no container of this ending.
    """

    def __init__(self, path: str | Path, *, like: VideoReader, suffix: str) -> None:
        check_suffix(f"output{suffix}")
        kind, av = _CONTAINERS[suffix.lower()], pyav()
        self._av = av
        self._time_base = like.time_base
        self._last_pts: int | None = None
        self._file: IO[bytes] = Path(path).open("wb")  # noqa: SIM115  # `close` closes it
        self._container = av.open(self._file, "w", format=kind.name)
        height, width = like.size_hw
        self._stream = self._container.add_stream(kind.codec, rate=like.rate, options=kind.options)
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        context = self._stream.codec_context
        context.time_base = like.time_base
        context.sample_aspect_ratio = like.aspect
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        self._sound = {one.index: self._add_sound(one, kind) for one in like.sound}

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self.close()

    def close(self) -> None:
        """Close the file, whole or not."""
        try:
            self._container.close()
        finally:
            self._file.close()

    def write(self, pixels: UInt8[np.ndarray, "height width 3"], *, pts: int) -> None:
        """Append a frame; a time that is not after the last one's is moved behind it."""
        if self._last_pts is not None and pts <= self._last_pts:
            pts = self._last_pts + 1
        self._last_pts = pts
        rgb = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = rgb.reformat(format=self._stream.pix_fmt, dst_colorspace="itu709")
        frame.pts, frame.time_base = pts, self._time_base
        self._container.mux(self._stream.encode(frame))

    def copy(self, packet: Any) -> None:
        """Append a packet of sound."""
        stream, is_copied = self._sound[packet.stream.index]
        if is_copied:
            packet.stream = stream
            self._container.mux(packet)
            return
        try:
            frames = packet.decode()
        except self._av.error.FFmpegError:
            return  # a damaged packet
        for frame in frames:
            self._container.mux(stream.encode(frame))

    def _add_sound(self, stream: Any, kind: _Container) -> tuple[Any, bool]:
        """A stream for the sound, and whether its packets are copied."""
        codec = stream.codec_context.name
        names: Sequence[str] = (codec, stream.codec_context.codec.canonical_name)
        if any(name in self._container.supported_codecs for name in names):
            return self._container.add_stream_from_template(stream), True
        log.info("sound of codec %s does not go into %s and is encoded anew, as %s", codec, kind.name, kind.sound)
        return self._container.add_stream(kind.sound, rate=48_000 if kind.sound == "libopus" else stream.rate), False

    def _finish(self) -> None:
        for stream in (self._stream, *(stream for stream, is_copied in self._sound.values() if not is_copied)):
            self._container.mux(stream.encode(None))

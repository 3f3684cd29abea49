"""Frames of a video file, upright, with their times; its sound as packets that are copied.

PyAV reads them. The file is opened here and given to it, and only containers of `_FORMATS` are accepted, so that no
file makes it read other files or addresses, as a playlist would. Damaged packets are left out, as players do.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8

from cutler_pl.errors import VideoReadError
from cutler_pl.images import check_size
from cutler_pl.runtime.imports import require

_FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,mp3,wav,aac,flac"
_BUFFER_BYTES = 1 << 20
_SLACK_S = 0.5  # a stream may end so much earlier than its header says
_WAY_OUT = "replace the file, or repair it with a video tool"


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video; `number` counts from 1, `pts` is its time in units of the video's `time_base`."""

    number: int
    pts: int
    time_s: float
    pixels: UInt8[np.ndarray, "height width 3"]


def pyav() -> ModuleType:
    """PyAV, or the sentence that says how to get it."""
    return require("av", extra="video", purpose="reading videos")


class VideoReader:
    """A video whose frames can be read once.

    Args:
        path: The file; or, of a camera, its name for messages.
        container: An opened container of PyAV, of a camera; None to open the file.

    Attributes:
        size_hw: Height and width of the upright frames, those of the first one.
        rate: Frames per second, on average.
        time_base: Seconds per unit of `Frame.pts`.
        num_frames: Number of frames that the header gives, if any.
        sound: The streams of sound.
        aspect: Width of a pixel divided by its height.

    Raises:
        VideoReadError: The file is missing, empty, no video, or has no frame that can be read.
        ImageReadError: The frames are too small or too large.
    """

    def __init__(self, path: str | Path, *, container: Any = None) -> None:
        self.path = path
        self._av = pyav()
        self._file: IO[bytes] | None = None
        self._damaged = 0
        self._broken: str | None = None
        self._last_s = 0.0
        self._read = self._zero = 0
        try:
            self._container = self._open() if container is None else container
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if (container := getattr(self, "_container", None)) is not None:
            container.close()
        if self._file is not None:
            self._file.close()

    def frames(self, *, on_sound: Callable[[Any], None] | None = None) -> Iterator[Frame]:
        """All frames in their order; `on_sound` gets the packets of sound as they come between them."""
        for item in self._items:
            if isinstance(item, Frame):
                yield item
            elif on_sound is not None:
                on_sound(item)

    def damage(self) -> str | None:
        """After the last frame: what could not be read, as part of a sentence; None for a whole video."""
        if self._broken is not None:
            return f"damaged after frame {self._read}, at {self._last_s:.2f} s ({self._broken})"
        duration, missing = self._duration_s, (self.num_frames or 0) - self._read - self._damaged
        if missing > 0 and duration is not None and self._last_s + _SLACK_S + self.time_per_frame < duration:
            return f"ends after frame {self._read}, at {self._last_s:.2f} s of {duration:.2f} s; the rest is missing"
        if self._damaged:
            return f"{self._damaged} damaged parts of it are left out"
        return None

    @property
    def time_per_frame(self) -> float:
        """Seconds."""
        return 1 / float(self.rate)

    def _open(self) -> Any:
        try:
            if not Path(self.path).is_file():
                raise VideoReadError(f"{self.path}: no such video file")
            if not Path(self.path).stat().st_size:
                raise self._unreadable("empty")
            self._file = Path(self.path).open("rb")  # noqa: SIM115  # `close` does
        except OSError as error:
            raise error if isinstance(error, VideoReadError) else self._unreadable(str(error.strerror)) from error
        try:
            options = {"format_whitelist": _FORMATS}
            return self._av.open(self._file, container_options=options, buffer_size=_BUFFER_BYTES)
        except (self._av.error.FFmpegError, ValueError, OSError) as error:
            raise self._unreadable(_reason(error)) from error

    def _start(self) -> None:
        streams = self._container.streams
        if not streams.video:
            held = "only sound" if streams.audio else "neither images nor sound"
            raise VideoReadError(f"{self.path}: has no video stream, {held}; give a video or an image")
        self._stream = next((one for one in streams.video if not _is_cover(one)), None) or streams.video[0]
        if streams.audio and _is_cover(self._stream):
            raise VideoReadError(
                f"{self.path}: has no video stream, only sound and its cover; give a video or an image"
            )
        self._stream.thread_type = "AUTO"
        check_size(self.path, (self._stream.codec_context.width, self._stream.codec_context.height))
        self.rate = Fraction(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.time_base = Fraction(self._stream.time_base or Fraction(1, 90_000))
        self.num_frames: int | None = self._stream.frames or self._frames_of_tags()
        self.sound = list(streams.audio)
        self._items = self._read_items()
        waiting = []
        for item in self._items:
            waiting.append(item)
            if isinstance(item, Frame):
                break
        else:
            raise VideoReadError(f"{self.path}: no frame can be read ({self._broken or 'damaged'}); {_WAY_OUT}")
        self.size_hw: tuple[int, int] = item.pixels.shape[:2]
        self._items = (one for part in (waiting, self._items) for one in part)

    def _read_items(self) -> Iterator[Frame | Any]:
        for packet in self._packets():
            if packet is not None and packet.stream.type == "audio":
                if packet.dts is not None:
                    yield packet
                continue
            try:
                decoded = self._stream.codec_context.decode(packet)
            except self._av.error.FFmpegError:
                self._damaged += 1
                continue
            for frame in decoded:
                self._read += 1
                pts = frame.pts if frame.pts is not None else round((self._read - 1) / self.rate / self.time_base)
                if self._read == 1 and self._file is None:  # a camera counts from when the machine was started
                    self._zero = pts
                pts -= self._zero
                self._last_s = float(pts * self.time_base)
                yield Frame(self._read, pts, self._last_s, self._pixels(frame))

    def _packets(self) -> Iterator[Any]:
        """Packets of the video and of the sound; at the end None, for the frames that the decoder still holds."""
        try:
            for packet in self._container.demux([self._stream, *self.sound]):
                if packet.dts is not None or packet.size:
                    yield packet
        except (self._av.error.FFmpegError, OSError) as error:
            self._broken = _reason(error)
        yield None

    def _pixels(self, frame: Any) -> UInt8[np.ndarray, "height width 3"]:
        """Upright, and of the first frame's size where a stream changes it."""
        if self._read == 1:
            self._turns = round(frame.rotation / 90) % 4  # counterclockwise
            self._stored_size = (frame.width, frame.height)
            check_size(self.path, self._stored_size)
            aspect = Fraction(self._stream.sample_aspect_ratio or 1) or Fraction(1)
            self.aspect = 1 / aspect if self._turns % 2 else aspect
        width, height = self._stored_size
        stored = frame.to_ndarray(format="rgb24", width=width, height=height)
        return np.ascontiguousarray(np.rot90(stored, self._turns))

    @property
    def _duration_s(self) -> float | None:
        if self._stream.duration:
            return float((self._stream.duration + (self._stream.start_time or 0)) * self.time_base)
        return _seconds(self._stream.metadata.get("DURATION"))

    def _frames_of_tags(self) -> int | None:
        duration = self._duration_s
        return None if duration is None else max(1, round(duration * self.rate))

    def _unreadable(self, reason: str) -> VideoReadError:
        return VideoReadError(f"{self.path}: not readable as a video ({reason}); {_WAY_OUT}")


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _seconds(text: str | None) -> float | None:
    """Seconds of Matroska's `hours:minutes:seconds`."""
    try:
        hours, minutes, seconds = (float(part) for part in (text or "").split(":"))
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds


def _reason(error: Exception) -> str:
    """What ffmpeg says, without its number and file name."""
    return str(getattr(error, "strerror", None) or error).partition(":")[0].removeprefix("[Errno ")

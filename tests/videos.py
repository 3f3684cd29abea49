"""Small videos, made with PyAV: a square that moves over a background, with a tone."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MILLISECOND = Fraction(1, 1000)
RATE_HZ = 48_000
FORMATS = {".mkv": "matroska", ".ts": "mpegts"}


def pixels_of(number: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Frame `number`, from 0: red and blue halves, and a square that moves to the right."""
    height, width = size_hw
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2] = (200, 30, 30)
    pixels[height // 2 :] = (30, 30, 200)
    left = 4 + 2 * number
    pixels[height // 4 : height // 2, left : left + height // 3] = (230, 230, 230)
    return pixels


def write_video(
    path: Path,
    *,
    num_frames: int = 10,
    size_hw: tuple[int, int] = (48, 64),
    steps_ms: tuple[int, ...] = (40,),
    rotation: int = 0,
    sound: str | None = "aac",
    codec: str = "libx264",
) -> Path:
    """Write a video; the times between its frames repeat `steps_ms`, and `rotation` is in its metadata."""
    container = av.open(str(path), "w", format=FORMATS.get(path.suffix, path.suffix[1:]))
    video = container.add_stream(codec, rate=25, options={"g": "5"})
    video.height, video.width, video.pix_fmt = *size_hw, "yuv420p"
    video.codec_context.time_base = MILLISECOND if codec == "libx264" else Fraction(1, 25)
    if rotation:
        video.set_display_rotation(rotation)
    audio = container.add_stream(sound, rate=RATE_HZ) if sound else None
    time_ms = 0
    for number in range(num_frames):
        frame = av.VideoFrame.from_ndarray(pixels_of(number, size_hw), format="rgb24")
        frame.pts, frame.time_base = time_ms, MILLISECOND
        container.mux(video.encode(frame))
        step = steps_ms[number % len(steps_ms)]
        if audio is not None:
            first, count = time_ms * RATE_HZ // 1000, step * RATE_HZ // 1000
            tone = (8000 * np.sin(np.arange(first, first + count) * 0.05)).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            samples.sample_rate, samples.pts = RATE_HZ, first
            container.mux(audio.encode(samples))
        time_ms += step
    for stream in (video, audio):
        if stream is not None:
            container.mux(stream.encode(None))
    container.close()
    return path


def write_sound(path: Path) -> Path:
    """A file of sound alone."""
    container = av.open(str(path), "w", format=FORMATS.get(path.suffix, path.suffix[1:]))
    stream = container.add_stream("aac", rate=RATE_HZ)
    samples = av.AudioFrame.from_ndarray(np.zeros((1, RATE_HZ), np.int16), format="s16", layout="mono")
    samples.sample_rate = RATE_HZ
    container.mux(stream.encode(samples))
    container.mux(stream.encode(None))
    container.close()
    return path


def sound_packets(path: Path) -> list[bytes]:
    """The encoded sound of a file."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

"""Reading videos upright and with their times, and writing ones like them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from videos import pixels_of, sound_packets, write_sound, write_video

from cutler_pl.errors import CutlerError, InputError, VideoReadError
from cutler_pl.media import camera as camera_module
from cutler_pl.media.camera import open_camera
from cutler_pl.media.reader import Frame, VideoReader
from cutler_pl.media.writer import VideoWriter


def read(path: Path) -> tuple[VideoReader, list[Frame]]:
    with VideoReader(path) as video:
        return video, list(video.frames())


def copy(source: Path, target: Path) -> None:
    with VideoReader(source) as video, VideoWriter(target, like=video, suffix=target.suffix) as writer:
        for frame in video.frames(on_sound=writer.copy):
            writer.write(frame.pixels, pts=frame.pts)


def gaps(frames: list[Frame]) -> np.ndarray:
    return np.diff([frame.time_s for frame in frames])


def test_read_frames_with_their_times(tmp_path: Path) -> None:
    video, frames = read(write_video(tmp_path / "a.mp4", steps_ms=(20, 40, 100)))
    assert video.size_hw == (48, 64)
    assert video.num_frames == 10
    assert video.damage() is None
    assert [frame.number for frame in frames] == list(range(1, 11))
    assert gaps(frames).tolist() == pytest.approx([0.02, 0.04, 0.1] * 3)
    assert np.abs(frames[3].pixels.astype(int) - pixels_of(3, (48, 64))).mean() < 8


def test_rotated_frames_are_upright(tmp_path: Path) -> None:
    """By -90°: 90° clockwise, so that the upper half becomes the right one."""
    video, frames = read(write_video(tmp_path / "a.mp4", rotation=-90))
    assert video.size_hw == (64, 48)
    assert frames[0].pixels.shape == (64, 48, 3)
    upright = np.rot90(pixels_of(0, (48, 64)), -1)
    assert np.abs(frames[0].pixels.astype(int) - upright).mean() < 8
    assert frames[0].pixels[40, 40, 0] > frames[0].pixels[40, 5, 0]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_written_video_is_like_the_read_one(tmp_path: Path, suffix: str) -> None:
    """Size, times and sound; a rotated one is upright in its pixels."""
    source = write_video(tmp_path / "a.mp4", steps_ms=(20, 40, 100), rotation=90)
    copy(source, tmp_path / f"b{suffix}")
    (video, frames), (_, before) = read(tmp_path / f"b{suffix}"), read(source)
    assert video.size_hw == (64, 48)
    assert gaps(frames).tolist() == pytest.approx(gaps(before).tolist(), abs=0.0011)
    assert np.abs(frames[4].pixels.astype(int) - before[4].pixels).mean() < 6
    assert len(video.sound) == 1
    assert (sound_packets(tmp_path / f"b{suffix}") == sound_packets(source)) == (suffix != ".webm")


def test_sizes_may_be_odd(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", size_hw=(48, 64), sound=None)
    with VideoReader(tmp_path / "a.mp4") as video:
        frames = list(video.frames())
        video.size_hw = (31, 45)
        with VideoWriter(tmp_path / "b.mp4", like=video, suffix=".mp4") as writer:
            for frame in frames:
                writer.write(frame.pixels[:31, :45], pts=frame.pts)
    assert read(tmp_path / "b.mp4")[0].size_hw == (31, 45)


def test_other_containers_are_read(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.avi", codec="mpeg4", sound="ac3")
    assert len(read(source)[1]) == 10
    copy(source, tmp_path / "b.mp4")
    assert sound_packets(tmp_path / "b.mp4") == sound_packets(source)
    assert len(read(write_video(tmp_path / "a.ts"))[1]) == 10


def test_truncated_video_gives_its_first_frames(tmp_path: Path) -> None:
    """A Matroska file says how long it should be, and a fragment of it can be read."""
    whole = write_video(tmp_path / "a.mkv", num_frames=100)
    (tmp_path / "b.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    video, frames = read(tmp_path / "b.mkv")
    assert 10 < len(frames) < 90
    assert f"after frame {len(frames)}" in str(video.damage())
    assert read(whole)[0].damage() is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "not readable as a video"),
        (lambda path: path.write_text("no video"), "not readable as a video .*Invalid data"),
        (lambda path: path.write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1/a.ts\n"), "not readable as a video"),
        (lambda path: path.mkdir(), "no such video file"),
        (write_sound, "has no video stream, only sound"),
        (lambda path: path.write_bytes(write_video(path).read_bytes()[:1500]), "not readable as a video"),
        (lambda path: write_video(path, size_hw=(2, 2)) and cut_frames(path), "no frame can be read"),
    ],
    ids=["empty", "text", "playlist", "folder", "sound", "truncated", "no frame"],
)
def test_what_is_no_video_is_named(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "a.mp4"
    make(path)
    with pytest.raises(VideoReadError, match=rf"a\.mp4: {message}") as caught:
        VideoReader(path)
    assert "\n" not in str(caught.value)


def cut_frames(path: Path) -> None:
    """Overwrite the frames of a file whose index stays."""
    content = bytearray(path.read_bytes())
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[start:end] = b"\0" * (end - start)
    path.write_bytes(content)


def test_videos_of_other_endings_are_not_written(tmp_path: Path) -> None:
    with VideoReader(write_video(tmp_path / "a.mp4")) as video, pytest.raises(InputError, match=r"written as \.mp4"):
        VideoWriter(tmp_path / "b.avi", like=video, suffix=".avi")


def test_missing_camera_is_named() -> None:
    with pytest.raises(CutlerError, match="camera:987: there is no such camera; th"):
        open_camera(987)


def test_times_of_a_camera_begin_at_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    stream = write_video(tmp_path / "a.ts", sound=None)  # begins at 1.4 s
    monkeypatch.setattr(camera_module, "_container", lambda number, name: av.open(str(stream)))
    with open_camera(0) as video:
        times = [frame.time_s for frame in video.frames()]
    assert times[:3] == pytest.approx([0, 0.04, 0.08])

"""`predict` on videos and cameras, with a small detector that has not been trained."""

import json
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from omegaconf import OmegaConf
from videos import sound_packets, write_sound, write_video

from cutler_pl.commands import predict_videos
from cutler_pl.media import camera
from cutler_pl.media.reader import VideoReader
from cutler_pl.runtime import signals

from .conftest import Command, Outcome, sentence

Predict = Callable[..., Outcome]
NEEDS_TRACKERS = "needs the extra video (trackers, which brings OpenCV): pip install 'cutler_pl[video]'"


@pytest.fixture
def predict(command: Command, checkpoint: Path) -> Predict:
    """The command on the CPU."""
    rest = (f"checkpoint={checkpoint}", "device=cpu")
    return lambda *words: command("scripts/predict.py", *rest, *words)


def frames_of(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["frames"]


def test_video_gives_a_video(predict: Predict, tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", steps_ms=(20, 40, 100), rotation=90)
    out = tmp_path / "out" / "found.mp4"
    words = (f"input={source}", f"output={out}", "overlay_score=0", "batch_size=3")
    outcome = predict(*words)
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in out.parent.iterdir()) == ["found.json", "found.mp4", "found.run.yaml"]
    content = json.loads((out.parent / "found.json").read_text())
    assert {key: content["info"][key] for key in ("video", "height", "width")} == {
        "video": "a.mp4", "height": 64, "width": 48,
    }  # fmt: skip
    assert [(one["id"], one["name"]) for one in content["categories"]] == [(3, "cat"), (8, "dog")]
    frames = content["frames"]
    assert [frame["frame"] for frame in frames] == list(range(1, 11))
    assert [frame["time_s"] for frame in frames[:4]] == [0, 0.02, 0.06, 0.16]
    assert {len(frame["detections"]) for frame in frames} == {5}
    detection = frames[1]["detections"][0]
    assert set(detection) == {"image_id", "category_id", "bbox", "score", "segmentation", "track_id"}
    assert (detection["image_id"], detection["track_id"]) == (2, None)
    assert detection["segmentation"]["size"] == [64, 48]
    assert OmegaConf.load(out.parent / "found.run.yaml").config.batch_size == 3
    assert sound_packets(out) == sound_packets(source)
    with VideoReader(out) as video:
        assert video.size_hw == (64, 48)
        assert [round(frame.time_s, 3) for frame in video.frames()] == [frame["time_s"] for frame in frames]

    assert "exists; add overwrite=true" in sentence(predict(*words))
    assert predict(*words, "overwrite=true", "batch_size=1", "half=false").code == 0
    assert frames_of(out.parent / "found.json") == frames


def test_folder_of_images_and_videos(
    predict: Predict, write_image: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Videos of one stem keep apart; a damaged one is recorded; an interrupted run goes on."""
    media = write_image("in/a.jpg", (30, 40)).parent
    write_video(media / "a.mp4", num_frames=3)
    write_video(media / "A.mov", num_frames=2)
    write_video(media / "b.avi", num_frames=2, codec="mpeg4")
    write_video(media / "images.mkv", num_frames=2)
    (media / "c.mp4").write_text("no video")
    out = tmp_path / "out"
    words = (f"input={media}", f"output={out}", "num_workers=0")
    predicted = []
    one = predict_videos.predict_video

    def count(cfg: Any, detector: Any, source: Path, *rest: Any, **options: Any) -> Any:
        predicted.append(source.name)
        if len(predicted) == 2:
            raise RuntimeError("stop here")
        return one(cfg, detector, source, *rest, **options)

    monkeypatch.setattr(predict_videos, "predict_video", count)
    with pytest.raises(RuntimeError, match="stop here"):
        predict(*words)
    outcome = predict(*words)
    assert outcome.code == 0, outcome.err
    assert predicted == ["A.mov", "a.mp4", "a.mp4", "b.avi", "c.mp4", "images.mkv"]
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} - {".lock"}
    assert names == {
        "A.mov.mov", "A.mov.json", "a.mp4.mp4", "a.mp4.json", "b.mp4", "b.json", "images.mkv.mkv", "images.mkv.json",
        "overlays/a.jpg", "predictions.json", "images.json", "failures.jsonl", "config.yaml", "run.json",
    }  # fmt: skip
    (failure,) = (json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines())
    assert failure["file"] == "c.mp4"
    assert len(frames_of(out / "b.json")) == 2


def test_json_alone_is_written(predict: Predict, tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4")
    assert predict(f"input={source}", f"output={tmp_path}/out", "overlays=false", "max_frames=4").code == 0
    assert {path.name for path in (tmp_path / "out").glob("a.*")} == {"a.json"}
    assert len(frames_of(tmp_path / "out" / "a.json")) == 4


def test_truncated_video_keeps_its_frames(predict: Predict, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mkv", num_frames=60, sound=None)
    cut = tmp_path / "b.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for out, results in ((tmp_path / "o.mp4", tmp_path / "o.json"), (tmp_path / "out", tmp_path / "out" / "b.json")):
        line = sentence(predict(f"input={cut}", f"output={out}"))
        assert "b.mkv: ends after frame" in line
        assert f"what can be read is in {out}" in line
        assert len(frames_of(results)) > 5


@pytest.mark.parametrize(
    ("make", "words", "message"),
    [
        (write_sound, [], "has no video stream, only sound"),
        (lambda path: path.write_text("x"), [], "not readable as a video"),
        (write_video, ["output=a.avi"], "videos are written as .mp4"),
        (write_video, ["output=a.jpg"], "gives a video; end the name in .mp4"),
        (write_video, ["output=in.mp4"], "in.mp4: the run would replace its own input="),
        (write_video, ["output=."], "in.mp4: the run would replace its own input="),
        (write_video, ["output=o.mp4", "overlays=false"], "overlays=false draws nothing"),
        (write_video, ["trainer.precision=64-true"], "expected one of 32-true, 16-mixed, bf16-mixed"),
        (write_video, ["device=cuda:77"], "device='cuda:77' is not there"),
        (write_video, ["input=camera:987"], "camera:987: there is no such camera"),
        (write_video, ["input=camera:987", "output=o.mp4"], "camera:987: there is no such camera"),
        (write_video, ["show=true"], "show=true: there is no display here"),
        (write_video, ["max_frames=0"], "max_frames=0: expected an integer of at least 1"),
    ],
)
def test_bad_words_are_one_sentence(
    predict: Predict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], object],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    make(tmp_path / "in.mp4")
    before = (tmp_path / "in.mp4").read_bytes()
    assert message in sentence(predict("input=in.mp4", "output=out", *words))
    assert (tmp_path / "in.mp4").read_bytes() == before
    assert not list(tmp_path.glob("o.*"))


def test_settings_of_videos_need_one(predict: Predict, write_image: Callable[..., Path], tmp_path: Path) -> None:
    image = write_image("a.jpg", (30, 40))
    for word in ("track=true", "max_frames=3"):
        assert "there is no video in input=" in sentence(predict(f"input={image}", f"output={tmp_path}/out", word))


def test_missing_trackers_are_named(predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    source = write_video(tmp_path / "a.mp4", num_frames=2)
    line = sentence(predict(f"input={source}", f"output={tmp_path}/out", "track=true"))
    assert "track=true needs the package 'trackers'" in line
    assert "pip install 'cutler_pl[video]'" in line


def test_tracks_are_numbered(predict: Predict, tmp_path: Path) -> None:
    pytest.importorskip("trackers", reason=NEEDS_TRACKERS)
    source = write_video(tmp_path / "a.mp4")
    outcome = predict(f"input={source}", f"output={tmp_path}/o.mp4", "track=true", "overlay_score=0.3")
    assert outcome.code == 0, outcome.err
    ids = [[one["track_id"] for one in frame["detections"]] for frame in frames_of(tmp_path / "o.json")]
    assert ids[0] == [None] * 5
    assert all(1 <= one <= 20 for one in ids[-1] if one is not None)
    assert any(ids[-1])


def test_camera_ends_with_ctrl_c(predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded is whole, in its place."""
    stream = write_video(tmp_path / "a.ts", num_frames=50)
    monkeypatch.setattr(camera, "_container", lambda number, name: av.open(str(stream)))
    until_stopped = predict_videos._until_stopped

    def stop(frames: Any, window: Any) -> Any:
        for frame in until_stopped(frames, window):
            if frame.number == 5:
                signal.raise_signal(signal.SIGINT)
            yield frame

    monkeypatch.setattr(predict_videos, "_until_stopped", stop)
    with signals.handled():
        outcome = predict("input=camera:0", f"output={tmp_path}/seen.mp4")
    signals.release()  # else it would end this process, which goes on
    assert outcome.code == 0
    assert f"{tmp_path}/seen.mp4: 5 frames" in outcome.out + outcome.err
    assert len(frames_of(tmp_path / "seen.json")) == 5
    with VideoReader(tmp_path / "seen.mp4") as video:
        assert len(list(video.frames())) == 5


def test_full_disk_leaves_no_part(predict: Predict, tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", num_frames=40, size_hw=(240, 320))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
        line = sentence(predict(f"input={source}", f"output={tmp_path}/out/o.mp4", "overlay_score=0"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert "free space" in line
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True

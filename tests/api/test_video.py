"""Videos in Python."""

from pathlib import Path

import numpy as np
import pytest
import torch
from videos import write_video

from cutler_pl.api import CutLER
from cutler_pl.api.video import FrameResult
from cutler_pl.errors import VideoReadError
from cutler_pl.models import DetectorMetadata, build_detector
from cutler_pl.visual.colors import instance_color

SMALL = {"backbone": "timm/test_resnet", "fpn_channels": 16, "box_head_dim": 32, "mask_head_channels": 8}
SMALL |= {"mask_head_convs": 1, "max_detections": 5, "min_size_test": 64, "max_size_test": 96}


@pytest.fixture(scope="module")
def model() -> CutLER:
    torch.manual_seed(0)
    detector = build_detector("cascade_mask_rcnn_r50_fpn", 1, **SMALL)
    return CutLER(detector, DetectorMetadata(class_names=("object",), category_ids=(1,)), device="cpu")


def test_frames_one_by_one(model: CutLER, tmp_path: Path) -> None:
    """The same in batches; each result is one of an image with its time."""
    source = write_video(tmp_path / "a.mp4", num_frames=5)
    frames = list(model.predict_video(source))
    assert [frame.number for frame in frames] == [1, 2, 3, 4, 5]
    assert [round(frame.time_s, 3) for frame in frames] == [0, 0.04, 0.08, 0.12, 0.16]
    batches = list(model.predict_video(str(source), batch_size=3))
    assert all(torch.allclose(a.boxes, b.boxes, atol=1e-2) for a, b in zip(frames, batches, strict=True))
    assert frames[0].track_ids is None
    record = frames[1][:2].to_record()
    assert (record["frame"], len(record["detections"])) == (2, 2)
    assert frames[0].plot().size == (64, 48)
    with pytest.raises(VideoReadError, match="no such video file"):
        next(model.predict_video(tmp_path / "none.mp4"))


def test_tracks_have_colors_of_their_own(model: CutLER, tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", num_frames=1)
    (frame,) = model.predict_video(source)
    values = {name: getattr(frame, name) for name in frame.__dataclass_fields__}
    tracked = FrameResult(**values | {"track_ids": torch.arange(len(frame))})
    assert tracked[2:4].track_ids.tolist() == [2, 3]
    assert tracked[2:4]._labels() == ["#2", "#3"]
    colors = tracked._colors()
    assert np.array_equal(colors[3], instance_color(2))
    assert np.array_equal(tracked[3]._colors()[0], colors[3])
    assert len(set(colors[0].tolist())) == 1
    assert [one["track_id"] for one in tracked[:2].to_record()["detections"]] == [None, 1]
    tracked.plot()

"""Track ids from frame to frame."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cutler_pl.errors import OptionalDependencyError
from cutler_pl.media.tracking import Tracker

NEEDS_TRACKERS = "needs the extra video (trackers, which brings OpenCV): pip install 'cutler_pl[video]'"


def boxes_at(step: int) -> np.ndarray:
    """Two boxes that move past each other at different heights, and one that stays."""
    left, right = 10.0 + 4 * step, 110.0 - 4 * step
    return np.array([[left, 10, left + 30, 40], [right, 30, right + 30, 70], [60, 90, 90, 120]], dtype=np.float32)


def test_ids_follow_the_objects() -> None:
    """Whatever the order of the detections; also over a frame in which one is missing, and one in which it is weak."""
    pytest.importorskip("trackers", reason=NEEDS_TRACKERS)
    tracker = Tracker(frame_rate=25.0, min_score=0.5)
    rng = np.random.default_rng(0)
    found: list[dict[int, int]] = []
    for step in range(24):
        objects = [one for one in rng.permutation(3) if not (one == 2 and step == 10)]
        scores = np.array([0.2 if one == 1 and step == 15 else 0.9 for one in objects], dtype=np.float32)
        ids = tracker.update(boxes_at(step)[objects], scores, time_s=step / 25)
        found.append(dict(zip(objects, ids.tolist(), strict=True)))
    assert set(found[0].values()) == {0}
    assert sorted(found[1].values()) == [1, 2, 3]
    assert all(one == {key: found[1][key] for key in one} for one in found[1:])


def test_weak_detections_start_no_track() -> None:
    pytest.importorskip("trackers", reason=NEEDS_TRACKERS)
    tracker = Tracker(frame_rate=25.0, min_score=0.5)
    for step in range(4):
        ids = tracker.update(boxes_at(step), np.array([0.9, 0.4, 0.05], dtype=np.float32), time_s=step / 25)
    assert ids.tolist() == [1, 0, 0]
    assert tracker.update(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), time_s=0.2).tolist() == []


def test_ids_are_put_in_the_order_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tracker returns detections in an order of its own, and counts its tracks from 0; -1 is none."""

    class Reversing:
        def __init__(self, **settings: Any) -> None:
            assert settings["frame_rate"] == 10.0

        def update(self, detections: Any, timestamp: float) -> Any:
            assert timestamp == 0.5
            detections = detections[np.arange(len(detections))[::-1]]
            detections.tracker_id = np.array([-1, 4, 0])
            return detections

    module = ModuleType("trackers")
    module.ByteTrackTracker = Reversing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackers", module)
    tracker = Tracker(frame_rate=10.0, min_score=0.5)
    scores = np.array([0.9, 0.01, 0.8, 0.7], dtype=np.float32)
    assert tracker.update(np.ones((4, 4), np.float32), scores, time_s=0.5).tolist() == [1, 0, 5, 0]


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(OptionalDependencyError, match=r"track=true needs .*cutler_pl\[video\]"):
        Tracker(frame_rate=25.0, min_score=0.5)

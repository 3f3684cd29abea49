"""A detector over the frames of a video, a batch at a time, in constant memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from cutler_pl.api.result import Result
from cutler_pl.coco.frame_results import FrameResults, TrackedResult
from cutler_pl.media.reader import Frame
from cutler_pl.media.tracking import Tracker
from cutler_pl.visual.colors import instance_color

_UNTRACKED_COLOR = (170, 170, 170)


@dataclass(frozen=True, eq=False)
class FrameResult(Result):
    """Objects of one frame of a video.

    Attributes:
        number: Number of the frame, from 1.
        time_s: Its time in the video.
        track_ids: Track of each object, 0 for none; None where nothing is tracked.
    """

    number: int
    time_s: float
    track_ids: Int64[Tensor, " boxes"] | None

    def to_record(self) -> FrameResults:
        """The frame's record in the JSON file of a video."""
        results = self.to_coco(image_id=self.number)
        ids: Sequence[int] = [0] * len(self) if self.track_ids is None else self.track_ids.tolist()
        tracked = [TrackedResult(**one, track_id=track or None) for one, track in zip(results, ids, strict=True)]
        return FrameResults(frame=self.number, time_s=round(self.time_s, 6), detections=tracked)

    def _at(self, chosen: Int64[Tensor, " chosen"]) -> dict[str, Any]:
        tracks = None if self.track_ids is None else self.track_ids[chosen]
        return super()._at(chosen) | {"track_ids": tracks}

    def _labels(self) -> list[str] | None:
        """`#<track>` before the class name, where there is either."""
        names = super()._labels()
        if self.track_ids is None:
            return names
        tracks = [f"#{track}" if track else "" for track in self.track_ids.tolist()]
        return [f"{track} {name}".strip() for track, name in zip(tracks, names or [""] * len(self), strict=True)]

    def _colors(self) -> UInt8[np.ndarray, "boxes 3"] | None:
        """One color per track; grey for what belongs to none."""
        if self.track_ids is None or not len(self):
            return None
        colors = [instance_color(track - 1) if track else _UNTRACKED_COLOR for track in self.track_ids.tolist()]
        return np.array(colors, dtype=np.uint8)


def predict_frames(
    predict: Callable[..., Any],
    frames: Iterable[Frame],
    *,
    batch_size: int,
    tracker: Tracker | None = None,
) -> Iterator[tuple[Frame, FrameResult]]:
    """Frames with their results, in order; `batch_size` of them go through the network together.

    Args:
        predict: `CutLER.predict`, or that with its options bound.
        frames: Of one video, all of one size.
        tracker: Gives the track ids.
    """
    remaining = iter(frames)
    while batch := list(islice(remaining, batch_size)):
        results = cast(list[Result], predict([frame.pixels for frame in batch], batch_size=batch_size))
        for frame, result in zip(batch, results, strict=True):
            yield frame, _frame_result(frame, result, tracker)


def _frame_result(frame: Frame, result: Result, tracker: Tracker | None) -> FrameResult:
    ids = None
    if tracker is not None:
        ids = torch.from_numpy(tracker.update(result.boxes.numpy(), result.scores.numpy(), time_s=frame.time_s))
    values = {field.name: getattr(result, field.name) for field in fields(Result)}
    return FrameResult(**values, number=frame.number, time_s=frame.time_s, track_ids=ids)

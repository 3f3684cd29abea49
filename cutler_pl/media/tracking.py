"""Track ids of detections from frame to frame, by ByteTrack (Zhang et al., ECCV 2022) of the package trackers."""

import numpy as np
from jaxtyping import Float, Int64

from cutler_pl.runtime.imports import require, supervision

_MIN_SCORE = 0.1  # weaker detections belong to no track, as in the paper
_MIN_IOU = 0.2  # of a detection with the place where its track is expected, as in the paper


class Tracker:
    """Ids of the objects of one video, from 1.

    Args:
        frame_rate: Frames per second of the video, on average.
        min_score: Detections from this score up start a track; weaker ones only continue one.

    Raises:
        OptionalDependencyError: The package is not installed.
    """

    def __init__(self, *, frame_rate: float, min_score: float) -> None:
        trackers = require("trackers", extra="video", purpose="track=true")
        self._tracker = trackers.ByteTrackTracker(
            frame_rate=frame_rate,
            track_activation_threshold=min_score,
            high_conf_det_threshold=min_score,
            minimum_iou_threshold=_MIN_IOU,
        )

    def update(
        self, boxes: Float[np.ndarray, "boxes 4"], scores: Float[np.ndarray, " boxes"], *, time_s: float
    ) -> Int64[np.ndarray, " boxes"]:
        """The track of each detection of the next frame, 0 for none; a track has its number from its second frame on.

        Args:
            boxes: Pixels, xyxy.
            time_s: Time of the frame.
        """
        places = np.flatnonzero(scores >= _MIN_SCORE)
        detections = supervision().Detections(
            xyxy=boxes[places].astype(np.float32), confidence=scores[places], data={"place": places}
        )
        tracked = self._tracker.update(detections, timestamp=time_s)
        ids = np.zeros(len(boxes), dtype=np.int64)
        if len(tracked):  # in an order of its own
            ids[tracked.data["place"]] = np.asarray(tracked.tracker_id) + 1
        return ids

"""Detections of a video's frames as one JSON file, streamed: `{"info", "categories", "frames"}`, a line per frame.

A frame is `{"frame", "time_s", "detections"}`; frames count from 1. Detections are COCO results with a `track_id`;
their `image_id` is the frame's number.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from cutler_pl.coco.schema import Category, Result
from cutler_pl.coco.stream import list_writer
from cutler_pl.runtime.files import atomic_write


class TrackedResult(Result):
    """A detection of a frame; `track_id` is None where it belongs to no track."""

    track_id: int | None


class FrameResults(TypedDict):
    """The record of one frame; `time_s` is its time in the video."""

    frame: int
    time_s: float
    detections: list[TrackedResult]


@contextmanager
def frame_results_writer(
    path: str | Path, *, info: Mapping[str, Any], categories: Sequence[Category]
) -> Iterator[Callable[[FrameResults], None]]:
    """Yield the function that appends a frame; the file appears when the block ends well.

    Raises:
        OutputWriteError: There is no space or no permission.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
        head = json.dumps({"info": info, "categories": categories}, allow_nan=False)
        file.write(f'{head[:-1]}, "frames": [')
        put = list_writer(file)
        yield lambda frame: put(frame)
        file.write("\n]}\n")

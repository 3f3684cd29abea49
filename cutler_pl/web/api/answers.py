"""What the API says: the JSON of an answer and of an error, as dataclasses from which its description is made."""

from dataclasses import dataclass

from cutler_pl.api.result import Result


@dataclass(frozen=True)
class Segmentation:
    """A mask as COCO's compressed run lengths, column by column; `size` is height and width."""

    size: list[int]
    counts: str


@dataclass(frozen=True)
class DetectedObject:
    """One object; `bbox` is left, top, width, height in pixels of the upright image."""

    bbox: list[float]
    score: float
    category_id: int
    category_name: str
    segmentation: Segmentation


@dataclass(frozen=True)
class Detections:
    """The objects of an image, best first; sizes are those of the upright image."""

    width: int
    height: int
    model: str
    detections: list[DetectedObject]


@dataclass(frozen=True)
class Error:
    """Why there is no other answer, in one sentence."""

    error: str


@dataclass(frozen=True)
class Health:
    """`ok`, and the requests at work."""

    status: str
    active_requests: int


def detections(result: Result, model: str) -> Detections:
    """A result as the API gives it."""
    found = [
        DetectedObject(
            bbox=record["bbox"],
            score=record["score"],
            category_id=record["category_id"],
            category_name=result.names[label],
            segmentation=Segmentation(**record["segmentation"]),
        )
        for record, label in zip(result.to_coco(image_id=1), result.labels.tolist(), strict=True)
    ]
    height, width = result.image_size_hw
    return Detections(width, height, model, found)

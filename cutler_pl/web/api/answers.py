"""What the API says: the JSON of an answer and of an error, as dataclasses from which its description is made."""

from dataclasses import asdict, dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from cutler_pl.api.result import Result
from cutler_pl.runtime.logging import get_logger
from cutler_pl.web.api.errors import RequestError
from cutler_pl.web.uploads import UploadError

log = get_logger(__name__)

UNEXPECTED = "the server failed at this request, and its log says why; the server goes on"
NO_MEMORY = "the image does not fit into the server's memory; send a smaller one"


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


def to_response(content: Any, status: int = 200, headers: Any = None) -> Response:
    """One of these dataclasses as JSON."""
    body = orjson.dumps(asdict(content))
    always = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return Response(body, status, {**always, **(headers or {})}, media_type="application/json")


def refusal(request: Request, error: Exception) -> Response:
    """The answer to a request that failed; what is nobody's fault but the server's goes to its log."""
    if isinstance(error, RequestError):
        return to_response(Error(str(error)), error.status, error.headers)
    if isinstance(error, UploadError):
        return to_response(Error(str(error)), error.status)
    if isinstance(error, MemoryError) or "out of memory" in str(error):
        log.error("%s %s: out of memory (%s)", request.method, request.url.path, error)
        return to_response(Error(NO_MEMORY), 413)
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return to_response(Error(UNEXPECTED), 500)

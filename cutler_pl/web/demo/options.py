"""Where the page is served, and what it accepts."""

from dataclasses import dataclass
from typing import Annotated

from cutler_pl.runtime.ranges import Integer, Share, Text, check_fields
from cutler_pl.web.uploads import UploadLimits


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Options of the page.

    Attributes:
        host: Address to listen at; 127.0.0.1 is this machine alone, 0.0.0.0 everybody who reaches it.
        port: Port to listen at; 0 for a free one.
        score_threshold: Where the slider of the scores stands at first.
        max_bytes: Largest file that can be uploaded.
        max_pixels: Largest width times height of an image.
        max_queue: Requests that wait at most; further ones are refused.
        keep_minutes: How long uploads and results are kept.
    """

    host: Annotated[str, Text()] = "127.0.0.1"
    port: Annotated[int, Integer(0, 65_535)] = 7860
    score_threshold: Share = 0.4
    max_bytes: Annotated[int, Integer(1, 1 << 30)] = UploadLimits.max_bytes
    max_pixels: Annotated[int, Integer(4, 1 << 30)] = UploadLimits.max_pixels
    max_queue: Annotated[int, Integer(1, 10_000)] = 20
    keep_minutes: Annotated[int, Integer(1, 10_000)] = 15

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def limits(self) -> UploadLimits:
        """What an upload may be."""
        return UploadLimits(self.max_bytes, self.max_pixels)

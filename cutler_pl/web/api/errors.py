"""Requests that are not answered with detections, each with HTTP's number for the reason."""

from collections.abc import Mapping

from cutler_pl.errors import CutlerError


class RequestError(CutlerError, ValueError):
    """A request is refused; `status` is HTTP's number for the reason."""

    def __init__(self, sentence: str, *, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers

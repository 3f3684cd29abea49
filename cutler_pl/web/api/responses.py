"""Answers as HTTP responses; what nobody expects goes to the log, not to the client."""

from dataclasses import asdict
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from cutler_pl.runtime.logging import get_logger
from cutler_pl.web.api.answers import Error
from cutler_pl.web.api.errors import RequestError
from cutler_pl.web.uploads import UploadError

log = get_logger(__name__)

UNEXPECTED = "the server failed at this request, and its log says why; the server goes on"
NO_MEMORY = "the image does not fit into the server's memory; send a smaller one"


def to_response(content: Any, status: int = 200, headers: Any = None) -> Response:
    """One of the dataclasses of `answers.py` as JSON."""
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

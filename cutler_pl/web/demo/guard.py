"""What reaches gradio: the routes that the page needs, uploads within the limits, and paths inside the work folder.

gradio has routes that read other addresses and files, and an interface for programs, which `cutler serve` is for.
"""

import json
from collections.abc import Collection, Iterator
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cutler_pl.web.demo.work_folder import WorkFolder
from cutler_pl.web.uploads import UploadLimits, too_many_bytes

_API = "/gradio_api/"
_FILE = f"{_API}file="
_UPLOAD = f"{_API}upload"
_CALLS = (f"{_API}queue/join", f"{_API}run/predict")  # the second for what does not wait, such as an example
_READ = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt")
_READ_API = ("queue/data", "startup-events", "upload_progress", "info", "app_id", "theme.css")
_READ_BELOW = ("/assets/", "/static/", f"{_API}heartbeat/")
_READABLE = frozenset({*_READ, *(_API + name for name in _READ_API)})
_WRITABLE = frozenset({_UPLOAD, *_CALLS, f"{_API}cancel", f"{_API}reset"})
_ENVELOPE_BYTES = 1 << 16  # of an upload's form around the file, and of any other request
_MAX_UPLOADS = 50  # of the largest size, kept at a time with all results
_HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_FILE_HEADERS = {**_HEADERS, "content-security-policy": "sandbox; default-src 'none'"}


class Guard:
    """An ASGI application around gradio's.

    Args:
        app: gradio's application.
        work: The one folder of which files are served.
        limits: What an upload may be.
        calls: Numbers of the page's functions.
    """

    def __init__(self, app: ASGIApp, work: WorkFolder, limits: UploadLimits, calls: Collection[int]) -> None:
        self._app, self._work, self._limits, self._calls = app, work, limits, calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, pass on any other."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        send = _with_headers(send, _FILE_HEADERS if path.startswith(_FILE) else _HEADERS)
        refusal = self._refusal(scope["method"], path)
        if refusal is None and scope["method"] == "POST":
            refusal = self._size_refusal(path, Headers(scope=scope).get("content-length", ""))
        if refusal is None and path in _CALLS:
            body = await Request(scope, receive).body()
            receive = _again(body, receive)
            refusal = self._call_refusal(body)
        await (refusal or self._app)(scope, receive, send)

    def _size_refusal(self, path: str, announced: str) -> JSONResponse | None:
        """Of a body that is too long; the server lets nobody send more than is announced."""
        if not announced.isdigit():
            return _refuse(411, "the request does not say how long it is")
        if path == _UPLOAD and int(announced) > self._limits.max_bytes + _ENVELOPE_BYTES:
            return _refuse(413, str(too_many_bytes(self._limits)))
        if path == _UPLOAD and self._work.size() > _MAX_UPLOADS * self._limits.max_bytes:
            return _refuse(503, "this server holds as many images as it can; try again in some minutes")
        return _refuse(413, "the request is too long") if path != _UPLOAD and int(announced) > _ENVELOPE_BYTES else None

    def _refusal(self, method: str, path: str) -> JSONResponse | None:
        if path.startswith(_FILE) and method in ("GET", "HEAD"):
            return None if self._work.holds(path.removeprefix(_FILE)) else _refuse(403, "there is no such file here")
        readable = method in ("GET", "HEAD") and (path in _READABLE or path.startswith(_READ_BELOW))
        if readable or (method == "POST" and path in _WRITABLE):
            return None
        return _refuse(404, "there is no such page; programs use cutler serve")

    def _call_refusal(self, body: bytes) -> JSONResponse | None:
        try:
            request = json.loads(body)
            paths = list(_paths(request))
        except (ValueError, RecursionError):
            return _refuse(400, "the request is not readable as JSON; reload the page")
        if not isinstance(request, dict) or request.get("fn_index") not in self._calls:
            return _refuse(400, "the request is for nothing that the page does; reload the page")
        if all(isinstance(path, str) and self._work.holds(path) for path in paths):
            return None
        return _refuse(400, "the request names a file that was not uploaded here; upload an image")


def _paths(value: Any) -> Iterator[Any]:
    """All values named `path`, however deep."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "path":
                yield part
            else:
                yield from _paths(part)
    elif isinstance(value, list):
        for part in value:
            yield from _paths(part)


def _refuse(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers={"connection": "close"})


def _again(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then what comes after it."""
    first = True

    async def read() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return read


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def write(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name for name, _ in encoded}
            message["headers"] = [*(pair for pair in message["headers"] if pair[0].lower() not in names), *encoded]
        await send(message)

    return write

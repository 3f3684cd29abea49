"""The body of a request: a multipart form, read into memory within limits while it arrives.

Parts are never put into temporary files, the file name of a part is not looked at, and a body is refused as soon as
its length, announced or counted, is over the limit.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from cutler_pl.web.api.errors import RequestError
from cutler_pl.web.uploads import UploadLimits, too_many_bytes

FIELD = "image"
_FORM_BYTES = 65_536  # of the other parts and the headers of all parts
_MAX_PARTS, _TEXT_BYTES, _NAME_LENGTH = 20, 1024, 60
_DISCARD_SECONDS = 10.0


class Form(NamedTuple):
    """What a form holds."""

    image: bytes
    texts: dict[str, str]


class Body:
    """The body of a request, counted while it arrives."""

    def __init__(self, request: Request, limits: UploadLimits) -> None:
        self.request = request
        self.limits = limits
        self.is_read = False
        self._bytes = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body part by part.

        Raises:
            UploadError: It is, or announces to be, over the limit.
            RequestError: The client went away.
        """
        most = self.limits.max_bytes + _FORM_BYTES
        announced = self.request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:19]) > most:
            raise too_many_bytes(self.limits)
        while not self.is_read:
            message = await self.request.receive()
            if message["type"] != "http.request":
                self.is_read = True
                raise RequestError("the client went away before its request was complete", status=400)
            self.is_read = not message.get("more_body", False)
            chunk: bytes = message.get("body", b"")
            self._bytes += len(chunk)
            if self._bytes > most:
                raise too_many_bytes(self.limits)
            yield chunk

    async def discard(self) -> None:
        """Let the rest of a refused body arrive, for some seconds: most clients read no answer before they have sent.

        A client that waits for `100 Continue` sends nothing, so that nothing is waited for.
        """
        if "expect" in self.request.headers and not self._bytes:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while not self.is_read:
                    message = await self.request.receive()
                    self.is_read = message["type"] != "http.request" or not message.get("more_body", False)


async def read_form(body: Body) -> Form:
    """Read the file of the field `image` and the texts of the others.

    Raises:
        UploadError: The body is too large.
        RequestError: With status 415 where it is no multipart form, 422 where the file is missing, 400 where the form
            is damaged.
    """
    kind, options = parse_options_header(body.request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise RequestError(
            f"the body is no multipart form; send multipart/form-data with a file in the field {FIELD}", status=415
        )
    parts = _Parts()
    try:
        parser = MultipartParser(options.get(b"boundary", b""), parts.callbacks())
        async for chunk in body.chunks():
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(f"the multipart form cannot be read ({error}); send it again", status=400) from error
    texts: dict[str, str] = {}
    image: bytes | None = None
    for part in parts.complete:
        if part.name in texts or (part.name == FIELD and image is not None):
            raise RequestError(f"the field {part.name!r} is given twice; give it once", status=400)
        if part.is_file != (part.name == FIELD):
            held = "holds a file" if part.is_file else "holds a text"
            raise RequestError(f"the field {part.name!r} {held}; send one file, in the field {FIELD}", status=422)
        if part.is_file:
            image = bytes(part.content)
        else:
            texts[part.name] = part.content.decode("utf-8", "replace")
    if image is None:
        raise RequestError(f"the field {FIELD} is missing; send the image file in it", status=422)
    return Form(image, texts)


@dataclass
class _Part:
    """A part of a form; its content grows while it arrives."""

    name: str = ""
    is_file: bool = False
    content: bytearray = field(default_factory=bytearray)


class _Parts:
    """Collects the parts that a parser finds."""

    def __init__(self) -> None:
        self.complete: list[_Part] = []
        self._part = _Part()
        self._header, self._value = bytearray(), bytearray()

    def callbacks(self) -> Any:
        """What the parser calls."""
        names = ("part_begin", "part_data", "part_end", "header_begin", "header_field", "header_value", "header_end")
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        """A new part."""
        if len(self.complete) == _MAX_PARTS:
            raise FormParserError(f"more than {_MAX_PARTS} parts")
        self._part = _Part()

    def header_begin(self) -> None:
        """A new header of the part."""
        self._header.clear()
        self._value.clear()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        """Some of its name."""
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        """Some of its value."""
        self._value += data[start:end]

    def header_end(self) -> None:
        """The name of the field, and whether it is a file; the name of the file is not looked at."""
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._part.name = options.get(b"name", b"").decode("utf-8", "replace")[:_NAME_LENGTH]
            self._part.is_file = b"filename" in options

    def part_data(self, data: bytes, start: int, end: int) -> None:
        """Some of the content."""
        self._part.content += data[start:end]
        if not self._part.is_file and len(self._part.content) > _TEXT_BYTES:
            raise FormParserError(f"a text of more than {_TEXT_BYTES} bytes")

    def part_end(self) -> None:
        """The part is complete."""
        self.complete.append(self._part)

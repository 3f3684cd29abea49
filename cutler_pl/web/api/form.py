"""The body of a request: a multipart form, read into memory within limits while it arrives.

Parts are never put into temporary files, the file name of a part is not looked at, and a body is refused as soon as
its length, announced or counted, is over the limit.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import NamedTuple

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from cutler_pl.web.api.errors import RequestError
from cutler_pl.web.uploads import UploadLimits, too_many_bytes

FIELD = "image"
_FORM_BYTES = 65_536  # of the other parts and the headers of all parts
_MAX_FIELDS, _FIELD_BYTES = 20, 1024
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
    headers = body.request.headers
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise RequestError(
            f"the body is no multipart form; send multipart/form-data with a file in the field {FIELD}", status=415
        )
    parser = _MemoryParser(
        headers, body.chunks(), max_files=1, max_fields=_MAX_FIELDS, max_part_size=_FIELD_BYTES
    )  # fmt: skip
    try:
        items = (await parser.parse()).multi_items()
    except MultiPartException as error:
        reason = error.message.rstrip(".")
        raise RequestError(f"the multipart form cannot be read ({reason}); send it again", status=400) from error
    texts: dict[str, str] = {}
    image: bytes | None = None
    for name, value in items:
        if isinstance(value, UploadFile):
            content = await value.read()
            await value.close()
            if name != FIELD:
                raise RequestError(f"the field {name[:60]!r} holds a file; send it as {FIELD}", status=422)
            image = content
        elif name == FIELD:
            raise RequestError(f"the field {FIELD} is a text; send the content of a file in it", status=422)
        elif name in texts:
            raise RequestError(f"the field {name[:60]!r} is given twice; give it once", status=400)
        else:
            texts[name] = value
    if image is None:
        raise RequestError(f"the field {FIELD} is missing; send the image file in it", status=422)
    return Form(image, texts)


class _MemoryParser(MultiPartParser):
    """Keeps files in memory: the body is limited already."""

    spool_max_size = sys.maxsize

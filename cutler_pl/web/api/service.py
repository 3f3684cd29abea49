"""From a request to its answer: admission, form, batch, time limit."""

import asyncio
import time
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cutler_pl.api.inputs import Pixels
from cutler_pl.api.result import Result
from cutler_pl.runtime.logging import get_logger
from cutler_pl.web.api.answers import detections
from cutler_pl.web.api.batching import Batcher
from cutler_pl.web.api.endpoints import Endpoint
from cutler_pl.web.api.errors import RequestError
from cutler_pl.web.api.form import Body, read_form
from cutler_pl.web.api.options import RequestOptions, ServerOptions, read_options
from cutler_pl.web.api.responses import refusal, to_response
from cutler_pl.web.uploads import read_upload

log = get_logger(__name__)

Item = tuple[Pixels, RequestOptions]
_DECODERS = 2


class Service:
    """Answers requests, within the limits of its options.

    Requests that wait hold the bytes of their file; two batches at most are decoded at once.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.active = 0
        self._batcher: Batcher[Item, Result]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Inside, requests are answered."""
        size = self.options.batch_size
        self._decoded = asyncio.Semaphore(2 * size)
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decoder")
        async with Batcher(_predict, batch_size=size, delay=self.options.batch_delay) as self._batcher:
            yield
        self._decoders.shutdown()

    @property
    def is_running(self) -> bool:
        """Whether requests are answered."""
        return self._batcher.is_running

    async def answer(self, request: Request, endpoint: Endpoint[Any]) -> Response:
        """The answer, whatever happens; a refused body is let arrive, so that the client reads why."""
        start = time.perf_counter()
        body = Body(request, self.options.limits)
        try:
            with self._admitted():
                async with asyncio.timeout(self.options.timeout):
                    result = await self._result(body, endpoint)
            response = to_response(detections(result, endpoint.model))
        except TimeoutError:
            sentence = f"no answer within {self.options.timeout:g} s; try again later, or with a smaller image"
            body.is_read = True  # what comes so slowly is not waited for
            response = refusal(request, RequestError(sentence, status=504))
        except Exception as error:  # noqa: BLE001  # `refusal` writes what nobody expects to the log
            response = refusal(request, error)
        if not body.is_read:
            await body.discard()
        log.info("%s: %d in %.3f s", endpoint.path, response.status_code, time.perf_counter() - start)
        return response

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self.active >= self.options.max_queue:
            sentence = f"{self.active} requests are waiting already, as many as this server takes; try again later"
            raise RequestError(sentence, status=429, headers={"Retry-After": "1"})
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    async def _result(self, body: Body, endpoint: Endpoint[Any]) -> Result:
        form = await read_form(body)
        options = read_options(endpoint.options, form.texts)
        key = (endpoint, endpoint.batch_key(options))
        async with self._decoded:
            loop = asyncio.get_running_loop()
            pixels = await loop.run_in_executor(self._decoders, read_upload, form.image, self.options.limits)
            return await self._unless_gone(body.request, key, (pixels, options))

    async def _unless_gone(self, request: Request, key: Hashable, item: Item) -> Result:
        """The result, which is not computed for a client that goes away while it waits."""
        result = asyncio.create_task(self._batcher.submit(key, item))
        gone = asyncio.ensure_future(request.receive())  # the body is read: what comes is that the client has gone
        try:
            await asyncio.wait({result, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                raise RequestError("the client went away before its answer was there", status=400)
            return result.result()
        finally:
            result.cancel()
            gone.cancel()


def _predict(key: Hashable, items: Sequence[Item]) -> list[Result]:
    """Run one batch, in the thread of the networks."""
    endpoint: Endpoint[Any] = key[0]  # type: ignore[index]
    return endpoint.predict([pixels for pixels, _ in items], [options for _, options in items])

"""An application served by a thread on this machine, and the requests of a client of the standard library."""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import uvicorn

from cutler_pl.api.inputs import Pixels
from cutler_pl.api.result import Result
from cutler_pl.web.api.endpoints import Endpoint
from cutler_pl.web.api.options import RequestOptions
from cutler_pl.web.api.server import listen

BOUNDARY = "a-boundary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(image: bytes | None, /, file_name: str = "x", **fields: object) -> bytes:
    """The body of a multipart form."""
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    body = "".join(parts).encode()
    if image is not None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{file_name}"\r\n\r\n'
        body += head.encode() + image + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


class Answer:
    """Status, headers and JSON of an answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> str:
        """The one sentence of an answer that is nothing else."""
        ((name, text),) = self.json.items()
        assert name == "error"
        assert text
        assert "\n" not in text
        assert "/tmp" not in text
        return text


class Client:
    """Requests to one server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}), **options)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def post(self, path: str, image: bytes | None, /, **fields: object) -> Answer:
        return self.request("POST", path, form(image, **fields), FORM)


@contextmanager
def served(app: Any) -> Iterator[Client]:
    """Serve an application, until the block is left."""
    with listen("127.0.0.1", 0) as bound:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none", loop="asyncio"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            yield Client(bound.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


def result(size_hw: tuple[int, int]) -> Result:
    """A result without objects."""
    return Result(
        boxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.int64), names={1: "fg"},
        category_ids={1: 1}, image_size_hw=size_hw, encoded=[], image=np.zeros((*size_hw, 3), dtype=np.uint8),
    )  # fmt: skip


class StubEndpoint(Endpoint[RequestOptions]):
    """Finds nothing, as slowly as `seconds` says, and remembers what ran together; fails at red images."""

    path = "/predict"
    summary = "Nothing"
    options = RequestOptions
    model = "stub"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def batch_key(self, options: RequestOptions) -> object:
        return options.max_detections

    def predict(self, images: Sequence[Pixels], options: Sequence[RequestOptions]) -> list[Result]:
        self.batches.append(len(images))
        assert self.gate.wait(30)
        time.sleep(self.seconds)
        if any(image[0, 0].tolist() == [255, 0, 0] for image in images):
            raise ZeroDivisionError("a red image")
        if any(image[0, 0].tolist() == [0, 0, 255] for image in images):
            raise MemoryError
        return [result(image.shape[:2]) for image in images]

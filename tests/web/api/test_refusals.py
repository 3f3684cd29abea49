"""Bad requests are answered with one sentence and HTTP's number for the reason, and the server goes on."""

import asyncio
import io
import itertools
import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cutler_pl.web.api import ServerOptions, build_app
from tests.web.serving import BOUNDARY, FORM, Client, StubEndpoint, form, served

MAX_BYTES = 2_000_000
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def image(color: tuple[int, int, int] = (9, 9, 9), size: tuple[int, int] = (6, 4), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


NOISE = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(NOISE, "JPEG")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with served(build_app([StubEndpoint()], ServerOptions(max_bytes=MAX_BYTES, max_pixels=1_000_000))) as one:
        yield one


@pytest.mark.parametrize(
    ("data", "fields", "status", "part"),
    [
        (b"", {}, 400, "empty"),
        (NOISE.getvalue()[:-900], {}, 400, "truncated"),
        (image(size=(1, 1)), {}, 400, "too small"),
        (image(size=(1001, 1000)), {}, 413, "1,000,000 pixels"),
        (bytes(MAX_BYTES + 1), {}, 413, "2,000,000 bytes"),
        (b"a text\n" * 9, {}, 415, "no image file"),
        (SVG, {}, 415, "no image file"),
        (None, {}, 422, "missing"),
        (None, {"image": "../../etc/passwd"}, 422, "holds a text"),
        (None, {"image": "file:///etc/passwd"}, 422, "holds a text"),
        (image(), {"score_threshold": "nan"}, 400, "score_threshold=nan: expected a number from 0 to 1"),
        (image(), {"score_threshold": "-1"}, 400, "score_threshold=-1"),
        (image(), {"score_threshold": "high"}, 400, "score_threshold=high"),
        (image(), {"score_threshold": "inf"}, 400, "score_threshold=inf"),
        (image(), {"max_detections": "2.5"}, 400, "max_detections=2.5"),
        (image(), {"max_detections": "9" * 500}, 400, "max_detections"),
        (image(), {"checkpoint": "../../etc/passwd"}, 400, "no form field 'checkpoint'"),
        (image(), {"score_treshold": "0.5"}, 400, "did you mean score_threshold"),
        (image(), {"score_threshold": "x" * 2000}, 400, "cannot be read"),
    ],
    ids=range(19),
)
def test_bad_requests_are_refused(client: Client, data: bytes | None, fields: Any, status: int, part: str) -> None:
    answer = client.post("/predict", data, **fields)
    assert answer.status == status
    assert part in answer.error
    assert client.post("/predict", image()).status == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (image(), {"Content-Type": "image/png"}, 415),
        (b'{"image": "a.png"}', {"Content-Type": "application/json"}, 415),
        (b"image=a.png", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"", {}, 415),
        (form(image()), {"Content-Type": "multipart/form-data"}, 400),
        (b"no parts", FORM, 400),
        (form(image())[:-30], FORM, 422),
        (f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(), FORM, 422),
        (form(None, tau=1).replace(b"--a-boundary--", b"") + form(image(), tau=2), FORM, 400),
        (form(image()).replace(b"--a-boundary--\r\n", b"") + form(image()), FORM, 400),
        (form(image()).replace(b'"image"', b'"image' + b"x" * 9000), FORM, 400),
        (b"".join(form(None, **{f"a{n}": 1}).replace(b"--a-boundary--\r\n", b"") for n in range(30)), FORM, 400),
        (form(image()).replace(b'"image"', b'"photo"'), FORM, 422),
    ],
    ids=range(13),
)  # fmt: skip
def test_bad_forms_are_refused(client: Client, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = client.request("POST", "/predict", body, headers)
    assert answer.error
    assert answer.status == status


@pytest.mark.parametrize("file_name", ["../../../etc/cron.d/x", "/etc/passwd", "a\\..\\b", "%2e%2e%2fx", "x" * 900])
def test_file_names_are_not_read(client: Client, file_name: str) -> None:
    assert client.request("POST", "/predict", form(image(), file_name=file_name), FORM).status == 200


def test_unknown_paths_and_methods(client: Client) -> None:
    for method, path, status in (
        ("GET", "/predict", 405), ("DELETE", "/healthz", 405), ("GET", "/../../etc/passwd", 404), ("POST", "/", 405),
        ("GET", "/static/x", 404), ("POST", "/predict/", 404),
    ):  # fmt: skip
        answer = client.request(method, path)
        assert answer.error
        assert answer.status == status


def test_chunks_are_counted(client: Client) -> None:
    """No length is announced; the client reads the answer although it sends ten times the limit."""
    start = form(b"").partition(f"\r\n--{BOUNDARY}--".encode())[0]
    chunks = itertools.chain([start], (bytes(65_536) for _ in range(10 * MAX_BYTES // 65_536)))
    answer = client.request("POST", "/predict", chunks, {**FORM, "Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert answer.status == 413
    assert "2,000,000 bytes" in answer.error


def raw(client: Client, *parts: bytes) -> bytes:
    """Everything that is answered to bytes."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=5) as connection:
        for part in parts:
            connection.sendall(part)
        with suppress(OSError):  # the server has closed it
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def head(length: object) -> bytes:
    return (
        "POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_announced_length_is_not_believed(client: Client) -> None:
    body = form(image())
    assert b" 422 " in raw(client, head(len(body) - 40), body)  # what is too much is no part of the request
    assert b" 200 " not in raw(client, head(len(body) + 40), body)  # the client goes before its request is complete
    assert b" 400 " in raw(client, head(-5), body)
    assert b" 400 " in raw(client, head("9" * 5000), body)
    assert client.post("/predict", image()).status == 200


def test_announced_excess_is_refused_at_once(client: Client) -> None:
    """Nothing of the body is asked for."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=5) as connection:
        connection.sendall(head(200_000_000).replace(b"Host", b"Expect: 100-continue\r\nHost"))
        answer = connection.recv(65_536)
    assert b" 413 " in answer
    assert b" 100 " not in answer


def test_failure_is_answered_and_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    failed = client.post("/predict", image((255, 0, 0)))
    assert failed.status == 500
    assert "red" not in failed.error
    assert "a red image" in caplog.text
    assert client.post("/predict", image((0, 0, 255))).status == 413
    assert client.post("/predict", image()).status == 200


def test_nothing_is_written(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starlette moves files of more than a megabyte into temporary files."""

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    large = image(size=(999, 600), kind="BMP")
    assert len(large) > 1_700_000
    assert client.post("/predict", large).status == 200


def call(app: Any, body: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[int, Any]:
    """The answer of a running application to a request, without a server."""
    sent: list[Any] = []
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        try:
            return next(messages)
        except StopIteration:
            await asyncio.sleep(30)

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        scope = {
            "type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b"",
            "headers": headers, "http_version": "1.1", "scheme": "http", "root_path": "", "server": ("x", 80),
        }  # fmt: skip
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

    asyncio.run(run())
    return sent[0]["status"], json.loads(sent[1]["body"])


APP = build_app([StubEndpoint()], ServerOptions(batch_delay=0.0))
BODIES = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=60).map(lambda noise: form(image()).replace(b"PNG", noise)),
    st.tuples(st.integers(0, 300), st.binary(max_size=9)).map(lambda cut: form(image())[: cut[0]] + cut[1]),
)


@settings(max_examples=40)
@given(BODIES, st.sampled_from([FORM["Content-Type"], "multipart/form-data; boundary=", "multipart/form-data", ""]))
def test_any_body_is_answered(body: bytes, content_type: str) -> None:
    status, content = call(APP, body, [(b"content-type", content_type.encode())])
    assert status in (200, 400, 413, 415, 422)
    assert status == 200 or list(content) == ["error"]

"""What a request may ask for, tried on the running page without a browser."""

import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.responses import JSONResponse

from cutler_pl.web.demo.guard import Guard
from cutler_pl.web.demo.work_folder import WorkFolder
from cutler_pl.web.uploads import UploadLimits

from .conftest import Server
from .uploads import bad_upload

API = "/gradio_api"
FILE_DATA = {"meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/secret.png",
        "examples/../../../../etc/passwd",
        ".",
        "\0",
        "x" * 9000,
    ],
)
def test_no_file_of_the_server_is_read(server: Server, path: str) -> None:
    status, body = server.request(f"{API}/file={quote(path)}")
    assert status == 403
    assert json.loads(body) == {"error": "there is no such file here"}


def test_links_out_of_the_folder_are_refused(server: Server) -> None:
    (work,) = server.folder.glob("cutler-demo-*")
    link = work / "link.png"
    link.symlink_to("/etc/passwd")
    assert server.request(f"{API}/file={link}")[0] == 403
    link.unlink()


@pytest.mark.parametrize("call", ["queue/join?", "run/predict"])
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/a.png", 5]
)
def test_path_in_a_field_is_refused(server: Server, call: str, path: Any) -> None:
    """gradio would copy such a file to where it can be fetched, or fetch such an address."""
    body = {"data": [{"path": path, **FILE_DATA}, 0.4], "fn_index": 0, "session_hash": "a"}
    status, answer = server.post(f"{API}/{call}", body)
    assert status == 400
    assert "was not uploaded here" in json.loads(answer)["error"]


@pytest.mark.parametrize(
    "path", ["/gradio_api/proxy=http://127.0.0.1:1/", "/monitoring", "/docs", "/gradio_api/vibe-code/", "/login", "/x"]
)
def test_other_routes_are_closed(server: Server, path: str) -> None:
    assert server.request(path)[0] == 404
    assert server.request(path, b"{}")[0] == 404


def test_upload_over_the_limit_is_refused(server: Server) -> None:
    """From its announced length, before any of it is read."""
    status, body = server.request(f"{API}/upload", b"", content_length="200000000")
    assert status == 413
    assert "more than 20,000,000 bytes" in json.loads(body)["error"]


def test_long_or_unreadable_calls_are_refused(server: Server) -> None:
    assert server.request(f"{API}/queue/join", bytes(100_000))[0] == 413
    for body in (
        b"no JSON",
        b"[" * 60_000,
        b'{"a":' * 970 + b"1" + b"}" * 970,
        b"[]",
        b'{"data": [], "fn_index": 999}',
    ):
        status, answer = server.request(f"{API}/queue/join", body)
        assert status == 400
        assert "reload the page" in json.loads(answer)["error"]


def test_pages_forbid_other_hosts(server: Server) -> None:
    """Also where a later version of gradio would ask one."""
    with urllib.request.urlopen(f"{server.url}/", timeout=30) as answer:
        assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
        assert b"fonts.googleapis.com" not in answer.read()


def test_full_folder_takes_no_upload(tmp_path: Path) -> None:
    guard = Guard(JSONResponse({}), WorkFolder(tmp_path), UploadLimits(max_bytes=10), [])
    assert guard._size_refusal(f"{API}/upload", "9") is None
    (tmp_path / "a.png").write_bytes(bytes(501))
    refusal = guard._size_refusal(f"{API}/upload", "9")
    assert refusal is not None
    assert refusal.status_code == 503


def test_nan_threshold_gets_a_sentence(server: Server, upright_jpeg: bytes) -> None:
    (path,) = json.loads(_upload(server, "scene.jpg", upright_jpeg)[1])
    assert "Score threshold=nan: expected a number from 0 to 1" in _answer(server, path, float("nan"))


def test_unreadable_upload_leaves_the_server_up(server: Server, upright_jpeg: bytes) -> None:
    (path,) = json.loads(_upload(server, "text.jpg", bad_upload("text.jpg"))[1])
    assert "is no image file" in _answer(server, path, 0.4)
    (path,) = json.loads(_upload(server, "../../scene.jpg", upright_jpeg)[1])
    assert Path(path).is_relative_to(server.folder)
    assert "by tiny_generated on the CPU" in _answer(server, path, 0.4)


def test_uploaded_script_is_never_shown(server: Server) -> None:
    (path,) = json.loads(_upload(server, "script.svg", bad_upload("script.svg"))[1])
    status, body = server.request(f"{API}/file={path}")
    assert (status, body) == (200, bad_upload("script.svg"))


def _upload(server: Server, name: str, content: bytes) -> tuple[int, bytes]:
    form = (
        f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: image/jpeg\r\n\r\n'
    ).encode()
    return server.request(
        f"{API}/upload", form + content + b"\r\n--edge--\r\n", content_type="multipart/form-data; boundary=edge"
    )


def _answer(server: Server, path: str, threshold: float) -> str:
    """What the detector tab says of an uploaded file."""
    index = _detector_call(server)
    body = {"data": [{"path": path, **FILE_DATA}, threshold], "fn_index": index, "session_hash": "test"}
    status, _ = server.post(f"{API}/queue/join?", body)
    assert status == 200
    events = server.request(f"{API}/queue/data?session_hash=test")[1].decode()
    return next(event for event in events.splitlines() if "process_completed" in event)


def _detector_call(server: Server) -> int:
    """The number of the call behind the button of the detector tab."""
    config = json.loads(server.request("/config")[1])
    buttons = {part["id"]: part["props"].get("value") for part in config["components"] if part["type"] == "button"}
    return next(
        call["id"]
        for call in config["dependencies"]
        if any(buttons.get(target) == "Detect objects" for target, _ in call["targets"])
    )

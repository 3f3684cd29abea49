import hashlib
import io
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from file_server import FileServer, serving

from cutler_pl.errors import AnnotationError, ConfigError, DownloadError
from cutler_pl.runtime import download
from cutler_pl.runtime.download import fetch_file
from cutler_pl.runtime.locks import file_lock

CONTENT = bytes(range(256)) * 40
fetch = partial(fetch_file, pause_seconds=0.0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as server:
        server.files["/a.json"] = CONTENT
        yield server


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_CHUNK_BYTES", 1000)


def test_fetch_once_and_record_digest(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    assert fetch(f"{server.address}/a.json", path)
    assert not fetch(f"{server.address}/a.json", path)
    assert path.read_bytes() == CONTENT
    assert server.log == ["/a.json"]
    recorded = (path.parent / "a.json.sha256").read_text()
    assert recorded == f"{hashlib.sha256(CONTENT).hexdigest()}  a.json\n"
    assert {entry.name for entry in path.parent.iterdir()} == {"a.json", "a.json.sha256", ".a.json.lock"}


@pytest.mark.usefixtures("small_chunks")
def test_resume_broken_transfer(server: FileServer, tmp_path: Path) -> None:
    server.break_off_after = 3000
    assert fetch(f"{server.address}/a.json", tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == CONTENT
    assert server.log == ["/a.json", "/a.json from 3000"]


@pytest.mark.usefixtures("small_chunks")
def test_second_run_resumes(server: FileServer, tmp_path: Path) -> None:
    server.break_off_after = 3000
    with pytest.raises(DownloadError, match=r"ended after 3,000 of 10,240 bytes.*run the same command again"):
        fetch(f"{server.address}/a.json", tmp_path / "a.json", attempts=1)
    assert not (tmp_path / "a.json").exists()
    assert fetch(f"{server.address}/a.json", tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == CONTENT
    assert server.log[-1] == "/a.json from 3000"


@pytest.mark.parametrize("case", ["the server cannot resume", "the file has changed", "too much is there"])
@pytest.mark.usefixtures("small_chunks")
def test_restart_what_cannot_resume(server: FileServer, tmp_path: Path, case: str) -> None:
    server.break_off_after = 3000
    with pytest.raises(DownloadError):
        fetch(f"{server.address}/a.json", tmp_path / "a.json", attempts=1)
    if case == "the server cannot resume":
        server.resumes = False
    elif case == "too much is there":
        (tmp_path / "a.json.part").write_bytes(CONTENT * 2)
    else:
        server.files["/a.json"] = CONTENT[::-1]
    assert fetch(f"{server.address}/a.json", tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == server.files["/a.json"]
    assert server.log == ["/a.json", "/a.json"]


def test_refuse_changed_file(server: FileServer, tmp_path: Path) -> None:
    """A file that changed on this machine or on the server is refused."""
    path, address = tmp_path / "a.json", f"{server.address}/a.json"
    fetch(address, path)
    path.write_bytes(b"changed")
    with pytest.raises(DownloadError, match=r"a\.json: has changed since it was fetched.*delete it and run"):
        fetch(address, path)
    path.unlink()
    server.files["/a.json"] = b"other"
    with pytest.raises(DownloadError, match=r"is not what http.* had at first.*delete .*a\.json\.sha256"):
        fetch(address, path)
    assert not path.exists()
    (tmp_path / "a.json.sha256").unlink()
    assert fetch(address, path)


def test_what_the_check_refuses_is_not_kept(server: FileServer, tmp_path: Path) -> None:
    def refuse(file: Path) -> None:
        raise AnnotationError(f"{file.stat().st_size} bytes")

    with pytest.raises(AnnotationError, match="10240 bytes"):
        fetch(f"{server.address}/a.json", tmp_path / "a.json", check=refuse)
    assert {entry.suffix for entry in tmp_path.iterdir()} == {".lock", ".json"}
    (tmp_path / "a.json").write_bytes(b"by hand")
    with pytest.raises(AnnotationError, match="7 bytes"):
        fetch(f"{server.address}/a.json", tmp_path / "a.json", check=refuse)


def test_accept_file_put_by_hand(server: FileServer, tmp_path: Path) -> None:
    """A file that was copied by hand is accepted and its digest recorded."""
    (tmp_path / "a.json").write_bytes(b"by hand")
    assert not fetch(f"{server.address}/a.json", tmp_path / "a.json")
    assert (tmp_path / "a.json.sha256").is_file()
    assert server.log == []


def test_ask_once_for_missing_file(server: FileServer, tmp_path: Path) -> None:
    """A missing file (404) is not requested again."""
    with pytest.raises(DownloadError, match=r"answers 404 Not Found.*put it at .*b\.json$"):
        fetch(f"{server.address}/b.json", tmp_path / "b.json")


def test_retry_server_errors(server: FileServer, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(DownloadError, match="503"):
        fetch(f"{server.address}/a.json", tmp_path / "a.json", attempts=2)
    server.status = 200
    assert fetch(f"{server.address}/a.json", tmp_path / "a.json")


def test_pause_doubles_between_attempts(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.status, pauses = 503, []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    with pytest.raises(DownloadError, match="503"):
        fetch_file(f"{server.address}/a.json", tmp_path / "a.json")
    assert pauses == [2.0, 4.0, 8.0]


def test_wait_for_download_of_another_process(server: FileServer, tmp_path: Path) -> None:
    path, held = tmp_path / "a.json", threading.Event()

    def other() -> None:
        with file_lock(tmp_path, purpose="download", name=".a.json.lock"):
            held.set()
            time.sleep(0.3)
            path.write_bytes(CONTENT)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    assert not path.exists()
    assert not fetch(f"{server.address}/a.json", path)
    thread.join()
    assert server.log == []


def test_no_connection_names_the_way_out(tmp_path: Path) -> None:
    with serving() as server:
        address = server.address
    with pytest.raises(DownloadError, match=r"cannot be fetched .*fetch it where there is a connection"):
        fetch(f"{address}/a.json", tmp_path / "a.json", attempts=2)


@pytest.mark.parametrize("address", ["http://example.org/a.json", "ftp://localhost/a.json", "file:///etc/hosts", "a"])
def test_only_safe_addresses_are_fetched(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="only https addresses are safe"):
        fetch(address, tmp_path / "a.json")


@pytest.mark.parametrize(
    "target", ["http://192.0.2.1/a.json", "ftp://127.0.0.1/a.json", "file:///etc/hostname", "http://[x"]
)
def test_refuse_unsafe_redirect(server: FileServer, tmp_path: Path, target: str) -> None:
    """Each hop is checked, not the address alone."""
    server.moved = {"/a": f"{server.address}/b", "/b": target}
    with pytest.raises(DownloadError, match=r"not fetched, since it leads to|cannot be fetched"):
        fetch(f"{server.address}/a", tmp_path / "a", attempts=1)
    assert not (tmp_path / "a").exists()


def test_https_never_leads_to_http() -> None:
    request = urllib.request.Request("https://localhost/a")
    with pytest.raises(DownloadError, match="not fetched, since it leads to http://localhost/b"):
        download._SafeRedirects().redirect_request(request, io.BytesIO(), 302, "", {}, "http://localhost/b")


def test_follow_safe_redirect(server: FileServer, tmp_path: Path) -> None:
    server.moved = {"/b": f"{server.address}/a.json"}
    assert fetch(f"{server.address}/b", tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == CONTENT

"""Starting and ending the page."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cutler_pl.errors import ConfigError
from cutler_pl.web.demo.options import DemoOptions
from cutler_pl.web.demo.server import serve_demo

from .conftest import ROOT, Server, running


def test_port_in_use_gets_a_sentence() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match=r"cannot be listened on .*give another port"):
            serve_demo("tiny_generated", DemoOptions(port=other.getsockname()[1]))


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.1.1.1", "x" * 300])
def test_host_that_is_none_gets_a_sentence(host: str) -> None:
    with pytest.raises(ConfigError, match="host="):
        serve_demo("tiny_generated", DemoOptions(host=host, port=0))


def test_no_empty_line_is_logged(server: Server) -> None:
    assert server.request("/")[0] == 200
    lines = (server.folder.parent / "log").read_text().splitlines()
    assert [line for line in lines if len(line.split()) < 3] == []


@pytest.mark.slow
def test_ends_within_seconds_and_leaves_nothing(tmp_path: Path) -> None:
    """Also while a browser is connected."""
    with running(tmp_path) as server:
        assert server.request("/")[0] == 200
        assert len([*server.folder.iterdir()]) >= 1
        address = server.url.removeprefix("http://").split(":")
        connected = socket.create_connection((address[0], int(address[1])))
        connected.sendall(b"GET /gradio_api/heartbeat/a HTTP/1.1\r\nHost: a\r\n\r\n")
    connected.close()
    assert server.process.returncode == 128 + 15
    assert "the page is closed" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert [*(tmp_path / "tmp").glob("*")] == []
    assert [*(tmp_path / "cwd").iterdir()] == []


@pytest.mark.slow
def test_unknown_checkpoint_gets_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cutler_pl", "demo", "port=0", "checkpoint=cutler_cascade_finl"]
    run = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "did you mean cutler_cascade_final?" in run.stderr
    assert "Traceback" not in run.stderr

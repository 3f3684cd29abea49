"""One server and one browser for all tests of the page."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cutler_pl.datasets.scenes import SceneParams, generate_scene

ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 120
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Server:
    """`cutler demo` in a process of its own.

    Attributes:
        url: Of the page, without a slash at the end.
        folder: The temporary folder it was given; its current folder is `cwd` beside it.
    """

    url: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    def request(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body; `headers` as `content_type`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data, named), timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def post(self, path: str, body: Any) -> tuple[int, bytes]:
        """Status and body of a JSON request."""
        return self.request(path, json.dumps(body).encode(), content_type="application/json")


@contextmanager
def running(folder: Path, *settings: str) -> Iterator[Server]:
    """Start `cutler demo` on a free port; end it as a user does."""
    for name in ("tmp", "cwd"):
        (folder / name).mkdir()
    environment = os.environ | {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "cutler_pl", "demo", "port=0", *settings]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder / "cwd", env=environment, stdout=log, stderr=log)
    try:
        yield Server(_address(folder / "log", process), folder / "tmp", process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _address(log: Path, process: "subprocess.Popen[bytes]") -> str:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"open (http://\S+)/", log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"the page has not started: {log.read_text()}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page with its default settings."""
    with running(tmp_path_factory.mktemp("demo")) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; without one the test is skipped."""
    program = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="the extra dev has playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(server: Server, browser: Any) -> Iterator[Callable[..., Any]]:
    """`visit(width=…, scheme=…)`: the page in a browser of its own, which may ask no other host for anything."""
    contexts: list[Any] = []
    foreign: list[str] = []

    def note(url: str) -> None:
        if not url.startswith((f"{server.url}/", "data:", "blob:")):
            foreign.append(url)

    def visit(*, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        context.on("request", lambda request: note(request.url))
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: note(message.text) if "Content Security Policy" in message.text else None)
        page.on("websocket", lambda socket: note(socket.url))
        page.goto(server.url)
        page.wait_for_selector(".status")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert foreign == []


@pytest.fixture(scope="session")
def scene() -> np.ndarray:
    """A scene of three objects, 240 × 320 pixels."""
    return generate_scene(SceneParams(height=240, width=320, min_objects=3, max_objects=3), seed=1033).image


@pytest.fixture
def upright_jpeg(scene: np.ndarray) -> bytes:
    """The scene, stored on its side, with the EXIF orientation that turns it upright."""
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    Image.fromarray(np.rot90(scene)).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()

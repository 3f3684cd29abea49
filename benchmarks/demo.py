"""The page of `cutler demo` under load: seconds to the first figure, lost requests, memory of the server.

    python benchmarks/demo.py                            20 requests of 4 people, then 100 for the memory
    python benchmarks/demo.py --requests 40 --users 8 --memory 500 --json load.json

The server is a process of its own, with its default settings, on a free port of this machine; nothing leaves it. The
first figure is timed in a headless Chromium, from the choice of a file to the loaded figure; without one that part is
left out. The people are threads that speak as the page does: upload, request, wait in the queue, fetch the figure.
Memory is the server's resident memory as Linux counts it, each request from another person,
alternating between the tabs.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cutler_pl.datasets.scenes import SceneParams, generate_scene
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.visual.image_files import save_image

ROOT = Path(__file__).resolve().parents[1]
BUTTONS = {"Detect objects": [0.4], "Cut masks": ["patch_descriptors", 3, 0.8, "adaptive"]}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGES = 5


class Page:
    """The page as a program opens it."""

    def __init__(self, url: str) -> None:
        self.url = url
        config = json.loads(self.fetch("/config"))
        labels = {one["id"]: one["props"].get("value") for one in config["components"] if one["type"] == "button"}
        self.calls = {
            labels[target]: call["id"]
            for call in config["dependencies"]
            for target, _ in call["targets"]
            if labels.get(target) in BUTTONS
        }

    def fetch(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        """The body of an answer with status 200."""
        request = urllib.request.Request(self.url + path, data, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return bytes(answer.read())

    def answer(self, image: Path, button: str) -> float:
        """Seconds from the upload to the figure after it; raises where the request is lost."""
        start = time.perf_counter()
        head = f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{image.name}"\r\n\r\n'.encode()
        form = head + image.read_bytes() + b"\r\n--edge--\r\n"
        (path,) = json.loads(self.fetch("/gradio_api/upload", form, "multipart/form-data; boundary=edge"))
        session = uuid.uuid4().hex
        sent = [{"path": path, "meta": {"_type": "gradio.FileData"}}, *BUTTONS[button]]
        body = {"data": sent, "fn_index": self.calls[button], "session_hash": session}
        self.fetch("/gradio_api/queue/join?", json.dumps(body).encode())
        events = self.fetch(f"/gradio_api/queue/data?session_hash={session}").decode()
        done = next(json.loads(line[6:]) for line in events.splitlines() if "process_completed" in line)
        status, figures, *_ = done["output"]["data"]
        if "status done" not in status:
            raise RuntimeError(status)
        self.fetch(f"/gradio_api/file={figures[1]['path']}")
        return time.perf_counter() - start


@contextmanager
def served(folder: Path) -> Iterator[tuple[Page, int]]:
    """The page of a server, and its process id."""
    command = [sys.executable, "-m", "cutler_pl", "demo", "port=0", "max_queue=1000"]
    with (folder / "log").open("wb") as log:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        while not (found := re.search(r"open (http://\S+)/", (folder / "log").read_text())):
            if process.poll() is not None:
                raise RuntimeError((folder / "log").read_text())
            time.sleep(0.1)
        yield Page(found[1]), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def first_figures(url: str, image: Path) -> list[float] | None:
    """Seconds from choosing a file to the loaded figure, in pages opened one after the other."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        return None
    from playwright.sync_api import sync_playwright

    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(PAGES):
            page = browser.new_page()
            page.goto(url)
            page.wait_for_selector(".status")
            start = time.perf_counter()
            page.locator("input[type=file]").first.set_input_files(image)
            page.wait_for_selector(".found tbody tr")
            page.wait_for_function("[...document.querySelectorAll('img[src*=\"/after.jpg\"]')].some(i => i.complete)")
            seconds.append(time.perf_counter() - start)
            page.close()
        browser.close()
    return seconds


def load(page: Page, image: Path, *, users: int, requests: int) -> dict[str, Any]:
    """Requests of several people at once."""
    seconds: list[float] = []
    lost: list[str] = []

    def one_user() -> None:
        for _ in range(requests // users):
            try:
                seconds.append(page.answer(image, "Detect objects"))
            except (OSError, RuntimeError, StopIteration) as error:
                lost.append(repr(error))

    start = time.perf_counter()
    threads = [threading.Thread(target=one_user) for _ in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"answered": len(seconds), "lost": lost, "seconds": seconds, "total_s": time.perf_counter() - start}


def resident_mb(process: int) -> float:
    """Resident memory."""
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(kilobytes) / 1000


def memory(page: Page, process: int, image: Path, requests: int) -> dict[int, float]:
    """Resident memory by the number of requests so far."""
    sizes = {}
    for number in range(requests + 1):
        if number % max(1, requests // 5) == 0:
            sizes[number] = resident_mb(process)
        page.answer(image, [*BUTTONS][number % 2])
    return sizes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--memory", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        image = folder / "scene.png"
        save_image(image, generate_scene(SceneParams(height=480, width=640), seed=1033).image)
        with served(folder) as (page, process):
            figures = first_figures(page.url, image)
            loaded = load(page, image, users=options.users, requests=options.requests)
            sizes = memory(page, process, image, options.memory)
    facts = run_metadata()
    machine = f"{platform.processor() or platform.machine()}, {facts['cpu_count']} cores, torch {torch.__version__}"
    print(f"{machine}, commit {facts['commit']}, load of the machine {os.getloadavg()[0]:.1f}")
    if figures:
        print(f"first figure after an upload: median {statistics.median(figures):.2f} s, all {_shown(figures)}")
    counts = f"{loaded['answered']} answered, {len(loaded['lost'])} lost, in {loaded['total_s']:.1f} s"
    print(f"{options.requests} requests of {options.users} people: {counts}; each {_shown(loaded['seconds'])}")
    print("resident MB by requests:", ", ".join(f"{number}: {size:.0f}" for number, size in sizes.items()))
    if options.json:
        result = {"figures": figures, "load": loaded, "memory": sizes}
        options.json.write_text(json.dumps(result))


def _shown(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f} s" if seconds else "none"


if __name__ == "__main__":
    main()

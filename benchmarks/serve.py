"""The HTTP API under load, on the loopback device: requests per second with batches and without, latency, memory.

    python benchmarks/serve.py                                          tiny_generated, /predict and /maskcut
    python benchmarks/serve.py --paths /predict --checkpoint random --device cuda --batch-sizes 1 8 16

Each batch size has a server of its own, started by `cutler serve`, which is warmed up by the first requests. Clients
send the next request when they have an answer; images are generated scenes as JPEG. Memory is the resident memory of
the server's process, as Linux reports it. `random` is the paper's detector with random weights, for its time alone. A
measurement ends after `--seconds`, whatever was asked for.
"""

import argparse
import itertools
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BOUNDARY = "boundary"


@contextmanager
def server(arguments: argparse.Namespace, checkpoint: str, batch_size: int) -> Iterator[tuple[str, int]]:
    """Address and process id of `cutler serve`."""
    words = [f"checkpoint={checkpoint}", "port=0", f"device={arguments.device}", f"batch_size={batch_size}"]
    words += [f"max_queue={2 * arguments.clients}", "timeout=300"]
    command = [sys.executable, "-m", "cutler_pl", "serve", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = iter(process.stderr.readline, "")
        address = next(found[0] for line in lines if (found := re.search(r"http://[\d.]+:\d+", line)))
        threading.Thread(target=lambda: [None for _ in lines], daemon=True).start()
        yield address, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def post(address: str, image: bytes) -> int:
    """Status of an answer that is read whole."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="i"\r\n\r\n'.encode()
    body = head + image + f"\r\n--{BOUNDARY}--\r\n".encode()
    request = urllib.request.Request(address, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            json.load(response)
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.read()
        return error.code


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process, which other programs on the machine hardly change."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(address: str, images: list[bytes], *, count: int, clients: int, seconds: float) -> tuple[list[float], float]:
    """Seconds of each request, and of all together."""
    deadline, numbers, times = time.perf_counter() + seconds, itertools.count(), []

    def use() -> None:
        while (number := next(numbers)) < count and time.perf_counter() < deadline:
            start = time.perf_counter()
            status = post(address, images[number % len(images)])
            if status != 200:
                raise RuntimeError(f"request {number} was answered with {status}")
            times.append(time.perf_counter() - start)

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for client in [pool.submit(use) for _ in range(clients)]:
            client.result()
    return times, time.perf_counter() - start


def measure(arguments: argparse.Namespace, checkpoint: str, images: list[bytes], path: str, batch_size: int) -> None:
    """Print one row."""
    with server(arguments, checkpoint, batch_size) as (address, pid):
        options: dict[str, Any] = {"clients": arguments.clients, "seconds": arguments.seconds}
        load(address + path, images, count=2 * batch_size, **options)
        before, cpu = resident_mib(pid), cpu_seconds(pid)
        memory, times, total = [], [], 0.0
        for _ in range(2):  # memory after each half
            found, taken = load(address + path, images, count=arguments.requests // 2, **options)
            times, total = times + found, total + taken
            memory.append(resident_mib(pid))
        cpu = (cpu_seconds(pid) - cpu) / len(times)
    slow = sorted(times)[int(0.95 * (len(times) - 1))]
    seconds = f"{statistics.median(times):.2f} s | {slow:.2f} s"
    mib = " | ".join(f"{one:.0f}" for one in (before, *memory))
    rates = f"{len(times) / total:.2f} | {cpu:.2f} s"
    print(f"| {path} | {batch_size} | {len(times)} | {rates} | {seconds} | {mib} |", flush=True)


def main() -> None:
    """Measure each path with each batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="tiny_generated")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--paths", nargs="+", default=["/predict", "/maskcut"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    arguments = parser.parse_args()

    from PIL import Image

    from cutler_pl.datasets.scenes import SceneParams, write_scenes
    from cutler_pl.runtime.environment import run_metadata

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder / "images", 8, SceneParams(height=arguments.height, width=arguments.width), seed=0)
        for path in (folder / "images").iterdir():
            with Image.open(path) as image:
                image.convert("RGB").save(folder / f"{path.stem}.jpg", quality=90)
        images = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
        checkpoint = arguments.checkpoint
        if checkpoint == "random":
            checkpoint = str(folder / "random.pth")
            write_random(Path(checkpoint))
        size = f"{arguments.width}×{arguments.height}"
        cores = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before"
        print(f"{arguments.checkpoint} on {arguments.device}, {size}, {arguments.clients} clients, {cores}")
        print(f"commit {run_metadata()['commit']}, Python {platform.python_version()}\n")
        print("| path | batch | requests | per second | CPU each | median | 95 % | MiB before | half | after |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for path, batch_size in itertools.product(arguments.paths, arguments.batch_sizes):
            measure(arguments, checkpoint, images, path, batch_size)


def write_random(path: Path) -> None:
    """The paper's detector, untrained; a threshold leaves as many detections as a trained one has."""
    import torch

    from cutler_pl.models import build_detector

    torch.manual_seed(0)
    torch.save(build_detector("cascade_mask_rcnn_r50_fpn").state_dict(), path)


if __name__ == "__main__":
    main()

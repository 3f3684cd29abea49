"""Cost of the checks on files of others, each pair measured in turn in one run.

    python benchmarks/checks.py index                        an index of 1.28 million images: opened and built, with and
                                                             without the checks
    python benchmarks/checks.py load                         a checkpoint, by the own reader and by torch.load
    python benchmarks/checks.py predict --images <folder> --old <checkout>
                                                             images read and predicted, here and in an older checkout

Times are CPU seconds of one thread, the lowest of the rounds, since other programs disturb seconds on the clock.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

IMAGES = 1_281_167
_PREDICT = """
import sys, time, torch
from pathlib import Path
from cutler_pl.images import read_image
from cutler_pl.models import build_detector
torch.manual_seed(0)
torch.set_num_threads(1)
model = build_detector("cascade_mask_rcnn_r50_fpn", min_size_test=480).eval() if sys.argv[1] == "new" else None
model = model or build_detector("cascade_mask_rcnn_r50_fpn", test_size=480).eval()
paths = sorted(Path(sys.argv[2]).rglob("*.jpg"))
start = time.process_time()
for _ in range(20):
    images = [read_image(path) for path in paths]
read = (time.process_time() - start) / 20
images = [torch.from_numpy(image).permute(2, 0, 1) for image in images[:4]]
with torch.no_grad():
    model(images[:1])
    start = time.process_time()
    for image in images:
        model([image])
print(read / len(paths), (time.process_time() - start) / len(images))
"""


def lowest(versions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Lowest CPU seconds of each version, taken in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    for _ in range(rounds):
        for name, call in versions.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    return {name: min(found) for name, found in seconds.items()}


def report(what: str, seconds: dict[str, float]) -> None:
    """Print the times and their ratio, the second to the first."""
    (first, before), (second, after) = seconds.items()
    print(f"{what}: {first} {before:.6f} s, {second} {after:.6f} s, ratio {after / before:.3f}", flush=True)


@contextmanager
def unchecked() -> Iterator[None]:
    """Without the bounds of coordinates, the check of names and of the arrays."""
    with (
        mock.patch("cutler_pl.coco.index_writer._surely_near", lambda boxes, *_: np.ones(len(boxes), dtype=bool)),
        mock.patch("cutler_pl.coco.validation.name_error", return_value=None),
        mock.patch("cutler_pl.coco.index_writer.may_lead_out", return_value=False),
        mock.patch("cutler_pl.coco.index._check_arrays"),
    ):
        yield


def index(folder: Path) -> None:
    """Build an index of 20,000 images, and open one of 1.28 million made of its arrays."""
    from index import generate

    from cutler_pl.coco.index import InstanceIndex
    from cutler_pl.coco.index_writer import write_index

    path = folder / "annotations.json"
    print(f"built: {generate(path, 40)}")
    number = iter(range(1000))

    def build() -> Path:
        made = folder / f"index-{next(number)}"
        made.mkdir()
        write_index(path, made)
        return made

    def without(call: Callable[[], Any]) -> Callable[[], Any]:
        def wrapped() -> None:
            with unchecked():
                call()

        return wrapped

    report("build", lowest({"without": without(build), "with": build}, 7))
    large = _repeated(build(), folder / "large")

    def opened() -> None:
        for _ in range(10):
            InstanceIndex(large).check_names(folder, path)

    report(f"open {IMAGES:,} images, ten times", lowest({"without": without(opened), "with": opened}, 20))


def _repeated(source: Path, target: Path) -> Path:
    """An index of `IMAGES` images: the arrays of a small one, repeated."""
    target.mkdir()
    for path in source.iterdir():
        if path.suffix != ".npy":
            (target / path.name).write_bytes(path.read_bytes())
    arrays = {path.stem: np.load(path) for path in source.glob("*.npy")}
    times = -(-IMAGES // len(arrays["image_ids"]))
    for name, array in arrays.items():
        if name.startswith("mask_") and not name.endswith("kinds"):
            made = np.zeros(1 + times * (len(array) - 1) if name.endswith("offsets") else 0, dtype=array.dtype)
        elif name.endswith("offsets"):
            steps = np.tile(np.diff(array), times)
            made = np.concatenate([[0], np.cumsum(steps)]).astype(array.dtype)
        else:
            made = np.concatenate([array] * times)
        np.save(target / f"{name}.npy", made)
    return target


def load(folder: Path) -> None:
    """Read a checkpoint of the size of the released cascade."""
    import torch

    from cutler_pl.models import build_detector
    from cutler_pl.models.checkpoint import load_detector
    from cutler_pl.weights.files import read_checkpoint, write_state

    torch.set_num_threads(1)
    path = folder / "cascade.pth"
    write_state(path, build_detector("cascade_mask_rcnn_r50_fpn").state_dict())
    print(f"{path.stat().st_size / 1e6:.0f} MB")
    versions: dict[str, Callable[[], Any]] = {
        "torch.load": lambda: torch.load(path, weights_only=True, map_location="cpu"),
        "own reader": lambda: read_checkpoint(path),
    }
    report("read", lowest(versions, 5))
    print(f"load_detector, all of it: {lowest({'all': lambda: load_detector(path)}, 3)['all']:.3f} s")


def predict(images: Path, old: Path) -> None:
    """Read images and predict them, here and in an older checkout, in turn."""
    here = Path(__file__).resolve().parents[1]
    found: dict[str, list[list[float]]] = {"old": [], "new": []}
    for _ in range(3):
        for name, root in {"old": old, "new": here}.items():
            environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
            words = [sys.executable, "-c", _PREDICT, name, str(images)]
            done = subprocess.run(words, env=environment, cwd=root, capture_output=True, text=True, check=True)
            found[name].append([*map(float, done.stdout.split())])
    for i, what in enumerate(("read an image", "predict an image")):
        report(what, {name: min(row[i] for row in rows) for name, rows in found.items()})


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["index", "load", "predict"])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--old", type=Path)
    given = parser.parse_args()
    print(json.dumps({"machine": platform.machine(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}))
    if given.part == "predict":
        predict(given.images, given.old)
        return
    with tempfile.TemporaryDirectory() as folder:
        {"index": index, "load": load}[given.part](Path(folder))


if __name__ == "__main__":
    main()

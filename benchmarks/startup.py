"""Seconds from the command to the end of the first training step, on an index of ImageNet's size.

    python benchmarks/startup.py                       1,281,167 images of three masks, in the temporary folder
    python benchmarks/startup.py --images 10000 --workers 0

All records name one generated JPEG. The index is built first, in a process of its own, and not counted. A training of a
small detector, images of 48 pixels, then starts as a process; a hook of the optimizer ends it after its first step.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from cutler_pl.runtime.environment import run_metadata

HEIGHT, WIDTH = 375, 500
ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "experiment=quickstart", "model.detector.backbone=timm/test_resnet", "model.detector.fpn_channels=16",
    "model.detector.box_head_dim=16", "model.detector.mask_head_channels=8", "model.detector.mask_head_convs=1",
    "model.detector.rpn_pre_nms_train=50", "model.detector.rpn_post_nms_train=40", "data.train_sizes=[48]",
    "data.max_size=64", "data.batch_size=2", "trainer.max_steps=10",
)  # fmt: skip
PROGRAM = """
import os, sys, time
from torch.optim.optimizer import register_optimizer_step_post_hook
def stop(*_):
    print("first step", time.time() - float(os.environ["STARTED"]), time.process_time(), file=sys.stderr, flush=True)
    os._exit(0)
register_optimizer_step_post_hook(stop)
from cutler_pl.cli import main
sys.argv[0] = "cutler"
main()
"""


def generate(folder: Path, images: int) -> Path:
    """One JPEG and a COCO file in which all images are it."""
    from cutler_pl.coco import rle

    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    pixels = rng.integers(0, 256, (HEIGHT // 5, WIDTH // 5, 3), dtype=np.uint8).repeat(5, axis=0).repeat(5, axis=1)
    Image.fromarray(pixels).save(folder / "images" / "image.jpg")
    shapes = []
    for _ in range(50):
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        top, left = rng.integers(0, 200, 2)
        mask[top : top + rng.integers(30, 170), left : left + rng.integers(30, 290)] = True
        encoded = rle.encode(mask)
        shapes.append(
            f'"bbox":{json.dumps(rle.bbox(encoded))},"area":{rle.area(encoded)},"segmentation":{json.dumps(encoded)}'
        )
    path = folder / "annotations.json"
    with path.open("w", encoding="ascii") as file:
        file.write('{"categories":[{"id":1,"name":"fg"}],"images":[')
        for i in range(images):
            record = f'"id":{i + 1},"file_name":"image.jpg","height":{HEIGHT},"width":{WIDTH}'
            file.write(f"{',' if i else ''}\n{{{record}}}")
        file.write('],"annotations":[')
        for i in range(3 * images):
            record = f'"id":{i + 1},"image_id":{i // 3 + 1},"category_id":1,"iscrowd":0,{shapes[i % len(shapes)]}'
            file.write(f"{',' if i else ''}\n{{{record}}}")
        file.write("]}\n")
    return path


def main() -> None:
    """Generate, build the index, start trainings, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="where the files are generated; default: the temporary folder")
    options = parser.parse_args()
    print(f"commit {run_metadata()['commit']}, {os.cpu_count()} CPU cores, {platform.platform()}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        path = generate(folder, options.images)
        start = time.time()
        build = f"from cutler_pl.coco.index import open_index; open_index({str(path)!r})"
        subprocess.run([sys.executable, "-c", build], check=True, env=environment)
        built = time.time() - start
        print(f"{path.stat().st_size:,} bytes, {options.images:,} images; index built in {built:.0f} s", flush=True)
        found = []
        for number in range(options.repeats):
            settings = [
                *SMALL, f"data.images='{folder}/images'", f"data.annotations='{path}'",
                f"data.num_workers={options.workers}", f"paths.output_dir='{folder}/run_{number}'",
            ]  # fmt: skip
            run = subprocess.run(
                [sys.executable, "-c", PROGRAM, "train", *settings], check=True, cwd=folder, text=True,
                stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**environment, "STARTED": str(time.time())},
            )  # fmt: skip
            found.append([float(word) for word in run.stderr.rpartition("first step ")[2].split()])
    for column, what in enumerate(("seconds", "CPU seconds, without loader processes")):
        seconds = [row[column] for row in found]
        print(f"first step after {median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}) {what}")


if __name__ == "__main__":
    main()

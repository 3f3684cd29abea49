"""What several processes change: losses against those of one process, and images per second.

A process, or a batch of accumulated gradients, sees a part of the global batch. The first table splits batches of 8
into 4 forward passes of 2 images, which see what 4 processes would see, with each normalisation, on images of one size
and of several. `--speed` measures trainings of one process on one core and of two on two.

    python benchmarks/processes.py --images <folder> --annotations <COCO JSON> [--speed]
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median

import torch
from hydra import compose, initialize_config_dir

from cutler_pl.commands import train
from cutler_pl.commands.config_store import register_params
from cutler_pl.runtime.config_tree import config_dir

ROOT = Path(__file__).resolve().parents[1]
STEPS = 3
PASSES = 4
COMMON = (
    "experiment=quickstart", "model.detector.backbone=resnet18", "data.num_workers=0", "logger=csv",
    "callbacks.progress=null", "callbacks.precise_bn=null", "callbacks.checkpoint=null", "trainer.log_every_n_steps=1",
)  # fmt: skip
SAME, DIFFERENT = "one size", "several sizes"
SIZES = {SAME: "data.train_sizes=[112]", DIFFERENT: "data.train_sizes=[96,112,128]"}


def main() -> None:
    """Print the tables."""
    options = read_options()
    os.environ.setdefault("PROJECT_ROOT", str(ROOT))
    torch.set_num_threads(1)
    register_params()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.speed:
            speed(options.images, options.annotations, folder)
            return
        files = {SAME: of_one_size(options.annotations, folder), DIFFERENT: options.annotations}
        print(f"| norm | images | difference of the loss in step 1 | in step {STEPS} |\n|---|---|---|---|")
        for norm in ("frozen", "gn", "bn"):
            for sizes, annotations in files.items():
                data = (f"data.images='{options.images}'", f"data.annotations='{annotations}'", SIZES[sizes])
                target = folder / f"{norm}_{sizes.replace(' ', '_')}"
                settings = (*data, f"model.detector.norm={norm}", f"trainer.max_steps={STEPS}")
                whole = losses(target / "whole", *settings, "data.batch_size=8")
                split = losses(
                    target / "split", *settings, "data.batch_size=2", f"trainer.accumulate_grad_batches={PASSES}"
                )
                differences = [abs(a / b - 1) for a, b in zip(split, whole, strict=True)]
                print(f"| `{norm}` | of {sizes} | {differences[0]:.1e} | {differences[-1]:.1e} |", flush=True)


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--speed", action="store_true", help="images per second of one and of two processes")
    return parser.parse_args()


def of_one_size(annotations: Path, folder: Path) -> Path:
    """A COCO file of the images that have the most frequent size."""
    coco = json.loads(annotations.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in coco["images"]}
    ((size, _),) = Counter(sizes.values()).most_common(1)
    coco["images"] = [image for image in coco["images"] if sizes[image["id"]] == size]
    coco["annotations"] = [annotation for annotation in coco["annotations"] if sizes[annotation["image_id"]] == size]
    path = folder / "one_size.json"
    path.write_text(json.dumps(coco))
    return path


def losses(output: Path, *settings: str) -> list[float]:
    """The logged loss of each step of a training in this process."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        train.run(compose("train", [*COMMON, *settings, f"paths.output_dir='{output}'"]))
    return logged(output, "train/loss")


def logged(output: Path, name: str) -> list[float]:
    """The values of a metric, by step."""
    (path,) = output.rglob("metrics.csv")
    with path.open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def speed(images: Path, annotations: Path, folder: Path) -> None:
    """Median images per second of a training of one process on one core, and of two processes on two."""
    rates = {}
    for processes in (1, 2):
        output = folder / f"speed_{processes}"
        command = [
            sys.executable, "train.py", *COMMON, f"data.images='{images}'", f"data.annotations='{annotations}'",
            "data.batch_size=16", f"trainer={'cpu' if processes == 1 else 'ddp_cpu'}", "trainer.max_steps=12",
            f"paths.output_dir='{output}'", "callbacks.throughput.every_n_steps=2", "trainer.log_every_n_steps=2",
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        cores = set(sorted(os.sched_getaffinity(0))[:processes])
        subprocess.run(
            command, check=True, cwd=ROOT, env=environment, preexec_fn=lambda c=cores: os.sched_setaffinity(0, c)
        )
        rates[processes] = median(logged(output, "train/images_per_s"))
    print(
        f"1 process on 1 core: {rates[1]:.2f} images/s; 2 on 2: {rates[2]:.2f}, {rates[2] / rates[1] / 2:.2f} of twice"
    )


if __name__ == "__main__":
    main()

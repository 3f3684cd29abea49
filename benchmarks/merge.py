"""The merge of a self-training round on generated files: seconds, peak memory, and disk for temporary files.

    python benchmarks/merge.py                       50,000 images, 200,000 predictions, in the temporary folder
    python benchmarks/merge.py --images 1281167 --predictions 5000000 --folder <dir>

The annotations of the round before are three masks an image, the predictions are spread evenly, two thirds of them
above the threshold and half of them near an annotation. The merge has a process of its own; peak memory is that of the
whole process, imports included, as the system reports it. Below ImageNet's size, two sizes are run, a quarter and the
whole, so that growth can be told from the start; what is printed for ImageNet's size is extrapolated from the
difference. Disk is what the file system has less meanwhile, whoever takes it.
"""

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from index import HEIGHT, WIDTH, blobs

from cutler_pl.runtime.environment import run_metadata

ANNOTATIONS = 3  # per image
THRESHOLD = 0.65
IMAGENET = 1_281_167
IMAGENET_PREDICTIONS = 5_000_000


def generate(folder: Path, images: int, predictions: int) -> int:
    """Write `before.json` and `found.json`; return their bytes."""
    from cutler_pl.coco import rle

    rng = np.random.default_rng(0)
    masks = [rle.to_rle([polygon], HEIGHT, WIDTH) for polygon in blobs(rng, 60)]
    shapes = [
        f'"bbox":{json.dumps(rle.bbox(mask))},"segmentation":{json.dumps(mask)},"area":{rle.area(mask)}'
        for mask in masks
    ]
    with (folder / "before.json").open("w", encoding="ascii") as file:
        file.write('{"info":{},"categories":[{"id":1,"name":"fg"}],"images":[')
        for i in range(images):
            name = f"train/{i // 1000:05d}/{i:09d}.jpg"
            file.write(f'{"," if i else ""}\n{{"id":{i + 1},"file_name":"{name}","height":{HEIGHT},"width":{WIDTH}}}')
        file.write('],"annotations":[')
        for i in range(images * ANNOTATIONS):
            owner, shape = i // ANNOTATIONS + 1, shapes[i % len(shapes)]
            record = f'"id":{i + 1},"image_id":{owner},"category_id":1,"iscrowd":0,{shape}'
            file.write(f'{"," if i else ""}\n{{{record},"height":{HEIGHT},"width":{WIDTH}}}')
        file.write("]}\n")
    scores = rng.uniform(0.5, 0.95, predictions).round(4)
    with (folder / "found.json").open("w", encoding="ascii") as file:
        file.write("[")
        for i in range(predictions):
            image = i * images // predictions
            shape = shapes[(image * ANNOTATIONS if i % 2 else i * 7) % len(shapes)].rpartition(',"area"')[0]
            record = f'"image_id":{image + 1},"category_id":1,"score":{scores[i]},{shape}'
            file.write(f"{',' if i else ''}\n{{{record}}}")
        file.write("\n]\n")
    return sum((folder / name).stat().st_size for name in ("before.json", "found.json"))


def measure(folder: Path, results: Any) -> None:
    """Merge; put seconds, peak megabytes and the number of annotations into a queue."""
    import resource

    from cutler_pl.self_training import merge_files

    start = time.perf_counter(), time.process_time()
    counts = merge_files(folder / "before.json", folder / "found.json", folder / "next.json", THRESHOLD)
    seconds, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if platform.system() == "Linux" else 1024**2)
    results.put({"seconds": seconds, "cpu": cpu, "peak": peak, "total": counts.total, "replaced": counts.replaced})


def run(images: int, predictions: int, folder: str | None) -> dict[str, float]:
    """Generate, merge in a new process, print and return what was measured."""
    work = Path(tempfile.mkdtemp(prefix="merge-", dir=folder))
    try:
        size = generate(work, images, predictions)
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        before = shutil.disk_usage(work).free
        process = context.Process(target=measure, args=(work, results))
        process.start()
        least = [before]
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.2):
                least.append(shutil.disk_usage(work).free)

        watcher = threading.Thread(target=watch)
        watcher.start()
        found: dict[str, float] = results.get()
        process.join()
        ended.set()
        watcher.join()
        found |= {"bytes": size, "disk": before - min(least), "images": images, "predictions": predictions}
    finally:
        shutil.rmtree(work)
    print(
        f"{images:,} images, {predictions:,} predictions, {size / 1e6:,.0f} MB: {found['seconds']:.1f} s "
        f"({found['cpu']:.1f} s CPU), peak {found['peak']:,.0f} MiB, at most {found['disk'] / 1e6:,.0f} MB of disk, "
        f"{found['replaced']:,.0f} replaced, {found['total']:,.0f} annotations"
    )
    return found


def main() -> None:
    """Run both sizes and extrapolate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--predictions", type=int, default=200_000)
    parser.add_argument("--folder", help="where the files are generated; default: the temporary folder")
    options = parser.parse_args()
    metadata = run_metadata()
    print(f"commit {metadata['commit']}, {os.cpu_count()} CPU cores, {platform.platform()}")
    if options.images >= IMAGENET:
        run(options.images, options.predictions, options.folder)
    else:
        small = run(options.images // 4, options.predictions // 4, options.folder)
        large = run(options.images, options.predictions, options.folder)
        share = (IMAGENET - options.images) / (large["images"] - small["images"])
        at = {name: large[name] + share * (large[name] - small[name]) for name in ("seconds", "cpu", "disk")}
        print(
            f"extrapolated in a straight line to {IMAGENET:,} images and about {IMAGENET_PREDICTIONS:,} predictions: "
            f"{at['seconds']:.0f} s ({at['cpu']:.0f} s CPU), {at['disk'] / 1e9:.1f} GB of disk; peak memory "
            f"{small['peak']:,.0f} MiB for a quarter, {large['peak']:,.0f} MiB for the whole"
        )


if __name__ == "__main__":
    main()

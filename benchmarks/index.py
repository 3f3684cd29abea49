"""Index of a large annotation file: seconds and peak memory of building and opening it.

    python benchmarks/index.py                  2,000 MB, written to the temporary folder and deleted afterwards
    python benchmarks/index.py --megabytes 300 --folder <dir>

The file is generated: images of 480×640 pixels with five objects each, half of the masks as run lengths in the order of
the images (as MaskCut writes them), half as polygons in random order (as in COCO). Building and opening each have their
own process; peak memory is that of the whole process, imports included, as the system reports it.
"""

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cutler_pl.runtime.environment import run_metadata

HEIGHT, WIDTH = 480, 640
OBJECTS = 5  # per image
SHAPES = 200  # different masks of each kind


def blobs(rng: np.random.Generator, points: int) -> list[list[float]]:
    """Polygons `[x0, y0, x1, y1, …]` of blobs within the image, in hundredths of a pixel."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    shapes = []
    for _ in range(SHAPES):
        radius = rng.uniform(15, 100) * (1 + 0.3 * rng.uniform(-1, 1, points))
        centre = rng.uniform([140, 140], [WIDTH - 140, HEIGHT - 140])
        xy = centre + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        shapes.append(xy.round(2).ravel().tolist())
    return shapes


def generate(path: Path, megabytes: int) -> dict[str, int]:
    """Write the file, about so large; return what is in it."""
    from cutler_pl.coco import rle

    rng = np.random.default_rng(0)
    masks = [rle.to_rle([polygon], HEIGHT, WIDTH) for polygon in blobs(rng, 60)]
    polygons = blobs(rng, 30)
    boxes = [rle.bbox(mask) for mask in (*masks, *(rle.to_rle([p], HEIGHT, WIDTH) for p in polygons))]
    segmentations: list[Any] = [*masks, *([polygon] for polygon in polygons)]
    shapes = [
        f'"bbox":{json.dumps(box)},"segmentation":{json.dumps(segmentation)},'
        for box, segmentation in zip(boxes, segmentations, strict=True)
    ]
    per_image = OBJECTS * (np.mean([len(shape) for shape in shapes]) + 90) + 90
    count = int(megabytes * 1e6 / per_image)
    with path.open("w", encoding="ascii") as file:
        file.write('{"info":{},"images":[')
        for i in range(count):
            name = f"train/{i // 1000:05d}/{i:09d}.jpg"
            file.write(f'{"," if i else ""}\n{{"id":{i},"file_name":"{name}","height":{HEIGHT},"width":{WIDTH}}}')
        file.write('],"annotations":[')
        for i in range(count * OBJECTS):
            kind = i * 2 // (count * OBJECTS)
            image = i // OBJECTS * 2 if kind == 0 else rng.integers(count)
            shape = shapes[kind * SHAPES + i % SHAPES]
            file.write(
                f'{"," if i else ""}\n{{"id":{i},"image_id":{image},"category_id":{i % 80 + 1},{shape}'
                f'"area":{i % 5000 + 1}.5,"iscrowd":0}}'
            )
        categories = [{"id": i, "name": f"class {i}"} for i in range(1, 81)]
        file.write(f'],"categories":{json.dumps(categories)}}}\n')
    return {"images": count, "annotations": count * OBJECTS, "bytes": path.stat().st_size}


def measure(path: Path, results: Any) -> None:
    """Open the index, which is built first where there is none; put seconds and peak megabytes into a queue."""
    from cutler_pl.coco.index import open_index

    start = time.perf_counter(), time.process_time()
    index = open_index(path)
    index.objects(len(index) // 2)
    results.put((time.perf_counter() - start[0], time.process_time() - start[1], len(index), peak_megabytes()))


def peak_megabytes() -> float:
    """Peak memory of this process."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Generate, build, open, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000, help="size of the annotation file")
    parser.add_argument("--folder", type=Path, help="where to write it; by default the system's temporary folder")
    arguments = parser.parse_args()
    print(json.dumps({"machine": platform.machine(), "cores": os.cpu_count(), **run_metadata()}))
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "annotations.json"
        print(json.dumps(generate(path, arguments.megabytes)))
        for step in ("build", "open"):
            results = context.Queue()
            process = context.Process(target=measure, args=(path, results))
            process.start()
            wall, cpu, images, peak = results.get()
            process.join()
            print(f"{step:5}: {wall:8.2f} s, {cpu:8.2f} CPU-s, peak {peak:7.0f} MB ({images} images)", flush=True)


if __name__ == "__main__":
    main()

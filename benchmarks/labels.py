"""Export of labels to each format: seconds, CPU seconds, peak memory and size.

    python benchmarks/labels.py                      100,000 annotations, ten an image, in the temporary folder
    python benchmarks/labels.py --annotations 10000 --formats yolo cvat

The images have 640×480 pixels and are all the same file under different names; the masks are blobs of 200 shapes, of
which each third has a hole. An export has a process of its own; seconds are those of the export alone, without imports
and with the compilation of kernels that is not cached yet; peak memory is that of the whole process, imports included,
as Linux reports it.
"""

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PER_IMAGE = 10


def generate(folder: Path, annotations: int) -> int:
    """Write `labels.json` and `images/`; return the bytes of the former."""
    from index import HEIGHT, WIDTH, blobs  # brings torch, which the exports do without
    from PIL import Image

    from cutler_pl.coco import rle

    masks = [rle.decode(rle.to_rle([polygon], HEIGHT, WIDTH)) for polygon in blobs(np.random.default_rng(0), 60)]
    for mask in masks[::3]:
        rows, columns = np.nonzero(mask)
        y, x = int(rows.mean()), int(columns.mean())
        mask[y - 4 : y + 4, x - 6 : x + 6] = False
    encoded = [rle.encode(mask) for mask in masks]
    shapes = [
        f'"bbox":{json.dumps(rle.bbox(mask))},"segmentation":{json.dumps(mask)},"area":{rle.area(mask)}'
        for mask in encoded
    ]
    count = annotations // PER_IMAGE
    (folder / "images").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / "000000.jpg")
    with (folder / "labels.json").open("w", encoding="ascii") as file:
        file.write('{"info":{},"categories":[{"id":1,"name":"fg"}],"images":[')
        for i in range(count):
            if i:
                os.link(folder / "images" / "000000.jpg", folder / "images" / f"{i:06d}.jpg")
            record = f'"id":{i + 1},"file_name":"{i:06d}.jpg","height":{HEIGHT},"width":{WIDTH}'
            file.write(f"{',' if i else ''}\n{{{record}}}")
        file.write('],"annotations":[')
        for i in range(count * PER_IMAGE):
            record = (
                f'"id":{i + 1},"image_id":{i // PER_IMAGE + 1},"category_id":1,"iscrowd":0,{shapes[i % len(shapes)]}'
            )
            file.write(f"{',' if i else ''}\n{{{record}}}")
        file.write("]}\n")
    return (folder / "labels.json").stat().st_size


def export(folder: Path, format: str, masks: str, results: Any) -> None:
    """Export once, and put the seconds, the CPU seconds and the peak memory in kB."""
    from cutler_pl.datasets.formats import ExportOptions, export_labels

    start, cpu = time.perf_counter(), time.process_time()
    options = ExportOptions(masks=masks)  # type: ignore[arg-type]
    export_labels(folder / "labels.json", folder / "images", folder / "out", format=format, options=options)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    status = Path("/proc/self/status").read_text()  # `getrusage` would count the parent's memory before the start, too
    results.put((seconds, cpu, int(status.partition("VmHWM:")[2].split()[0])))


def size(folder: Path) -> int:
    """Bytes of the files below a folder, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> None:
    """Print a line per format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=int, default=100_000)
    parser.add_argument("--formats", nargs="+", default=["coco", "yolo", "cvat", "labelstudio", "labelme", "fiftyone"])
    parser.add_argument("--masks", choices=("rle", "polygons"), default="rle")
    parser.add_argument("--folder", type=Path, default=None)
    args = parser.parse_args()
    from cutler_pl.runtime.environment import run_metadata

    print(f"commit {run_metadata()['commit']}, Python {platform.python_version()}, {os.cpu_count()} cores")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        given = generate(folder, args.annotations)
        print(f"{args.annotations:,} annotations of {args.annotations // PER_IMAGE:,} images, {given / 1e6:.0f} MB")
        for form in args.formats:
            results = context.Queue()
            process = context.Process(target=export, args=(folder, form, args.masks, results))
            process.start()
            seconds, cpu, memory = results.get(timeout=3600)
            process.join()
            written = size(folder / "out")
            taken = f"{seconds:6.1f} s ({cpu:.1f} CPU) {memory / 1024:6.0f} MiB"
            print(f"{form:12} {taken}, written {written / 1e6:.0f} MB", flush=True)
            shutil.rmtree(folder / "out")


if __name__ == "__main__":
    main()

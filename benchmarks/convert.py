"""Conversion of large annotation files: time at three sizes, which must grow in proportion, and peak memory.

    python benchmarks/convert.py                               150,000, 300,000 and 600,000 annotations (minutes)
    python benchmarks/convert.py --annotations 3000 6000       smaller
    python benchmarks/convert.py --formats voc --repeats 1     one format, once

Files and images are generated: VOC's XML, OpenImages' table with its rows in disorder, and an Objects365-like COCO file
with annotations before its images. Every image is the same small JPEG under another name, whose header is read.
Each run has its own process; times are CPU seconds. Peak memory is that of the whole process, imports included.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cutler_pl.runtime.environment import run_metadata

HEIGHT, WIDTH = 375, 500
OBJECTS = 12  # per image, as many as in Objects365 and twice as many as in OpenImages' validation set


class Run(NamedTuple):
    """What one conversion took."""

    images: int
    annotations: int
    seconds: float
    before: float
    peak: float


def write_images(folder: Path, names: list[str]) -> None:
    """One image under many names."""
    folder.mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 150)).save(folder / "first.jpg")
    for name in names:
        os.link(folder / "first.jpg", folder / name)


def corners(rng: np.random.Generator) -> list[list[int]]:
    """Corners `x0 y0 x1 y1` of an image's objects in pixels, counted from 1."""
    low = rng.integers(1, [WIDTH // 2, HEIGHT // 2], (OBJECTS, 2))
    high = low + rng.integers(5, [WIDTH // 2, HEIGHT // 2], (OBJECTS, 2))
    return np.concatenate([low, high], axis=1).tolist()  # type: ignore[no-any-return]


def make_voc(root: Path, sizes: list[int], rng: np.random.Generator) -> None:
    """A VOC download with one split list per size."""
    base = root / "VOCdevkit" / "VOC2007"
    stems = [f"{number:06d}" for number in range(max(sizes) // OBJECTS)]
    write_images(base / "JPEGImages", [f"{stem}.jpg" for stem in stems])
    (base / "Annotations").mkdir()
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    for stem in stems:
        objects = "".join(
            f"<object><name>cat</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
            f"<xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>\n"
            for a, b, c, d in corners(rng)
        )
        text = f"<annotation><folder>VOC2007</folder><filename>{stem}.jpg</filename>{size}{objects}</annotation>"
        (base / "Annotations" / f"{stem}.xml").write_text(text)
    (base / "ImageSets" / "Main").mkdir(parents=True)
    for count in sizes:
        chosen = "\n".join(stems[: count // OBJECTS])
        (base / "ImageSets" / "Main" / f"{count}.txt").write_text(chosen)


def make_openimages(root: Path, sizes: list[int], rng: np.random.Generator) -> None:
    """An OpenImages download with one table per size."""
    names = [f"{number:016x}" for number in range(max(sizes) // OBJECTS)]
    write_images(root / "validation", [f"{name}.jpg" for name in names])
    header = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    for count in sizes:
        rows = [
            f"{name},xclick,/m/01g317,1,{a / WIDTH:.6f},{c / WIDTH:.6f},{b / HEIGHT:.6f},{d / HEIGHT:.6f},0,1,0,0,0"
            for name in names[: count // OBJECTS]
            for a, b, c, d in corners(rng)
        ]
        order = rng.permutation(len(rows)).tolist()
        (root / f"{count}.csv").write_text("\n".join([header, *(rows[place] for place in order)]) + "\n")


def make_objects365(root: Path, sizes: list[int], rng: np.random.Generator) -> None:
    """An Objects365 download with one COCO file per size."""
    names = [f"images/v1/patch1/{number:08d}.jpg" for number in range(max(sizes) // OBJECTS)]
    write_images(root / "val" / "patch1", [Path(name).name for name in names])
    for count in sizes:
        images = [
            {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH, "license": 5}
            for number, name in enumerate(names[: count // OBJECTS])
        ]
        found = [
            {
                "id": number * OBJECTS + place, "image_id": number, "category_id": 1 + place, "iscrowd": 0, "isfake": 0,
                "bbox": [a - 1 + 0.1234567, b - 1 + 0.7654321, c - a, d - b], "area": (c - a) * (d - b) + 0.5,
            }
            for number in range(len(images))
            for place, (a, b, c, d) in enumerate(corners(rng))
        ]  # fmt: skip
        categories = [{"id": 1 + place, "name": f"class {place}"} for place in range(OBJECTS)]
        (root / f"{count}.json").write_text(
            json.dumps({"annotations": found, "images": images, "categories": categories})
        )


MAKERS: dict[str, Callable[[Path, list[int], np.random.Generator], None]] = {
    "voc": make_voc,
    "openimages": make_openimages,
    "objects365": make_objects365,
}


def convert(name: str, root: Path, count: int, pipe: Any) -> None:
    """Convert one size as `scripts/prepare_dataset.py` does, without examples."""
    from cutler_pl.datasets.converters import Options, open_download, write_records

    files = {"openimages": root / f"{count}.csv", "objects365": root / f"{count}.json"}
    options = Options(annotations=files.get(name), splits=(str(count),))
    before, started = peak_mebibytes(), time.process_time()
    download = open_download(name, root, datasets=root, options=options)
    with tempfile.TemporaryDirectory(dir=root) as out:
        report = write_records(
            download.records, Path(out) / "out.json", skipped=Path(out) / "skipped.jsonl", info={}, max_failure_rate=0.0
        )
    seconds = time.process_time() - started
    pipe.send(Run(report.images, report.annotations, seconds, before, peak_mebibytes()))


def peak_mebibytes() -> float:
    """Peak memory of this program; `getrusage` would count the process that started it, too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def run_alone(name: str, root: Path, count: int) -> Run:
    """One conversion in a process of its own."""
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=convert, args=(name, root, count, writer))
    process.start()
    writer.close()
    run: Run = reader.recv()
    process.join()
    return run


def main() -> None:
    """Generate, convert, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=int, nargs="+", default=[150_000, 300_000, 600_000])
    parser.add_argument("--formats", nargs="+", choices=list(MAKERS), default=list(MAKERS))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    metadata = run_metadata()
    print(f"{platform.processor() or platform.machine()}, {metadata['cpu_count']} CPUs, commit {metadata['commit']}")
    print("format       annotations   images   CPU-seconds (min–max)     µs per annotation   peak MiB (imports)")
    for name in arguments.formats:
        with tempfile.TemporaryDirectory() as folder:
            MAKERS[name](Path(folder), arguments.annotations, np.random.default_rng(0))
            for count in arguments.annotations:
                runs = [run_alone(name, Path(folder), count) for _ in range(arguments.repeats)]
                seconds = [run.seconds for run in runs]
                median = statistics.median(seconds)
                print(
                    f"{name:<12} {runs[0].annotations:>11,} {runs[0].images:>8,} {median:>8.2f} "
                    f"({min(seconds):.2f}–{max(seconds):.2f}) {1e6 * median / runs[0].annotations:>20.1f} "
                    f"{max(run.peak for run in runs):>14.0f} ({runs[0].before:.0f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()

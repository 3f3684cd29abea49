"""Our COCO evaluation beside pycocotools: CPU time, largest difference, peak memory, on generated data.

    python benchmarks/evaluation.py                       5,000 images × 100 detections, boxes and masks (minutes)
    python benchmarks/evaluation.py --images 200          smaller
    python benchmarks/evaluation.py --categories 80       per class instead of class-agnostic
    python benchmarks/evaluation.py --megabytes 782       ours alone, ground truth of benchmarks/index.py

Each side runs in a process of its own, which reads the same two JSON files, so that the peak memory is its own. The
seconds are those of the processor, over all threads and with the imports each side needs.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from cutler_pl.coco import save_coco

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
HEIGHT, WIDTH = 480, 640


def generate(images: int, detections: int, categories: int, folder: Path, *, seed: int = 0) -> tuple[Path, Path]:
    """Write ground truth of 1–14 ellipses per image, a tenth of them crowds, and detections: near ones and far ones."""
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []

    def record(image_id: int, centre: Any, radii: Any) -> dict[str, Any]:
        points = centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = np.clip(points + rng.normal(0, 1.5, points.shape), 0, [WIDTH, HEIGHT])
        (low_x, low_y), (high_x, high_y) = points.min(0), points.max(0)
        rle = coco_mask.frPyObjects([points.ravel().tolist()], HEIGHT, WIDTH)[0]
        return {
            "image_id": image_id,
            "category_id": int(rng.integers(1, categories + 1)),
            "bbox": [float(low_x), float(low_y), float(high_x - low_x), float(high_y - low_y)],
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()},
        }

    for image_id in range(1, images + 1):
        objects = []
        for _ in range(int(rng.integers(1, 15))):
            centre, radii = rng.uniform([40, 40], [WIDTH - 40, HEIGHT - 40]), np.exp(rng.uniform(1.5, 5, 2))
            truth = record(image_id, centre, radii)
            objects.append((centre, radii, truth["category_id"]))
            area = float(coco_mask.area(truth["segmentation"]))
            crowd = int(rng.random() < 0.1)
            annotations.append(truth | {"id": len(annotations) + 1, "area": area, "iscrowd": crowd})
        for _ in range(detections):
            centre, radii, category = objects[rng.integers(len(objects))]
            spread = rng.choice([0.03, 0.15, 1.0])
            detection = record(
                image_id, centre + rng.normal(0, spread, 2) * radii, radii * np.exp(rng.normal(0, spread, 2))
            )
            score = round(float(rng.beta(2, 2) * (1.5 - spread)) / 1.5, 3)  # rounded, so that there are ties
            results.append(detection | {"score": score, "category_id": category})

    size = {"height": HEIGHT, "width": WIDTH}
    truth_file, results_file = folder / "ground_truth.json", folder / "predictions.json"
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", **size} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": i, "name": f"class {i}"} for i in range(1, categories + 1)],
    }
    save_coco(truth_file, truth)
    save_coco(results_file, results)
    return truth_file, results_file


def ours(truth_file: Path, results_file: Path, class_agnostic: bool) -> dict[str, list[float]]:
    """All twelve metrics by this package."""
    from cutler_pl.evaluation import EvalParams, compare

    curves = compare(truth_file, results_file, EvalParams(class_agnostic=class_agnostic)).curves
    return {t: [c.summary()[name] for name in METRICS] for t, c in curves.items()}


def pycocotools(truth_file: Path, results_file: Path, class_agnostic: bool) -> dict[str, list[float]]:
    """All twelve metrics by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    metrics = {}
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(str(truth_file))
        results = json.loads(results_file.read_text())
        for iou_type in ("bbox", "segm"):
            # Without boxes pycocotools takes the sizes of detections from their masks, as it should for masks.
            given = results if iou_type == "bbox" else [{k: v for k, v in r.items() if k != "bbox"} for r in results]
            evaluation = COCOeval(gt, gt.loadRes(given), iou_type)
            evaluation.params.useCats = int(not class_agnostic)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            metrics[iou_type] = [100 * value if value > -1 else value for value in evaluation.stats]
    return metrics


def _run(side: str, files: tuple[Path, Path], class_agnostic: bool, pipe: Any) -> None:
    started = time.process_time()
    metrics = {"ours": ours, "pycocotools": pycocotools}[side](*files, class_agnostic)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    pipe.send((metrics, time.process_time() - started, peak))


def large_files(megabytes: int, folder: Path) -> tuple[Path, Path]:
    """Ground truth of `benchmarks/index.py`, and two detections with masks per image."""
    import index  # beside this file

    truth, results = folder / "truth.json", folder / "results.json"
    images = index.generate(truth, megabytes)["images"]
    polygons = index.blobs(np.random.default_rng(1), 60)
    masks = [coco_mask.frPyObjects([polygon], index.HEIGHT, index.WIDTH)[0] for polygon in polygons]
    shapes = [
        f'"bbox":{json.dumps(coco_mask.toBbox(mask).tolist())},'
        f'"segmentation":{json.dumps({"size": mask["size"], "counts": mask["counts"].decode()})}'
        for mask in masks
    ]
    with results.open("w", encoding="ascii") as file:
        for i in range(2 * images):
            head = f'{"," if i else "["}\n{{"image_id":{i // 2},"category_id":1,"score":{i * 7919 % 1000 / 1000},'
            file.write(f"{head}{shapes[i % len(shapes)]}}}")
        file.write("]\n")
    return truth, results


def run_alone(side: str, files: tuple[Path, Path], class_agnostic: bool) -> tuple[dict[str, list[float]], float, float]:
    """Metrics, CPU seconds and peak memory in GiB of one side in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(side, files, class_agnostic, sender))
    process.start()
    sender.close()
    answer: tuple[dict[str, list[float]], float, float] = receiver.recv()
    process.join()
    return answer


def main() -> None:
    """Generate, run both sides, print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100, help="per image")
    parser.add_argument("--categories", type=int, default=1, help="1 is class-agnostic")
    parser.add_argument("--repeats", type=int, default=3, help="runs of our side; pycocotools runs once")
    parser.add_argument("--megabytes", type=int, help="size of a generated ground truth, measured by our side alone")
    arguments = parser.parse_args()
    if arguments.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            _, seconds, peak = run_alone("ours", large_files(arguments.megabytes, Path(folder)), True)
        print(f"{arguments.megabytes} MB of ground truth: {seconds:.0f} s, peak {peak:.2f} GiB")
        return
    agnostic = arguments.categories == 1
    with tempfile.TemporaryDirectory() as folder:
        files = generate(arguments.images, arguments.detections, arguments.categories, Path(folder))
        runs = [run_alone("ours", files, agnostic) for _ in range(arguments.repeats)]
        reference = run_alone("pycocotools", files, agnostic)

    from cutler_pl.runtime.environment import run_metadata  # here: it loads torch, which the other processes lack

    difference = max(abs(a - b) for t in reference[0] for a, b in zip(runs[0][0][t], reference[0][t], strict=True))
    seconds = [run[1] for run in runs]
    metadata = run_metadata()
    print(f"{arguments.images} images × {arguments.detections} detections, {arguments.categories} categories")
    print(f"{platform.processor() or platform.machine()}, {metadata['cpu_count']} CPUs, commit {metadata['commit']}")
    print(
        f"ours         {statistics.median(seconds):8.2f} s, {min(seconds):.2f} to {max(seconds):.2f} s, "
        f"peak {max(run[2] for run in runs):.2f} GiB"
    )
    print(f"pycocotools  {reference[1]:8.2f} s, peak {reference[2]:.2f} GiB")
    print(f"ratio        {reference[1] / statistics.median(seconds):8.2f}")
    print(f"largest difference of {len(METRICS)} metrics × 2, in percent: {difference:.1e}")


if __name__ == "__main__":
    main()

"""What test-time augmentation gains and costs: AP, AP50, AR100 and CPU time of a detector, without it and with it.

Images are generated scenes, or those of a COCO file. One process, one thread, one image at a time. Each view is
predicted once, and all rows merge the same views: their time is that of their views and of the merging. Prints a
Markdown table per kind of IoU.

    python benchmarks/tta.py                                                     tiny_generated, scenes of seed 9000
    python benchmarks/tta.py --checkpoint <file> --images <folder> --annotations <json>
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cutler_pl import CutLER
from cutler_pl.coco import load_coco
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.evaluation import evaluate_coco
from cutler_pl.images import read_image
from cutler_pl.models import Detector
from cutler_pl.models.predictions import to_coco_results
from cutler_pl.models.tta import AugmentedDetector, TtaParams, merge_views
from cutler_pl.runtime.environment import run_metadata

VIEWS: dict[str, dict[str, Any]] = {
    "mirrored": {},
    "sizes 0.75, 1, 1.25": {"flip": False, "scales": (0.75, 1.0, 1.25)},
    "mirrored, sizes": {"scales": (0.75, 1.0, 1.25)},
}
MERGES: dict[str, dict[str, Any]] = {
    "weighted boxes": {"merge": "weighted_boxes"},
    "Soft-NMS, gaussian": {"merge": "soft_nms"},
    "Soft-NMS, linear": {"merge": "soft_nms", "decay": "linear"},
}
METRICS = ("AP", "AP50", "AR100")


def main() -> None:
    """Measure every setting on the same images."""
    args = read_options()
    torch.set_num_threads(1)
    print(f"{args.checkpoint}, commit {run_metadata()['commit']}")
    with tempfile.TemporaryDirectory() as name:
        images, annotations = args.images, args.annotations
        if images is None:
            images, annotations = Path(name) / "images", Path(name) / "annotations.json"
            write_scenes(images, args.scenes, SceneParams(), seed=args.seed)
        model = CutLER.from_pretrained(args.checkpoint, device="cpu")
        rows = list(measure(model.detector, images, annotations))
    for iou_type in ("bbox", "segm"):
        print(f"\n| {iou_type} | {' | '.join(METRICS)} | CPU ms per image |\n|---|" + "---|" * (len(METRICS) + 1))
        for label, values, milliseconds in rows:
            cells = [f"{values[iou_type][metric]:.1f}" for metric in METRICS]
            print(f"| {label} | {' | '.join(cells)} | {milliseconds:.0f} |")


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="tiny_generated")
    parser.add_argument("--images", type=Path, help="folder; with --annotations")
    parser.add_argument("--annotations", type=Path, help="COCO ground truth")
    parser.add_argument("--scenes", type=int, default=200, help="generated scenes, without --images")
    parser.add_argument("--seed", type=int, default=9000, help="of the scenes: one that no other table uses")
    args = parser.parse_args()
    if (args.images is None) != (args.annotations is None):
        parser.error("give --images and --annotations together, or neither")
    return args


def settings() -> Iterator[tuple[str, TtaParams]]:
    """Name and parameters of each row with augmentation."""
    for views, chosen in VIEWS.items():
        for merge, merging in MERGES.items():
            yield f"{views}; {merge}", TtaParams(**chosen, **merging)


def measure(
    detector: Detector, images: Path, annotations: Path
) -> Iterator[tuple[str, dict[str, dict[str, float]], float]]:
    """Name, metrics by kind of IoU, and mean CPU milliseconds per image of each row."""
    results: dict[str, list[Any]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    records = load_coco(annotations).coco["images"]
    augmented = AugmentedDetector(detector, TtaParams())
    limits = {"score_threshold": detector.config.score_threshold, "max_detections": detector.config.max_detections}
    for record in records:
        image = torch.from_numpy(read_image(images / record["file_name"])).permute(2, 0, 1)
        views, taken = {}, {}
        for view in TtaParams(**VIEWS["mirrored, sizes"]).views:
            start = time.process_time()
            (views[view],) = augmented.view([image], scale=view[0], flip=view[1])
            taken[view] = time.process_time() - start
        seconds["off"] += taken[1.0, False]
        results["off"] += to_coco_results(views[1.0, False], record["id"])
        for name, params in settings():
            start = time.process_time()
            (found,) = merge_views([[views[view] for view in params.views]], params, **limits)
            seconds[name] += time.process_time() - start + sum(taken[view] for view in params.views)
            results[name] += to_coco_results(found, record["id"])
    for name, found in results.items():
        yield name, evaluate_coco(annotations, found), 1000 * seconds[name] / len(records)


if __name__ == "__main__":
    main()

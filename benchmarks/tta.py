"""What test-time augmentation gains and costs: AP, AP50, AR100 and CPU time of a detector, without it and with it.

Images are generated scenes, or those of a COCO file. One process, one thread, one image at a time. Prints a Markdown
table per kind of IoU.

    python benchmarks/tta.py                                                     tiny_generated, scenes of seed 9000
    python benchmarks/tta.py --checkpoint <file> --images <folder> --annotations <json>
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from cutler_pl import CutLER
from cutler_pl.coco import load_coco
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.evaluation import evaluate_coco
from cutler_pl.models.tta import TtaParams
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
        rows = [(label, *measure(model, images, annotations, params)) for label, params in settings()]
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


def settings() -> Iterator[tuple[str, TtaParams | None]]:
    """Name and parameters of each row."""
    yield "off", None
    for views, chosen in VIEWS.items():
        for merge, merging in MERGES.items():
            yield f"{views}; {merge}", TtaParams(**chosen, **merging)


def measure(
    model: CutLER, images: Path, annotations: Path, params: TtaParams | None
) -> tuple[dict[str, dict[str, float]], float]:
    """Metrics by kind of IoU, and mean CPU milliseconds per image."""
    results, seconds = [], []
    for record in load_coco(annotations).coco["images"]:
        start = time.process_time()
        found = model.predict(images / record["file_name"], tta=params)
        seconds.append(time.process_time() - start)
        results += found.to_coco(record["id"])  # type: ignore[union-attr]  # of one image
    return evaluate_coco(annotations, results), 1000 * mean(seconds)


if __name__ == "__main__":
    main()

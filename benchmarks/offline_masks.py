"""Settings of `maskcut=patch_descriptors`, on real images and generated scenes: one setting changed at a time.

    python benchmarks/offline_masks.py --images <folder> --annotations <COCO json> [--scenes 40] [--max-images 60]

Masks have their scores (`mask_score`); AP50 and AR100 are class-agnostic, of masks, in percent. The first line is the
present option file.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cutler_pl.api.options import read_maskcut_option
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.evaluation import evaluate_coco
from cutler_pl.images import read_image
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.ops.resize import resize_to_square

SCENE_SEED = 1000  # none of the quickstart's
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    *({"tau": tau} for tau in (0.2, 0.35, 0.5, 0.65, 0.9)),
    *({"fixed_size": side} for side in (160, 320)),
    *({"num_masks": rounds} for rounds in (2, 5)),
    *({"stop": "adaptive", "max_ncut_value": value} for value in (0.1, 0.2, 0.4)),
)


def parse_args() -> argparse.Namespace:
    """What to measure on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--max-images", type=int, default=60)
    parser.add_argument("--change", action="append", type=json.loads, help='instead of all, as JSON: {"tau": 0.4}')
    return parser.parse_args()


def main() -> None:
    """Print one line per setting."""
    args = parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder)
        write_scenes(scenes / "images", args.scenes, SceneParams(), seed=SCENE_SEED)
        sets = {"scenes": (scenes / "images", read(scenes / "annotations.json"))}
        if args.images:
            sets["images"] = (args.images, first(read(args.annotations), args.max_images))
        titles = "".join(f"{name + ' AP50':>13}{'AR100':>7}{'masks':>7}" for name in sets)
        print(f"{'setting':<44}{titles}  CPU-s")
        for change in args.change or CHANGES:
            start = time.process_time()
            numbers = [measure(root, coco, change) for root, coco in sets.values()]
            cells = "".join(f"{ap:13.1f}{ar:7.1f}{per_image:7.2f}" for ap, ar, per_image in numbers)
            name = ", ".join(f"{key}={value}" for key, value in change.items()) or "present"
            print(f"{name:<44}{cells}{time.process_time() - start:7.0f}", flush=True)


def measure(root: Path, coco: dict[str, Any], change: dict[str, Any]) -> tuple[float, float, float]:
    """Mask AP50, mask AR100 and the number of masks per image."""
    option = read_maskcut_option("patch_descriptors") | change
    side, known = option["fixed_size"], MaskCutParams.__dataclass_fields__
    params = MaskCutParams(**{key: value for key, value in option.items() if key in known})
    predictor = MaskCutPredictor(build_feature_extractor(**option["features"]), params, solver=option["solver"])
    found = list(find(predictor, root, coco["images"], side))
    metrics = evaluate_coco(coco, found, iou_types=("segm",))["segm"]
    return metrics["AP50"], metrics["AR100"], len(found) / len(coco["images"])


def find(predictor: MaskCutPredictor, root: Path, records: list[dict[str, Any]], side: int) -> Iterator[dict[str, Any]]:
    """COCO results of the images, one at a time."""
    for record in records:
        image = read_image(root / record["file_name"])
        (masks,) = predictor.predict([record["file_name"]], resize_to_square(image, side)[None])
        assert masks is not None
        annotations, _ = encode_masks(masks, image.shape[:2], params=AnnotationParams(scores=True))
        yield from ({**annotation, "image_id": record["id"], "category_id": 1} for annotation in annotations)


def first(coco: dict[str, Any], count: int) -> dict[str, Any]:
    """The first images of a COCO file, with their annotations."""
    images = coco["images"][:count]
    ids = {image["id"] for image in images}
    return coco | {"images": images, "annotations": [a for a in coco["annotations"] if a["image_id"] in ids]}


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

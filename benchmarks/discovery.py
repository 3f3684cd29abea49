"""How well `cutler discover` groups objects by kind: purity and NMI on generated scenes of known kinds.

    python benchmarks/discovery.py [--scenes 120] [--kinds 6] [--features patch_descriptors]

Purity: share of the objects that are of the commonest kind of their cluster. NMI: normalised mutual information of
clusters and kinds, arithmetic mean. Masks are the ground truth, or those of MaskCut: the kind of such a mask is that of
the object it overlaps by an IoU of 0.5 at least, and the others count as a kind of their own. Objects that HDBSCAN
leaves out are counted apart. Means over three sets of kinds, their spread behind ±.
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import normalized_mutual_info_score

from cutler_pl.api.options import read_maskcut_option
from cutler_pl.coco import rle
from cutler_pl.datasets.kind_scenes import KindParams, write_kind_scenes
from cutler_pl.datasets.scenes import SceneParams
from cutler_pl.discovery import DiscoverOptions, discover
from cutler_pl.images import read_image
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.features import FeatureExtractor
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.ops.resize import resize_to_square

SEEDS = (1, 2, 3)
MASKS = ("annotated", "maskcut")
SCENES = SceneParams(min_objects=2, max_objects=5)


class Score(NamedTuple):
    """Of one clustering."""

    clusters: float
    left_out: float
    purity: float
    nmi: float


def parse_args() -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--kinds", type=int, default=6)
    parser.add_argument("--features", default="patch_descriptors")
    parser.add_argument("--weights")
    parser.add_argument("--masks", nargs="+", choices=MASKS, default=MASKS)
    return parser.parse_args()


def main() -> None:
    """Print one line per setting."""
    args = parse_args()
    torch.set_num_threads(1)
    option = read_maskcut_option(args.features)
    extractor = build_feature_extractor(**(option["features"] | ({"weights": args.weights} if args.weights else {})))
    settings = {
        f"k={args.kinds}, the number of kinds": DiscoverOptions(k=args.kinds),
        f"k={2 * args.kinds}": DiscoverOptions(k=2 * args.kinds),
        f"k={4 * args.kinds}": DiscoverOptions(k=4 * args.kinds),
        "k=null, by silhouette": DiscoverOptions(),
        "hdbscan": DiscoverOptions(method="hdbscan"),
    }
    print(f"{args.features}, {args.scenes} scenes of {args.kinds} kinds, {len(SEEDS)} sets, {platform.machine()}")
    for masks in args.masks:
        scores: dict[str, list[Score]] = {name: [] for name in settings}
        counts, start = [], time.process_time()
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                write_kind_scenes(
                    root / "images", args.scenes, SCENES, KindParams(count=args.kinds, seed=seed), seed=seed
                )
                coco = json.loads((root / "annotations.json").read_text(encoding="utf-8"))
                kinds = {one["id"]: one["category_id"] for one in coco["annotations"]}
                if masks == "maskcut":
                    kinds = write_found(root, coco, extractor, option)
                counts.append(len(kinds))
                for name, options in settings.items():
                    scores[name].append(measure(root, kinds, extractor, option["fixed_size"], options))
        print(f"{masks}: {np.mean(counts):.0f} objects a set, {time.process_time() - start:.0f} CPU seconds in all")
        print(f"{'setting':<32}{'clusters':>9}{'left out':>10}{'purity':>14}{'NMI':>14}")
        for name, found in scores.items():
            means, spreads = np.mean(found, axis=0), np.std(found, axis=0)
            cells = "".join(f"{means[i]:9.2f}±{spreads[i]:.2f}" for i in (2, 3))
            print(f"{name:<32}{means[0]:9.1f}{means[1]:10.1%}{cells}", flush=True)


def measure(
    root: Path, kinds: dict[int, int], extractor: FeatureExtractor, side: int, options: DiscoverOptions
) -> Score:
    """Group the objects of a folder."""
    found = discover(
        root / "annotations.json", root / "images", root / "out", extractor=extractor, fixed_size=side, options=options,
        overwrite=True,
    )  # fmt: skip
    kind = np.array([kinds[id_] for id_ in found.annotation_ids.tolist()])
    inside = found.numbers > 0
    commonest = [int(np.bincount(kind[found.numbers == number]).max()) for number in range(1, found.count + 1)]
    nmi = normalized_mutual_info_score(kind[inside], found.numbers[inside]) if inside.any() else 0.0
    return Score(found.count, float((~inside).mean()), sum(commonest) / max(int(inside.sum()), 1), float(nmi))


def write_found(
    root: Path, coco: dict[str, Any], extractor: FeatureExtractor, option: dict[str, Any]
) -> dict[int, int]:
    """Replace the annotations by MaskCut's; returns the kind of each, 0 for what overlaps no object."""
    params = MaskCutParams(**{key: value for key, value in option.items() if key in MaskCutParams.__dataclass_fields__})
    predictor = MaskCutPredictor(extractor, params, solver=option["solver"])
    annotations: list[dict[str, Any]] = []
    kinds: dict[int, int] = {}
    for record in coco["images"]:
        image = read_image(root / "images" / record["file_name"])
        (masks,) = predictor.predict(["scene"], resize_to_square(image, option["fixed_size"])[None])
        assert masks is not None
        objects = [one for one in coco["annotations"] if one["image_id"] == record["id"]]
        for one in encode_masks(masks, image.shape[:2], params=AnnotationParams())[0]:
            overlaps = rle.iou([one["segmentation"]], [gt["segmentation"] for gt in objects])[0]
            id_ = len(annotations) + 1
            kinds[id_] = objects[int(overlaps.argmax())]["category_id"] if overlaps.max() >= 0.5 else 0
            annotations.append({**one, "id": id_, "image_id": record["id"], "category_id": 1, "iscrowd": 0})
    found = {**coco, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]}
    (root / "annotations.json").write_text(json.dumps(found), encoding="utf-8")
    return kinds


if __name__ == "__main__":
    main()

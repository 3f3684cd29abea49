"""What `annotation.split=watershed` finds in generated scenes, of objects that touch and of objects that do not.

    python benchmarks/splitting.py [--scenes 60] [--change '{"max_neck": 0.5}'] …

Found: share of the objects that a mask overlaps by an IoU of 0.5. Right: share of the masks that overlap an object by
as much. Split: masks that were split; broken: those of them that were right before. Features are `patch_descriptors` with the present option file.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from cutler_pl.api.options import read_maskcut_option
from cutler_pl.coco import rle
from cutler_pl.datasets.kind_scenes import KindParams, KindScene, generate_kind_scene
from cutler_pl.datasets.scenes import SceneParams
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.params import AnnotationParams, WatershedParams
from cutler_pl.maskcut.predictor import ImageMasks, MaskCutPredictor

SEED = 2000
SCENES = SceneParams(min_objects=3, max_objects=6, min_radius=0.08, max_radius=0.16)
SETS = {"touching": KindParams(touching=0.8), "apart": KindParams(touching=0.0)}
CHANGES: tuple[dict[str, float], ...] = (
    {},
    *({"max_neck": value} for value in (0.5, 0.6, 0.8, 0.9)),
    *({"min_similarity": value} for value in (-1.0, 0.6, 0.9)),
    *({"min_part": value} for value in (0.1, 0.4)),
)


def parse_args() -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--set", action="append", type=json.loads, help='settings of the cut, as JSON: {"tau": 0.6}')
    parser.add_argument("--change", action="append", type=json.loads, help='instead of all, as JSON: {"max_neck": 0.6}')
    return parser.parse_args()


def main() -> None:
    """Print one line per setting."""
    args = parse_args()
    torch.set_num_threads(1)
    cut = {key: value for given in args.set or [] for key, value in given.items()}
    print(f"{args.scenes} scenes of each set, {platform.machine()}, defaults {asdict(WatershedParams())}, cut {cut}")
    columns = (f"{name + ' found':>16}{'right':>7}{'masks':>7}{'split':>7}{'broken':>7}" for name in SETS)
    print(f"{'setting':<24}{''.join(columns)}")
    found = {name: [*find(kinds, args.scenes, args.seed, cut)] for name, kinds in SETS.items()}
    settings = {"none": AnnotationParams()}
    for change in args.change or CHANGES:
        name = ", ".join(f"{key}={value}" for key, value in change.items()) or "watershed"
        settings[name] = AnnotationParams(split="watershed", watershed=WatershedParams(**change))
    for name, params in settings.items():
        numbers = [measure(scenes, params) for scenes in found.values()]
        cells = (f"{a:16.1%}{b:7.1%}{n:7d}{s:7d}{broken:7d}" for a, b, n, s, broken in numbers)
        print(f"{name:<24}{''.join(cells)}", flush=True)


def find(kinds: KindParams, count: int, seed: int, cut: dict[str, Any]) -> Iterator[tuple[KindScene, ImageMasks]]:
    """Scenes and their masks before they are split."""
    option = read_maskcut_option("patch_descriptors") | cut
    params = MaskCutParams(**{key: value for key, value in option.items() if key in MaskCutParams.__dataclass_fields__})
    extractor = build_feature_extractor(**option["features"])
    predictor = MaskCutPredictor(extractor, params, solver=option["solver"], keep_features=True)
    for index in range(count):
        drawn = generate_kind_scene(SCENES, kinds, seed=seed + index)
        (masks,) = predictor.predict(["scene"], torch.from_numpy(drawn.scene.image).permute(2, 0, 1)[None])
        assert masks is not None
        yield drawn, masks


def measure(scenes: list[tuple[KindScene, ImageMasks]], params: AnnotationParams) -> tuple[float, float, int, int, int]:
    """Share of the objects found, share of the masks that are right, numbers of masks, masks split and masks broken."""
    found: list[bool] = []
    right: list[bool] = []
    split = broken = 0
    for drawn, masks in scenes:
        objects = [rle.encode(mask) for mask in drawn.scene.masks]
        annotations, _ = encode_masks(masks, drawn.scene.image.shape[:2], params=params)
        overlaps = rle.iou([one["segmentation"] for one in annotations], objects)
        found += (overlaps.max(0, initial=0.0) >= 0.5).tolist()
        right += (overlaps.max(1, initial=0.0) >= 0.5).tolist()
        numbers = sorted({one["split_from"] for one in annotations if "split_from" in one})
        whole = rle.iou([rle.encode(masks.refined[number - 1].numpy()) for number in numbers], objects)
        split += len(numbers)
        broken += int((whole.max(1, initial=0.0) >= 0.5).sum())
    return float(np.mean(found)), float(np.mean(right)), len(right), split, broken


if __name__ == "__main__":
    main()

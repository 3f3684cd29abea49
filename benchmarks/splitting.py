"""What `annotation.split=watershed` finds in generated scenes, of objects that touch and of objects that do not.

    python benchmarks/splitting.py [--scenes 60] [--change '{"max_neck": 0.5}'] …
    python benchmarks/splitting.py --images <folder> --annotations <COCO json>

Found: share of the objects that a mask overlaps by an IoU of 0.5. Right: share of the masks that overlap an object by
as much. Split: masks that were split; before: those of them that were right before. With real images the masks are not
found but taken from the annotations: the union of objects of one class that touch, and each object that is alone; this
measures the split, whatever finds the masks. Features are `patch_descriptors` with the present option file.
"""

import argparse
import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from cutler_pl.api.options import read_maskcut_option
from cutler_pl.coco import rle
from cutler_pl.datasets.kind_scenes import KindParams, KindScene, generate_kind_scene
from cutler_pl.datasets.scenes import SceneParams
from cutler_pl.images import read_image
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.params import AnnotationParams, WatershedParams
from cutler_pl.maskcut.predictor import ImageMasks, MaskCutPredictor
from cutler_pl.maskcut.splitting import KeepWhole, WatershedSplitter
from cutler_pl.ops.resize import resize_to_square

SEED = 2000
SCENES = SceneParams(min_objects=3, max_objects=6, min_radius=0.08, max_radius=0.16)
SETS = {"touching": KindParams(touching=0.8), "apart": KindParams(touching=0.0)}
CHANGES: tuple[dict[str, float], ...] = (
    {},
    *({"max_neck": value} for value in (0.5, 0.9)),
    *({"min_similarity": value} for value in (-1.0, 0.5, 0.9)),
    *({"min_part": value} for value in (0.1, 0.5)),
)


def parse_args() -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--set", action="append", type=json.loads, help='settings of the cut, as JSON: {"tau": 0.6}')
    parser.add_argument("--change", action="append", type=json.loads, help='instead of all, as JSON: {"max_neck": 0.6}')
    return parser.parse_args()


def main() -> None:
    """Print one line per setting."""
    args = parse_args()
    torch.set_num_threads(1)
    if args.images:
        return measure_real(args.images, read(args.annotations), args.change or CHANGES)
    cut = {key: value for given in args.set or [] for key, value in given.items()}
    print(f"{args.scenes} scenes of each set, {platform.machine()}, defaults {asdict(WatershedParams())}, cut {cut}")
    columns = (f"{name + ' found':>16}{'right':>7}{'masks':>7}{'split':>7}{'before':>7}" for name in SETS)
    print(f"{'setting':<24}{''.join(columns)}")
    found = {name: [*find(kinds, args.scenes, args.seed, cut)] for name, kinds in SETS.items()}
    settings = {"none": AnnotationParams()}
    for change in args.change or CHANGES:
        settings[label(change)] = AnnotationParams(split="watershed", watershed=WatershedParams(**change))
    for name, params in settings.items():
        numbers = [measure(scenes, params) for scenes in found.values()]
        cells = (f"{a:16.1%}{b:7.1%}{n:7d}{s:7d}{broken:7d}" for a, b, n, s, broken in numbers)
        print(f"{name:<24}{''.join(cells)}", flush=True)


def label(change: dict[str, float]) -> str:
    """A setting as it is shown."""
    return ", ".join(f"{key}={value}" for key, value in change.items()) or "watershed"


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


def measure_real(root: Path, coco: dict[str, Any], changes: Sequence[dict[str, float]]) -> None:
    """Print one line per setting: touching objects found, and objects alone that stay whole."""
    cases = [*real_cases(root, coco)]
    print(f"{sum(len(one.objects) > 1 for one in cases)} unions, {sum(len(one.objects) == 1 for one in cases)} alone")
    print(f"{'setting':<24}{'touching found':>16}{'unions split':>14}{'alone whole':>13}")
    for change in (None, *changes):
        splitter = KeepWhole() if change is None else WatershedSplitter(WatershedParams(**change))
        found: list[bool] = []
        split: list[bool] = []
        whole: list[bool] = []
        for one in cases:
            parts = splitter(one.mask, one.features, one.pixel_hw)
            if len(one.objects) == 1:
                whole.append(len(parts) == 1)
                continue
            split.append(len(parts) > 1)
            overlaps = rle.iou([rle.encode(part) for part in parts], [rle.encode(mask) for mask in one.objects])
            found += (overlaps.max(0) >= 0.5).tolist()
        name = "none" if change is None else label(change)
        print(f"{name:<24}{np.mean(found):16.1%}{np.mean(split):14.1%}{np.mean(whole):13.1%}", flush=True)


class RealCase(NamedTuple):
    """A mask from annotations at the fixed size, and the objects that it holds."""

    mask: np.ndarray
    objects: list[np.ndarray]
    features: np.ndarray
    pixel_hw: tuple[float, float]


def real_cases(root: Path, coco: dict[str, Any]) -> Iterator[RealCase]:
    """Unions of touching objects of a class, and objects alone; of at least 1 % of the image, none of them a crowd."""
    option = read_maskcut_option("patch_descriptors")
    side, extractor = option["fixed_size"], build_feature_extractor(**option["features"])
    for image in coco["images"]:
        size_hw = (image["height"], image["width"])
        pixels = resize_to_square(read_image(root / image["file_name"]), side)[None]
        features = extractor(pixels.float() / 255)[0].numpy()
        of_class: dict[int, list[np.ndarray]] = {}
        for one in coco["annotations"]:
            if one["image_id"] == image["id"] and not one["iscrowd"] and one["area"] >= 0.01 * size_hw[0] * size_hw[1]:
                mask = Image.fromarray(rle.decode(rle.to_rle(one["segmentation"], *size_hw)).astype(np.uint8) * 255)
                square = np.asarray(mask.resize((side, side), Image.Resampling.BICUBIC)) > 127
                of_class.setdefault(one["category_id"], []).append(square)
        for masks in of_class.values():
            components, count = ndimage.label(np.any([ndimage.binary_dilation(mask) for mask in masks], axis=0))
            for number in range(1, count + 1):
                objects = [mask for mask in masks if mask.any() and components[mask][0] == number]
                union = (
                    np.any([ndimage.binary_dilation(mask) for mask in objects], axis=0) if len(objects) > 1 else None
                )
                if objects:
                    mask = objects[0] if union is None else union
                    yield RealCase(mask, objects, features, (size_hw[0] / side, size_hw[1] / side))


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

"""Small sets of real images with annotations, made from scikit-image's sample images where no others are there.

They have the layout of the sets that $CUTLER_DATA names: COCO, with an image in grey and a crowd, and its objects once
more as UVO and LVIS store them. The outlines are drawn by hand, in shares of the image's sides.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from golden_set import sample_image
from PIL import Image

from cutler_pl.coco import rle

NAMES = ("coco_mini", "lvis_mini", "splits", "uvo_mini")
OBJECTS: dict[tuple[str, int], list[tuple[int, Sequence[float]]]] = {
    ("chelsea", 9): [
        (17, (0.5, 0.42, 0.46, 0.4)), (88, (0.38, 0.38, 0.1, 0.08)), (88, (0.45, 0.7, 0.1, 0.06)),
        (84, (0.83, 0.57, 0.06, 0.07)),
    ],
    ("astronaut", 25): [
        (1, (0.68, 0.37, 0.3, 0.28)), (37, (0.84, 0.78, 0.15, 0.2)), (5, (0.28, 0.8, 0.27, 0.09)),
        (84, (0.74, 0.33, 0.07, 0.07)), (84, (0.7, 0.59, 0.04, 0.05)),
    ],
    ("coffee", 30): [
        (47, (0.27, 0.49, 0.23, 0.2)), (51, (0.56, 0.48, 0.42, 0.34)), (50, (0.7, 0.6, 0.1, 0.06)),
        (62, (0.67, 0.37, 0.1, 0.05)),
    ],
    ("camera", 86): [(1, (0.5, 0.4, 0.4, 0.2)), (90, (0.3, 0.6, 0.06, 0.07)), (90, (0.8, 0.7, 0.05, 0.03))],
}  # fmt: skip
"""By sample image and image id: category, and center and half axes (y, x) of an ellipse."""
COUNTS = {"coco": (4, 17, 1), "coco20k": (2, 9, 0), "lvis": (4, 16, 0), "uvo": (4, 16, 0)}
"""Images, annotations, ignored ones, by the converter that reads them."""
_CATEGORIES = [i for i in range(1, 91) if i not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}]


def are_made(folder: Path) -> bool:
    """Whether these are the sets below `folder`."""
    return (folder / "made").is_file()


def write(folder: Path) -> Path:
    """Write the sets below an empty folder."""
    images, annotations = [], []
    (folder / "coco_mini/images").mkdir(parents=True)
    for (name, image_id), objects in OBJECTS.items():
        pixels = Image.fromarray(sample_image(name))
        file_name = f"{image_id:012}.jpg"
        pixels.convert("L" if name == "camera" else "RGB").save(folder / "coco_mini/images" / file_name, quality=95)
        size = {"height": pixels.height, "width": pixels.width}
        images.append({"id": image_id, "file_name": file_name, "license": 1} | size)
        annotations += [_annotation(image_id, size, category, ellipse) for category, ellipse in objects]
    crowd = np.zeros((images[-1]["height"], images[-1]["width"]), np.uint8)
    crowd[-40:, 100:300] = 1
    changes = np.flatnonzero(np.diff(crowd.T.ravel())) + 1
    segmentation = {"size": list(crowd.shape), "counts": np.diff([0, *changes, crowd.size]).tolist()}
    extent = {"bbox": [100.0, float(len(crowd) - 40), 200.0, 40.0], "area": 8000.0}
    annotations.append({"image_id": 86, "category_id": 1, "iscrowd": 1, "segmentation": segmentation} | extent)
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    categories = [{"id": i, "name": f"category {i}", "supercategory": "any"} for i in _CATEGORIES]
    _write(folder / "coco_mini/annotations/instances.json", images, annotations, categories)
    agnostic = [annotation | {"category_id": 1} for annotation in annotations]
    _write(folder / "coco_mini/annotations/instances_cls_agnostic.json", images, agnostic, [{"id": 1, "name": "fg"}])
    _write_others(folder, images, annotations[:-1])
    (folder / "made").touch()
    return folder


def _annotation(image_id: int, size: dict[str, int], category: int, ellipse: Sequence[float]) -> dict[str, Any]:
    cy, cx, ry, rx = ellipse
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x = ((cx + rx * np.cos(turn)).clip(0, 1) * size["width"]).round(2)
    y = ((cy + ry * np.sin(turn)).clip(0, 1) * size["height"]).round(2)
    polygon = np.stack([x, y], 1).ravel().tolist()
    box = [float(v) for v in (x.min(), y.min(), np.ptp(x).round(2), np.ptp(y).round(2))]
    area = float(rle.area(rle.to_rle([polygon], size["height"], size["width"])))
    found = {"image_id": image_id, "category_id": category, "iscrowd": 0, "area": area, "bbox": box}
    return found | {"segmentation": [polygon]}


def _write_others(folder: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> None:
    """The objects as UVO stores them, with run lengths, and as both versions of LVIS do; a list of file names."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    masks = [a | {"segmentation": rle.to_rle(a["segmentation"], *sizes[a["image_id"]])} for a in annotations]
    masks = [a | {"category_id": 1, "bbox": rle.bbox(a["segmentation"])} for a in masks]
    _write(folder / "uvo_mini/DERIVED_rle_cls_agnostic_from_coco.json", images, masks, [{"id": 1, "name": "object"}])
    lacking = {"neg_category_ids": [3], "not_exhaustive_category_ids": []}
    lvis = [{k: v for k, v in annotation.items() if k != "iscrowd"} for annotation in annotations]
    categories = [{"id": i, "name": f"category_{i}", "synset": f"category.n.{i}"} for i in range(1, 1231)]
    for name, extra in (("lvis_v0.5_val_subset", "file_name"), ("DERIVED_v1_style_no_file_name", "coco_url")):
        prefix = "COCO_val2014_" if extra == "file_name" else "http://images.cocodataset.org/val2017/"
        named = [
            {k: v for k, v in image.items() if k != "file_name"} | {extra: prefix + image["file_name"]} | lacking
            for image in images
        ]
        _write(folder / f"lvis_mini/{name}.json", named, lvis, categories)
    (folder / "splits").mkdir()
    listed = [f"train2014/COCO_train2014_{image['file_name']}" for image in images[:2]]
    (folder / "splits/coco_20k_filenames.txt").write_text("\n".join([*listed, "train2014/COCO_train2014_7.jpg"]) + "\n")


def _write(path: Path, images: list[Any], annotations: list[Any], categories: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))

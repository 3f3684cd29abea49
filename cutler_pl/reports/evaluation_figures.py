"""Pictures of an evaluation: ground truth beside predictions, and curves of precision over recall.

No threshold decides which detections are drawn: of each image the best ones, as many as it has objects.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cutler_pl.coco import rle
from cutler_pl.coco.records import group_by_image
from cutler_pl.coco.schema import Image
from cutler_pl.data.image_io import read_oriented
from cutler_pl.errors import ImageReadError
from cutler_pl.evaluation import NOT_MEASURED, Comparison, IouType, PrecisionRecall
from cutler_pl.evaluation.metrics import RECALLS
from cutler_pl.evaluation.per_image import ImageScore, best_and_worst, score_images
from cutler_pl.ops.boxes import xywh_to_xyxy
from cutler_pl.reports.tables import TITLES
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.contact_sheet import side_by_side
from cutler_pl.visual.curves import Curve, plot_curves, save_figure
from cutler_pl.visual.draw import draw_instances
from cutler_pl.visual.image_files import save_image

log = get_logger(__name__)

IOUS = (0.5, 0.75)
_HEIGHT = 420


def draw_gallery(
    comparison: Comparison, images: Path, folder: Path, *, count: int, named: bool
) -> dict[str, list[dict[str, str]]]:
    """Write pictures of the best, the worst and other images, ground truth beside predictions.

    Args:
        comparison: What was compared.
        images: Image folder.
        folder: Where to write.
        count: Pictures of each kind.
        named: Whether objects carry the name of their category.

    Returns:
        By kind, file name in `folder` and caption of each picture. Images that cannot be read are left out.
    """
    truth = comparison.truth
    names = {category["id"]: category["name"] for category in truth["categories"]} if named else None
    records = {image["id"]: image for image in truth["images"]}
    chosen = best_and_worst(score_images(truth, comparison.results), count=count)
    objects, found = group_by_image(truth["annotations"]), group_by_image(comparison.results)
    shown: dict[str, list[dict[str, str]]] = {}
    failures: list[str] = []
    for kind, scores in chosen.items():
        shown[kind] = []
        for place, score in enumerate(scores):
            image = records[score.image_id]
            best = sorted(found.get(score.image_id, []), key=lambda r: -r["score"])[: score.objects]
            try:
                picture = _pair(images, image, objects[score.image_id], best, names)
            except ImageReadError as error:
                failures.append(str(error))
                continue
            name = f"{kind}_{place}.jpg"
            save_image(folder / name, picture, max_side=1600)
            shown[kind].append({"file": name, "caption": _caption(image, score)})
    if failures:
        log.warning("%s: %d pictures left out, the first: %s", images, len(failures), failures[0])
    return shown


def draw_precision_recall(
    path: Path, curves: Mapping[IouType, PrecisionRecall], *, ap_max_dets: int | None = None
) -> None:
    """Write the curves of precision over recall of boxes and masks, at the IoU thresholds 0.5 and 0.75.

    Args:
        path: An SVG file.
        curves: By "bbox" and "segm".
        ap_max_dets: Best detections of an image that count, if not all.
    """
    lines = {}
    for kind, curve in curves.items():
        for threshold in IOUS:
            precision = curve.precision_at(threshold, ap_max_dets=ap_max_dets)
            if (precision != NOT_MEASURED).all():
                lines[f"{TITLES[kind]}, IoU {threshold}"] = Curve(100 * RECALLS, 100 * precision)
    save_figure(path, plot_curves(lines, title="Precision over recall", x_label="recall (%)", y_label="precision (%)"))


def _caption(image: Image, score: ImageScore) -> str:
    objects = "1 object" if score.objects == 1 else f"{score.objects} objects"
    own = f"AP50 of this image {100 * score.average_precision:.0f}"
    return f"{image['file_name']}: {score.found} of {objects} found, {own}"


def _pair(
    images: Path,
    image: Image,
    objects: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    names: Mapping[int, str] | None,
) -> UInt8[np.ndarray, "_ _ 3"]:
    size_hw = (image["height"], image["width"])
    pixels = read_oriented(images / image["file_name"], size_hw, exchangeable=True)
    left = _draw(pixels, [a for a in objects if not a["iscrowd"]], names, size_hw)
    right = _draw(pixels, found, names, size_hw)
    return side_by_side([left, right], ["ground truth", "prediction"], height=_HEIGHT)


def _draw(
    pixels: UInt8[np.ndarray, "height width 3"],
    records: Sequence[Mapping[str, Any]],
    names: Mapping[int, str] | None,
    size_hw: tuple[int, int],
) -> UInt8[np.ndarray, "height width 3"]:
    boxes = xywh_to_xyxy(np.array([record["bbox"] for record in records], dtype=np.float64).reshape(-1, 4))
    masks = None
    if pixels.shape[:2] == size_hw and all(record.get("segmentation") for record in records):
        decoded = [rle.decode(rle.to_rle(record["segmentation"], *size_hw)) for record in records]
        masks = np.array(decoded, dtype=bool).reshape(-1, *size_hw)
    labels = None if names is None else [names.get(r["category_id"], str(r["category_id"])) for r in records]
    scores = [float(record["score"]) for record in records] if all("score" in record for record in records) else None
    return draw_instances(pixels, masks, boxes=boxes, scores=scores or None, labels=labels or None)

"""Figures of an evaluation: ground truth beside predictions, and curves of precision over recall.

No threshold decides which detections are drawn: of each image the best ones, as many as it has objects.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cutler_pl.coco.records import group_by_image
from cutler_pl.coco.schema import Image
from cutler_pl.errors import ImageReadError
from cutler_pl.evaluation import NOT_MEASURED, Comparison, IouType, PrecisionRecall
from cutler_pl.evaluation.metrics import RECALLS
from cutler_pl.evaluation.per_image import ImageScore, best_and_worst, score_images
from cutler_pl.images import read_oriented
from cutler_pl.reports.evaluation_tables import TITLES
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.contact_sheet import side_by_side
from cutler_pl.visual.curves import Curve, plot_curves, save_figure
from cutler_pl.visual.image_files import save_image
from cutler_pl.visual.records import draw_records

log = get_logger(__name__)

IOUS = (0.5, 0.75)
_HEIGHT = 420


def draw_examples(
    comparison: Comparison, images: Path, folder: Path, *, count: int, named: bool
) -> dict[str, list[dict[str, str]]]:
    """Write the best, the worst and other images, ground truth beside predictions.

    Args:
        comparison: What was compared.
        images: Image folder.
        folder: Where to write.
        count: Images of each kind.
        named: Write the category's name beside each object.

    Returns:
        By kind, file name in `folder` and caption of each figure. Images that cannot be read are left out.
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
                size_hw = (image["height"], image["width"])
                pixels = read_oriented(images / image["file_name"], size_hw, exchangeable=True)
            except ImageReadError as error:
                failures.append(str(error))
                continue
            name = f"{kind}_{place}.jpg"
            save_image(folder / name, _pair(pixels, objects[score.image_id], best, names), max_side=1600)
            shown[kind].append({"file": name, "caption": _caption(image, score)})
    if failures:
        log.warning("%s: %d images left out, the first: %s", images, len(failures), failures[0])
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
    pixels: UInt8[np.ndarray, "height width 3"],
    objects: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    names: Mapping[int, str] | None,
) -> UInt8[np.ndarray, "_ _ 3"]:
    truth = draw_records(pixels, [annotation for annotation in objects if not annotation["iscrowd"]], names=names)
    prediction = draw_records(pixels, found, names=names)
    return side_by_side([truth, prediction], ["ground truth", "prediction"], height=_HEIGHT)

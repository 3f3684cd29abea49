"""Figures of an evaluation: ground truth beside predictions, precision-recall curves."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cutler_pl.coco.file_names import path_below
from cutler_pl.errors import AnnotationError, ImageReadError
from cutler_pl.evaluation.dataset_result import DatasetResult, Example
from cutler_pl.evaluation.metrics import RECALLS
from cutler_pl.images import read_oriented
from cutler_pl.reports.evaluation_tables import TITLES
from cutler_pl.reports.html_report import Figure
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.contact_sheet import side_by_side
from cutler_pl.visual.curves import Curve, plot_curves, save_figure
from cutler_pl.visual.image_files import save_image
from cutler_pl.visual.records import draw_records

log = get_logger(__name__)

_HEIGHT = 420


def draw_examples(result: DatasetResult, images: Path, folder: Path) -> dict[str, list[Figure]]:
    """Write the examples into `folder`, ground truth beside predictions; figures by kind, without unreadable images."""
    names = dict(result.category_names) or None
    figures: dict[str, list[Figure]] = {}
    failures: list[str] = []
    for kind, examples in result.examples.items():
        figures[kind] = []
        for place, example in enumerate(examples):
            try:
                figures[kind].append(_draw(example, images, folder / f"{kind}_{place}.jpg", names))
            except (AnnotationError, ImageReadError) as error:
                failures.append(str(error))
    if failures:
        log.warning("%s: %d images left out, the first: %s", images, len(failures), failures[0])
    return figures


def draw_precision_recall(result: DatasetResult, path: Path) -> None:
    """Write the curves of precision over recall of boxes and masks as SVG."""
    lines = {
        f"{TITLES[kind]}, IoU {iou}": Curve(100 * RECALLS, 100 * np.array(precision))
        for kind, curves in result.curves.items()
        for iou, precision in curves.items()
    }
    save_figure(path, plot_curves(lines, title="Precision over recall", x_label="recall (%)", y_label="precision (%)"))


def _draw(example: Example, images: Path, path: Path, names: Mapping[int, str] | None) -> Figure:
    image, objects = example["image"], example["objects"]
    source = path_below(images, image["file_name"])
    pixels = read_oriented(source, (image["height"], image["width"]), exchangeable=True)
    pair = [draw_records(pixels, records, names=names) for records in (objects, example["detections"])]
    save_image(path, side_by_side(pair, ["ground truth", "prediction"], height=_HEIGHT), max_side=1600)
    number = "1 object" if len(objects) == 1 else f"{len(objects)} objects"
    own = f"AP50 of this image {100 * example['average_precision']:.0f}"
    return Figure(path, caption=f"{image['file_name']}: {example['found']} of {number} found, {own}")

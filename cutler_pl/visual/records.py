"""COCO annotations and results on an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from cutler_pl.coco import rle
from cutler_pl.ops.boxes import xywh_to_xyxy
from cutler_pl.visual.draw import draw_instances, to_image_array

_IGNORED_COLOR = (255, 255, 0)


def draw_records(
    image: UInt8[np.ndarray, "height width 3"] | UInt8[Tensor, "3 height width"],
    records: Sequence[Mapping[str, Any]],
    *,
    names: Mapping[int, str] | None = None,
    boxes: bool = True,
    scores: bool = True,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw COCO annotations or results on a copy of an image; crowd regions are crossed out.

    Args:
        image: Pixels 0..255.
        records: Annotations or results; masks are drawn if all have one of the image's size.
        names: Class name by category id, written beside each instance.
        scores: Write scores if all records have one.
    """
    drawn = to_image_array(image)
    counted = [record for record in records if not record.get("iscrowd")]
    ignored = [record for record in records if record.get("iscrowd")]
    if counted:
        scored = scores and all("score" in record for record in counted)
        drawn = draw_instances(
            drawn,
            _masks(counted, drawn.shape[:2]),
            boxes=_boxes(counted) if boxes else None,
            scores=[float(record["score"]) for record in counted] if scored else None,
            labels=None if names is None else [names.get(r["category_id"], str(r["category_id"])) for r in counted],
        )
    return _cross_out(drawn, _boxes(ignored)) if ignored else drawn


def _masks(records: Sequence[Mapping[str, Any]], size_hw: tuple[int, ...]) -> Bool[np.ndarray, "boxes _ _"] | None:
    if not all(record.get("segmentation") for record in records):
        return None
    height, width = size_hw
    masks = [rle.decode(rle.to_rle(record["segmentation"], height, width)) for record in records]
    return np.stack(masks) if all(mask.shape == size_hw for mask in masks) else None


def _boxes(records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return xywh_to_xyxy(np.array([record["bbox"] for record in records], dtype=np.float64))


def _cross_out(image: UInt8[np.ndarray, "height width 3"], boxes: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    for x0, y0, x1, y1 in boxes.tolist():
        for line in ((x0, y0, x1, y0, x1, y1, x0, y1, x0, y0), (x0, y0, x1, y1), (x0, y1, x1, y0)):
            pen.line(line, fill=_IGNORED_COLOR, width=max(1, max(image.shape) // 400))
    return np.array(canvas)

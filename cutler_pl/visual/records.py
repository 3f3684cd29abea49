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
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw COCO annotations or results: masks, boxes, scores where there are any; crowd regions are crossed out.

    Args:
        image: Pixels, as for `draw_instances`.
        records: Annotations or results of this image. Masks are drawn if all have one of the image's size.
        names: Class name by category id, written beside each instance; None writes none.
        boxes: Draw boxes; without masks they are drawn anyway.

    Returns:
        A new image of the size of `image`.
    """
    drawn = to_image_array(image)
    counted = [record for record in records if not record.get("iscrowd")]
    if counted:
        masks = _masks(counted, drawn.shape[:2])
        drawn = draw_instances(
            drawn,
            masks,
            boxes=_boxes(counted) if boxes or masks is None else None,
            scores=[float(record["score"]) for record in counted] if all("score" in r for r in counted) else None,
            labels=names and [names.get(r["category_id"], str(r["category_id"])) for r in counted],
        )
    ignored = [record for record in records if record.get("iscrowd")]
    return _cross_out(drawn, _boxes(ignored)) if ignored else drawn


def decode_masks(records: Sequence[Mapping[str, Any]], size_hw: tuple[int, int]) -> Bool[np.ndarray, "boxes _ _"]:
    """The masks of annotations or results at their own size; polygons are drawn at `size_hw`."""
    decoded = [rle.decode(rle.to_rle(record["segmentation"], *size_hw)) for record in records]
    return np.stack(decoded) if decoded else np.zeros((0, *size_hw), dtype=bool)


def _masks(records: Sequence[Mapping[str, Any]], size_hw: tuple[int, int]) -> Bool[np.ndarray, "boxes _ _"] | None:
    if not all(record.get("segmentation") for record in records):
        return None
    masks = decode_masks(records, size_hw)
    return masks if masks.shape[1:] == size_hw else None


def _boxes(records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return xywh_to_xyxy(np.array([record["bbox"] for record in records], dtype=np.float64))


def _cross_out(image: UInt8[np.ndarray, "height width 3"], boxes: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    for x0, y0, x1, y1 in boxes.tolist():
        for line in ((x0, y0, x1, y0, x1, y1, x0, y1, x0, y0), (x0, y0, x1, y1), (x0, y1, x1, y0)):
            pen.line(line, fill=_IGNORED_COLOR, width=max(1, max(image.shape) // 400))
    return np.array(canvas)

"""Masks of ground truth and detections for hotcoco, which compares each detection with each object of its image.

Few of these pairs can reach the lowest IoU threshold. Pairs whose areas and tight boxes rule that out get canvases of
different widths: to hotcoco, as to pycocotools, such masks do not overlap, and it need not walk their runs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cutler_pl.coco import rle
from cutler_pl.coco.schema import RLE, Coco
from cutler_pl.errors import AnnotationError
from cutler_pl.evaluation.detections import Detections
from cutler_pl.evaluation.metrics import IOU_THRESHOLDS


class MaskPairs:
    """The masks of both sides.

    Args:
        truth: Checked ground truth.
        found: Checked detections.

    Raises:
        AnnotationError: A mask is missing.
    """

    def __init__(self, truth: Coco, found: Detections) -> None:
        sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
        annotations = truth["annotations"]
        for annotation in annotations:
            if not annotation.get("segmentation"):
                raise _missing(f"ground-truth annotation {annotation['id']}", annotation["image_id"])
        if "" in found.masks:
            number = found.masks.index("")
            raise _missing(f"detection {number}", int(found.image_ids[number]))
        self._masks = [rle.to_rle(a["segmentation"], *sizes[a["image_id"]]) for a in annotations]
        self._crowd = np.array([a["iscrowd"] for a in annotations], dtype=bool)
        self._sizes = rle.sizes_hw(self._masks)
        self._scan = rle.scan([mask["counts"] for mask in self._masks], self._sizes)
        self._found = found

    def batch(
        self,
        annotations: Sequence[dict[str, Any]],
        rows: Float64[np.ndarray, "detections 7"],
        positions: Int64[np.ndarray, " detections"],
    ) -> tuple[list[dict[str, Any]], Float64[np.ndarray, "detections 7"], list[RLE]]:
        """Both sides of some images as hotcoco takes them, and the masks of the detections.

        Args:
            annotations: Ground truth by rising number of the image; the id is the place in the file, from 1.
            rows: Detections by rising number of the image; what it says of boxes is replaced by the areas of masks.
            positions: Places of the detections in the file.
        """
        found, places = self._found, np.array([annotation["id"] - 1 for annotation in annotations], dtype=np.int64)
        images = np.array([annotation["image_id"] for annotation in annotations], dtype=np.int64)
        groups = self._groups(places, positions, _pairs(images, rows[:, 0].astype(np.int64)))
        counts = [self._masks[place]["counts"] for place in places]
        masks = _widened(counts, self._sizes[places], groups[: len(places)])
        objects = [annotation | {"segmentation": mask} for annotation, mask in zip(annotations, masks, strict=True)]
        rows = rows.copy()
        rows[:, 1:5] = [0, 0, 0, 1]
        rows[:, 3] = found.mask_areas[positions]
        counts = [found.masks[position] for position in positions.tolist()]
        return objects, rows, _widened(counts, found.mask_sizes[positions], groups[len(places) :])

    def _groups(
        self,
        objects: Int64[np.ndarray, " objects"],
        detections: Int64[np.ndarray, " detections"],
        pairs: tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]],
    ) -> Int64[np.ndarray, " masks"]:
        """Group of each object, then of each detection: pairs that may reach the lowest threshold share theirs."""
        object_, detection = objects[pairs[0]], detections[pairs[1]]
        boxes, others = self._scan.boxes[object_], self._found.mask_boxes[detection]
        sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
        area, other = self._scan.areas[object_], self._found.mask_areas[detection]
        overlap = np.minimum(sides.clip(min=0).prod(axis=1), np.minimum(area, other))
        union = other + np.where(self._crowd[object_], 0, area - overlap)
        close: Bool[np.ndarray, " pairs"] = overlap >= (IOU_THRESHOLDS[0] - 1e-6) * union
        edges = (pairs[0][close], len(objects) + pairs[1][close])
        graph = coo_array((np.ones(len(edges[0])), edges), shape=(len(objects) + len(detections),) * 2)
        return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _pairs(
    object_images: Int64[np.ndarray, " objects"], images: Int64[np.ndarray, " detections"]
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """Positions of an object and a detection of the same image, of all there are; images rise on both sides."""
    first, last = np.searchsorted(object_images, images), np.searchsorted(object_images, images, side="right")
    count = last - first
    detections = np.repeat(np.arange(len(images)), count)
    return np.arange(len(detections)) + np.repeat(first - np.cumsum(count) + count, count), detections


def _widened(
    counts: Sequence[str], sizes: Int64[np.ndarray, "masks 2"], columns: Int64[np.ndarray, " masks"]
) -> list[RLE]:
    """Masks with columns of background at their right, which run lengths, column by column, may leave out."""
    sizes = sizes + np.stack([np.zeros_like(columns), columns], axis=1)
    return [{"size": size, "counts": count} for size, count in zip(sizes.tolist(), counts, strict=True)]


def _missing(what: str, image_id: int) -> AnnotationError:
    return AnnotationError(f'{what} (image {image_id}) has no mask; evaluate boxes only, with iou_types=["bbox"]')

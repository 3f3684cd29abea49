"""Masks of ground truth and detections for hotcoco, which compares each detection with each object of its image.

Few of these pairs can reach the lowest IoU threshold. Pairs whose areas and tight boxes rule that out get canvases of
different widths: hotcoco, like pycocotools, then takes them as disjoint without comparing their runs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from cutler_pl.coco import rle
from cutler_pl.coco.schema import RLE, Coco
from cutler_pl.errors import AnnotationError
from cutler_pl.evaluation.detections import Detections
from cutler_pl.evaluation.metrics import IOU_THRESHOLDS
from cutler_pl.runtime.numba_jit import njit_cached


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
        masks = [rle.to_rle(a["segmentation"], *sizes[a["image_id"]]) for a in annotations]
        self._counts, self._sizes = [mask["counts"] for mask in masks], rle.sizes_hw(masks)
        self._crowd = np.array([a["iscrowd"] for a in annotations], dtype=bool)
        self._scan = rle.scan(self._counts, self._sizes)
        self._found = found

    def batch(
        self,
        annotations: Sequence[dict[str, Any]],
        rows: Float64[np.ndarray, "detections 7"],
        positions: Int64[np.ndarray, " detections"],
    ) -> tuple[list[dict[str, Any]], Float64[np.ndarray, "detections 7"], list[RLE]]:
        """Both sides of some images as hotcoco takes them, and the masks of the detections.

        Args:
            annotations: Ground truth by rising number of the image; the id is the position in the file, from 1.
            rows: Detections by rising number of the image; their boxes are replaced by the areas of masks.
            positions: Positions of the detections in the file.
        """
        found, indices = self._found, np.array([annotation["id"] - 1 for annotation in annotations], dtype=np.int64)
        images = np.array([annotation["image_id"] for annotation in annotations], dtype=np.int64)
        objects = (self._scan.areas[indices], self._scan.boxes[indices], self._crowd[indices])
        detections = (found.mask_areas[positions], found.mask_boxes[positions])
        pairs = [np.searchsorted(images, rows[:, 0], side=side) for side in ("left", "right")]
        groups, groups_found = np.arange(len(indices)), np.full(len(positions), -1)
        njit_cached(_group)(*objects, *detections, *pairs, IOU_THRESHOLDS[0] - 1e-6, groups, groups_found)
        masks = _widened([self._counts[i] for i in indices.tolist()], self._sizes[indices], groups + 1)
        alone = zip(positions.tolist(), (groups_found < 0).tolist(), strict=True)
        counts = ["" if is_alone else found.masks[i] for i, is_alone in alone]
        rows = rows.copy()
        rows[:, 1:5] = [0, 0, 0, 1]
        rows[:, 3] = found.mask_areas[positions]
        return (
            [annotation | {"segmentation": mask} for annotation, mask in zip(annotations, masks, strict=True)],
            rows,
            _widened(counts, found.mask_sizes[positions], groups_found + 1),
        )


def _widened(
    counts: Sequence[str], sizes: Int64[np.ndarray, "masks 2"], columns: Int64[np.ndarray, " masks"]
) -> list[RLE]:
    """Masks with columns of background at their right, which run lengths, column by column, may leave out."""
    sizes[:, 1] += columns
    return [{"size": size, "counts": count} for size, count in zip(sizes.tolist(), counts, strict=True)]


def _group(
    object_areas: Int64[np.ndarray, " objects"],
    object_boxes: Int64[np.ndarray, "objects 4"],
    crowd: Bool[np.ndarray, " objects"],
    areas: Int64[np.ndarray, " detections"],
    boxes: Int64[np.ndarray, "detections 4"],
    first: Int64[np.ndarray, " detections"],
    last: Int64[np.ndarray, " detections"],
    threshold: float,
    groups: Int64[np.ndarray, " objects"],
    groups_found: Int64[np.ndarray, " detections"],
) -> None:
    """Put pairs that may reach the threshold into one group, named by its first object; -1 is for detections alone.

    A detection is compared with the objects from `first` to `last`. Each object starts in a group of its own.
    """
    for found in range(len(areas)):
        for index in range(first[found], last[found]):
            width = min(boxes[found, 2], object_boxes[index, 2]) - max(boxes[found, 0], object_boxes[index, 0])
            height = min(boxes[found, 3], object_boxes[index, 3]) - max(boxes[found, 1], object_boxes[index, 1])
            overlap = min(max(width, 0) * max(height, 0), min(areas[found], object_areas[index]))
            union = areas[found] if crowd[index] else areas[found] + object_areas[index] - overlap
            if overlap >= threshold * union:
                group = index
                while groups[group] != group:
                    group = groups[group]
                other = groups_found[found] if groups_found[found] >= 0 else group
                while groups[other] != other:
                    other = groups[other]
                groups[max(group, other)] = groups_found[found] = min(group, other)
    for index in range(len(groups)):  # an object points to one before it, whose group is known by then
        groups[index] = groups[groups[index]]
    for found in range(len(areas)):
        if groups_found[found] >= 0:
            groups_found[found] = groups[groups_found[found]]


def _missing(what: str, image_id: int) -> AnnotationError:
    return AnnotationError(f'{what} (image {image_id}) has no mask; evaluate boxes only, with iou_types=["bbox"]')

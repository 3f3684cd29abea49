"""Matching and accumulation by hotcoco, whose COCOeval agrees with pycocotools to the last digit."""

from collections.abc import Iterator, Sequence
from typing import Any

import hotcoco
import numpy as np
from jaxtyping import Float64

from cutler_pl.coco.schema import Coco
from cutler_pl.evaluation.detections import Detections
from cutler_pl.evaluation.masks import MaskPairs
from cutler_pl.evaluation.metrics import AREA_RANGES, IOU_THRESHOLDS, RECALLS, IouType

_BATCH = 256  # images whose masks are alive at a time
_BATCH_OF_BOXES = 4096  # images whose boxes are matched at a time


class Engine:
    """Ground truth and detections as hotcoco takes them: by image, images and categories numbered from 1 by their ids.

    Args:
        truth: Checked ground truth.
        found: Checked detections.
        category_ids: Categories that count, rising; None takes all for one.
    """

    def __init__(self, truth: Coco, found: Detections, *, category_ids: Sequence[int] | None = None) -> None:
        self._truth, self._found = truth, found
        images = sorted(truth["images"], key=lambda image: image["id"])
        self.image_ids = [image["id"] for image in images]
        self._images: list[dict[str, Any]] = [
            {"id": n, "height": i["height"], "width": i["width"]} for n, i in enumerate(images, 1)
        ]
        self._categories = [{"id": n, "name": str(n)} for n in range(1, 1 + len(category_ids or (0,)))]
        image_number = {image_id: n for n, image_id in enumerate(self.image_ids, 1)}
        category_number = {category_id: n for n, category_id in enumerate(category_ids or (), 1)}
        self._category_number = category_number
        numbers = [image_number[annotation["image_id"]] for annotation in truth["annotations"]]
        self._object_order = np.argsort(np.array(numbers, dtype=np.int64), kind="stable")
        self._object_images = np.array(numbers, dtype=np.int64)[self._object_order]
        number = np.searchsorted(self.image_ids, found.image_ids) + 1
        category = np.searchsorted(category_ids, found.category_ids) + 1 if category_ids else np.ones_like(number)
        self._order = np.argsort(number, kind="stable")
        self._rows = np.column_stack([number, found.boxes, found.scores, category])[self._order]

    def precision_and_recall(
        self, iou_type: IouType, max_dets: Sequence[int]
    ) -> tuple[
        Float64[np.ndarray, "ious recalls categories areas max_dets"],
        Float64[np.ndarray, "ious categories areas max_dets"],
    ]:
        """Precision at each of `RECALLS` and recall reached, at each of `IOU_THRESHOLDS` and `AREA_RANGES`.

        Args:
            iou_type: Boxes or masks. Areas are those of what is compared.
            max_dets: Best detections of an image that count, rising.

        Returns:
            -1 where there is no ground truth.

        Raises:
            AnnotationError: A mask is missing.
        """
        params = hotcoco.Params(iou_type)
        params.iou_thrs, params.rec_thrs = IOU_THRESHOLDS.tolist(), RECALLS.tolist()
        params.area_rng, params.max_dets = [list(area) for area in AREA_RANGES.values()], list(max_dets)
        params.cat_ids = list(range(1, 1 + len(self._categories)))
        stream = hotcoco.StreamingEval(self._categories, iou_type, params=params)
        pairs = MaskPairs(self._truth, self._found) if iou_type == "segm" else None
        for first in range(0, len(self._images), _BATCH):
            images = self._images[first : first + _BATCH]
            bounds = (images[0]["id"], images[-1]["id"] + 1)
            objects = self._objects(bounds)
            part = slice(*np.searchsorted(self._rows[:, 0], bounds))
            rows = self._rows[part]
            masks: list[Any] | None = None
            if pairs is not None:
                objects, rows, masks = pairs.batch(objects, rows, self._order[part])
            stream.update(images, objects, rows, segmentation=masks)
        evaluation = stream.finalize()
        evaluation.accumulate()
        arrays: dict[str, Any] = evaluation.eval or {}
        # pycocotools divides by 2e-16 too much; rounded, a perfect detector has a precision of 1
        return np.asarray(arrays["precision"]).round(12), np.asarray(arrays["recall"])

    def box_matches(self, iou_threshold: float, *, max_dets: int) -> Iterator[dict[str, Any]]:
        """What pycocotools calls `evalImgs`: one record per image, by rising id, of the boxes that matched.

        Args:
            iou_threshold: Lowest overlap of a match.
            max_dets: Best detections of an image that count.
        """
        for first in range(0, len(self._images), _BATCH_OF_BOXES):
            images = self._images[first : first + _BATCH_OF_BOXES]
            bounds = (images[0]["id"], images[-1]["id"] + 1)
            content = {"images": images, "annotations": self._objects(bounds), "categories": self._categories}
            truth = hotcoco.COCO(content)
            rows = self._rows[slice(*np.searchsorted(self._rows[:, 0], bounds))]
            evaluation = hotcoco.COCOeval(truth, truth.load_res(rows), "bbox")
            params = evaluation.params
            params.iou_thrs, params.max_dets = [iou_threshold], [max_dets]
            params.area_rng, params.area_rng_lbl = [[0.0, 1e10]], ["all"]
            evaluation.evaluate()
            for match in filter(None, evaluation.eval_imgs):
                yield match | {"image_id": self.image_ids[match["image_id"] - 1]}

    def _objects(self, bounds: tuple[int, int]) -> list[dict[str, Any]]:
        """Ground truth of images from one number up to another; the id is the position in the file, from 1."""
        first, last = np.searchsorted(self._object_images, bounds)
        numbers, order = self._object_images[first:last].tolist(), self._object_order[first:last].tolist()
        annotations = self._truth["annotations"]
        found = [(number, place, annotations[place]) for number, place in zip(numbers, order, strict=True)]
        return [
            {
                "id": place + 1,
                "image_id": number,
                "category_id": self._category_number.get(annotation["category_id"], 1),
                "bbox": annotation["bbox"],
                "area": annotation["area"],
                "iscrowd": annotation["iscrowd"],
            }
            for number, place, annotation in found
        ]

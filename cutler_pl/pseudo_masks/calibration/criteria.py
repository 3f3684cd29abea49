"""Criteria by which τ is chosen; higher is better.

Without labels: the doubt that the verdict of the quality report counts, made continuous, sign turned. A figure at
its first threshold counts 1, at its second 2, in between and beyond in proportion, from 0 to 3. With labels: AP.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cutler_pl.coco import rle
from cutler_pl.coco.parts import ShardRecord
from cutler_pl.coco.schema import RLE
from cutler_pl.datasets.formats.label_file import LabeledObject
from cutler_pl.evaluation.detections import load_detections
from cutler_pl.evaluation.engine import Engine
from cutler_pl.evaluation.ground_truth import load_ground_truth
from cutler_pl.evaluation.metrics import PrecisionRecall
from cutler_pl.pseudo_masks.quality.agreement import MATCHED, Agreement
from cutler_pl.pseudo_masks.quality.images import ImageFigures
from cutler_pl.pseudo_masks.quality.masks import MaskCounts
from cutler_pl.pseudo_masks.quality.options import QualityThresholds
from cutler_pl.pseudo_masks.quality.verdict import RunSettings, Sign, Verdict, judge

Criterion = Callable[[Sequence[int]], float]
"""Its value on some of the images, by number."""
_MAX_DETS = (1, 10, 100)
_MOST = 3.0  # of one figure
_NO_MASK = 6 * _MOST


def strain(sign: Sign) -> float:
    """How far a figure is on the way to its thresholds: 1 at the first, 2 at the second, from 0 to 3."""
    if sign.value is None:
        return 0.0
    width = sign.outside - sign.doubt
    if not width:
        return 2.0 if sign.level == "outside" else 0.0
    return min(_MOST, max(0.0, 1.0 + (sign.value - sign.doubt) / width))


class Matched(NamedTuple):
    """Masks of an image, and how many of them a second run finds again."""

    masks: int
    found_again: int


def found_again(record: ShardRecord, second: ShardRecord) -> Matched:
    """Compare the masks of two runs in an image; see `measure_agreement`."""
    ours, theirs = ([one["segmentation"] for one in each["annotations"]] for each in (record, second))
    best = rle.iou(ours, theirs).reshape(len(ours), len(theirs)).max(1, initial=0)  # type: ignore[arg-type]
    return Matched(len(ours), int((best >= MATCHED).sum()))


@dataclass(frozen=True)
class QualityCriterion:
    """The doubt that the quality report counts.

    Attributes:
        records: The masks of each image.
        matched: Of each image, how many a second run with a near τ finds again.
        thresholds: Of the verdict.
        settings: Of the run.
    """

    records: Sequence[ShardRecord]
    matched: Sequence[Matched]
    thresholds: QualityThresholds
    settings: RunSettings

    def verdict(self, images: Sequence[int]) -> Verdict:
        """The verdict on some of the images."""
        counts = MaskCounts(num_examples=0)
        for number in images:
            record = self.records[number]
            objects = [
                LabeledObject({**one, "iscrowd": 0}, one["segmentation"])  # type: ignore[typeddict-item, arg-type]
                for one in record["annotations"]
            ]
            counts.add(record["file"], (record["height"], record["width"]), objects)
        masks, again = (sum(self.matched[number][column] for number in images) for column in (0, 1))
        agreement = Agreement(setting="a near τ", images=len(images), mean_iou=0.0, matched_share=again / max(1, masks))
        files = ImageFigures(opened=0, unreadable={}, without_record=[])
        return judge(counts.figures(), files, agreement if masks else None, self.thresholds, self.settings)

    def __call__(self, images: Sequence[int]) -> float:
        """Less doubt is better."""
        if not any(self.matched[number].masks for number in images):
            return -_NO_MASK
        return -sum(strain(sign) for sign in self.verdict(images).signs)


@dataclass(frozen=True)
class ApCriterion:
    """AP of masks against ground truth.

    Attributes:
        records: The masks of each image, with scores.
        truth: COCO content; its n-th image is that of the n-th record.
        metric: Which AP.
    """

    records: Sequence[ShardRecord]
    truth: Any
    metric: str

    def __call__(self, images: Sequence[int]) -> float:
        """In percent; 0 without ground truth in these images."""
        kept = [self.truth["images"][number] for number in images]
        ids = {image["id"] for image in kept}
        annotations = [one for one in self.truth["annotations"] if one["image_id"] in ids]
        coco = load_ground_truth({**self.truth, "images": kept, "annotations": annotations}, on_error="raise").coco
        results = [
            {"image_id": image["id"], "category_id": 1, "segmentation": one["segmentation"], "score": one["score"]}
            for number, image in zip(images, kept, strict=True)
            for one in self.records[number]["annotations"]
        ]
        found, _ = load_detections(results, coco, on_error="raise", any_category=True)
        curves = Engine(coco, found, category_ids=None).precision_and_recall("segm", _MAX_DETS)
        value = PrecisionRecall(*curves, ("object",), _MAX_DETS).summary()[self.metric]
        return max(0.0, value)


def truth_of(truth: Any, number: int) -> list[RLE]:
    """The masks of the n-th image's objects, without crowds."""
    image = truth["images"][number]
    return [
        rle.to_rle(one["segmentation"], image["height"], image["width"])
        for one in truth["annotations"]
        if one["image_id"] == image["id"] and not one.get("iscrowd")
    ]


class Jackknife(NamedTuple):
    """Values of several criteria on all images, and on all but each of some groups."""

    values: np.ndarray
    without: np.ndarray

    def difference(self, one: int, other: int) -> tuple[float, float]:
        """By how much the first criterion is above the second, and the standard error over images."""
        parts = self.without[:, one] - self.without[:, other]
        groups = len(parts)
        error = np.sqrt((groups - 1) / groups * ((parts - parts.mean()) ** 2).sum())
        return float(self.values[one] - self.values[other]), float(error)


def jackknife(criteria: Sequence[Criterion], num_images: int, *, max_groups: int = 10) -> Jackknife:
    """Measure criteria on all images, and leaving out each of at most so many groups of them."""
    everything = range(num_images)
    groups = min(max_groups, num_images)
    kept = [[number for number in everything if number % groups != group] for group in range(groups)]
    values = np.array([criterion(everything) for criterion in criteria])
    return Jackknife(values, np.array([[criterion(part) for criterion in criteria] for part in kept]))

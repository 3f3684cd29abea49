"""Figures of the masks of a COCO file, from run lengths alone, in a few numbers per mask and image."""

import heapq
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cutler_pl.coco.schema import RLE
from cutler_pl.coco.validation import OnError, is_finite_number
from cutler_pl.datasets.formats.label_file import LabeledObject, LabelFile
from cutler_pl.errors import AnnotationError
from cutler_pl.pseudo_masks.quality.shapes import measure, sureness
from cutler_pl.runtime.garbage import paused_gc

MAX_NAMES = 1000
"""Largest number of file names that a figure lists."""
SMALL = 0.01
"""Share of its image below which a mask is small."""


@dataclass(frozen=True)
class Spread:
    """The 10th percentile, the median and the 90th percentile of a figure."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: "Sequence[float] | array[float] | np.ndarray") -> "Spread | None":
        """The spread of some values; None where there is none."""
        return cls(*map(float, np.percentile(np.asarray(values, float), (10, 50, 90)))) if len(values) else None


@dataclass(frozen=True, kw_only=True)
class MaskFigures:
    """Figures of all masks of a file; shares are 0..1, None where nothing has a value.

    Attributes:
        images: Image records.
        masks: Masks; crowd regions are not counted.
        boxes_only: Annotations without a mask, not counted among the masks.
        without_mask: Number of images without a mask.
        names_without_mask: Their file names, the first `MAX_NAMES`.
        images_by_masks: Number of images by their number of masks.
        border_share: Share of masks that touch the border of their image.
        two_sides_share: Share of masks that touch two or more of its four sides, as backgrounds do.
        small_share: Share of masks below `SMALL` of their image.
        area: Spread of the share of the image that a mask covers.
        covered: Mean share of an image that its masks cover together.
        fragments: Mean number of runs of pixels per column of a mask's box; 1 for a compact mask.
        fill: Mean share of its box that a mask fills.
        score: Spread of the scores, where the annotations have them.
        score_by_position: Mean score of the first, second, … mask of an image: the rounds of MaskCut.
        ncut_value: Spread of the Ncut values, where the annotations have them.
    """

    images: int
    masks: int
    boxes_only: int
    without_mask: int
    names_without_mask: Sequence[str]
    images_by_masks: Mapping[int, int]
    border_share: float | None
    two_sides_share: float | None
    small_share: float | None
    area: Spread | None
    covered: float
    fragments: float | None
    fill: float | None
    score: Spread | None
    score_by_position: Sequence[float]
    ncut_value: Spread | None


class Example(NamedTuple):
    """A mask of an image, for a contact sheet; compared by sureness."""

    sureness: float
    number: int
    file_name: str
    size_hw: tuple[int, int]
    record: Mapping[str, Any]


class SampledImage(NamedTuple):
    """An image with its masks, for a second run of MaskCut."""

    file_name: str
    size_hw: tuple[int, int]
    masks: Sequence[RLE]


@dataclass(frozen=True)
class MaskReport:
    """What one pass over a file gives.

    Attributes:
        figures: Figures of all masks.
        sizes_hw: Height and width of each image by file name.
        surest, most_doubtful: Of as many images the surest, and the most doubtful, mask.
        sample: Evenly spaced images.
    """

    figures: MaskFigures
    sizes_hw: Mapping[str, tuple[int, int]]
    surest: Sequence[Example]
    most_doubtful: Sequence[Example]
    sample: Sequence[SampledImage]


@paused_gc()
def read_masks(
    annotations: Path, folder: Path, scratch: Path, *, num_examples: int, sample: int, on_error: OnError = "raise"
) -> MaskReport:
    """Read a file once, group by group of images.

    Args:
        annotations: COCO JSON of any size, or predictions with `images.json` beside them.
        folder: Folder that its file names are relative to.
        scratch: Folder for temporary files of the size of the input.
        num_examples: Number of surest, and of most doubtful, masks.
        sample: Largest number of images that are kept with their masks.
        on_error: What is done about invalid records.

    Raises:
        AnnotationError: The file is not COCO, holds no image or boxes alone, a file name leads out of the folder, or a
            record is invalid and the rule is to raise.
    """
    with LabelFile(annotations, folder, temporary=scratch, on_error=on_error) as file:
        total = sum(1 for _ in file.images())
        if not total:
            raise AnnotationError(f"{annotations}: holds no image record; give the annotations of a MaskCut run")
        chosen = set(evenly_spaced(total, sample))
        counts = MaskCounts(num_examples)
        sampled, sizes = [], {}
        for position, (image, _, objects) in enumerate(file):
            name, size_hw = image["file_name"], (image["height"], image["width"])
            sizes[name] = size_hw
            masks = counts.add(name, size_hw, objects)
            if position in chosen:
                sampled.append(SampledImage(name, size_hw, masks))
        file.report(f"{annotations}: read")
    if not counts.shapes and counts.boxes_only:
        raise AnnotationError(
            f"{annotations}: its {counts.boxes_only} annotations are boxes without a mask; give annotations with masks"
        )
    surest = sorted(counts.surest, reverse=True)
    doubtful = sorted(one._replace(sureness=-one.sureness) for one in counts.doubtful)
    return MaskReport(counts.figures(), sizes, surest, doubtful, sampled)


def evenly_spaced(total: int, wanted: int) -> list[int]:
    """At most `wanted` numbers below `total` at equal distances, the first of each stretch."""
    count = min(total, wanted)
    return [total * i // count for i in range(count)]


@dataclass
class MaskCounts:
    """The numbers kept of each mask and image."""

    num_examples: int
    shapes: "array[float]" = field(default_factory=lambda: array("f"))  # rows of `measure`
    scores: "array[float]" = field(default_factory=lambda: array("f"))
    ncut_values: "array[float]" = field(default_factory=lambda: array("f"))
    by_masks: Counter[int] = field(default_factory=Counter)
    by_position: dict[int, tuple[float, int]] = field(default_factory=dict)
    covered: float = 0.0
    boxes_only: int = 0
    names: list[str] = field(default_factory=list)
    surest: list[Example] = field(default_factory=list)
    doubtful: list[Example] = field(default_factory=list)

    def add(self, name: str, size_hw: tuple[int, int], objects: Sequence[LabeledObject]) -> list[RLE]:
        """Count the masks of an image; returns them."""
        counted = [one for one in objects if not one.record["iscrowd"]]
        masked: list[Mapping[str, Any]] = [one.record for one in counted if one.mask is not None]
        masks = [one.mask for one in counted if one.mask is not None]
        self.boxes_only += len(counted) - len(masks)
        self.by_masks[len(masks)] += 1
        if not masks and len(self.names) < MAX_NAMES:
            self.names.append(name)
        if not masks:
            return masks
        shapes = measure(masks)
        self.shapes.extend(shapes.ravel())
        self.covered += min(1.0, float(shapes[:, 0].sum()))
        self.ncut_values.extend(one["ncut_value"] for one in masked if is_finite_number(one.get("ncut_value")))
        sure = sureness(masked, shapes)
        for position, one in enumerate(masked):
            if is_finite_number(one.get("score")):
                self.scores.append(one["score"])
                total, count = self.by_position.get(position, (0.0, 0))
                self.by_position[position] = (total + one["score"], count + 1)
        number = sum(self.by_masks.values())
        for kept, sign, best in ((self.surest, 1, sure.argmax()), (self.doubtful, -1, sure.argmin())):
            record = {**masked[best], "segmentation": masks[best]}
            entry = Example(sign * float(sure[best]), -number, name, size_hw, record)
            if len(kept) < self.num_examples:
                heapq.heappush(kept, entry)
            elif kept:
                heapq.heappushpop(kept, entry)
        return masks

    def figures(self) -> MaskFigures:
        """The figures of all that was added."""
        images = sum(self.by_masks.values())
        shapes = np.asarray(self.shapes).reshape(-1, 4)
        masks = len(shapes)
        areas = shapes[:, 0]
        fragments, fill = map(float, shapes[:, 2:].mean(0, dtype=np.float64)) if masks else (None, None)
        return MaskFigures(
            images=images,
            masks=masks,
            boxes_only=self.boxes_only,
            without_mask=self.by_masks[0],
            names_without_mask=self.names,
            images_by_masks=dict(sorted(self.by_masks.items())),
            border_share=float((shapes[:, 1] > 0).mean()) if masks else None,
            two_sides_share=float((shapes[:, 1] > 1).mean()) if masks else None,
            small_share=float((areas < SMALL).mean()) if masks else None,
            area=Spread.of(areas),
            covered=self.covered / images,
            fragments=fragments,
            fill=fill,
            score=Spread.of(self.scores),
            score_by_position=[total / count for _, (total, count) in sorted(self.by_position.items())],
            ncut_value=Spread.of(self.ncut_values),
        )

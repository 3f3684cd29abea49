"""What measuring one dataset came to: its numbers, what was counted and left out, its pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cutler_pl.evaluation.metrics import IouType, Measures


@dataclass(frozen=True)
class DatasetResult:
    """What a dataset came to.

    Attributes:
        measures: By "bbox" and "segm".
        counts: Images, objects, detections, and what was left out.
        categories: Measures of each category, where they were asked for.
        pictures: By kind, file name and caption of each picture in the folder `pictures`.
    """

    measures: Measures
    counts: Mapping[str, int]
    categories: Mapping[IouType, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    pictures: Mapping[str, list[dict[str, str]]] = field(default_factory=dict)

"""Published metrics of the paper: `published.yaml` as typed tables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

Pair = tuple[float, float]


@dataclass(frozen=True)
class ZeroShot:
    """Class-agnostic boxes without any label.

    Attributes:
        source: Address of the table.
        titles: Dataset key to name, in the table's order.
        methods: Method to dataset key to AP50 and AR100, in percent.
    """

    source: str
    titles: Mapping[str, str]
    methods: Mapping[str, Mapping[str, Pair]]


@dataclass(frozen=True)
class SemiSupervised:
    """Detectors of 80 classes trained with a part of COCO's labels.

    Attributes:
        source: Address of the table.
        methods: Method to percentage of labels to box AP and mask AP, in percent.
    """

    source: str
    methods: Mapping[str, Mapping[int, Pair]]


@cache
def zero_shot() -> ZeroShot:
    """The table of the 11 datasets."""
    table = _tables()["zero_shot"]
    return ZeroShot(table["source"], table["datasets"], _pairs(table["methods"]))


@cache
def semi_supervised() -> SemiSupervised:
    """The table by percentage of labels."""
    table = _tables()["semi_supervised"]
    return SemiSupervised(table["source"], _pairs(table["methods"]))


def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = yaml.safe_load((files("cutler_pl.evaluation") / "published.yaml").read_text("utf-8"))
    return tables


def _pairs(methods: Mapping[str, Mapping[Any, list[float]]]) -> dict[str, dict[Any, Pair]]:
    return {method: {key: (a, b) for key, (a, b) in row.items()} for method, row in methods.items()}


_ZERO_SHOT_OF = {
    "cutler_cascade_final": "CutLER, Cascade Mask R-CNN",
    "cutler_mrcnn_final": "CutLER, Mask R-CNN",
}
_SUPERVISED = "coco_80"
_SUPERVISED_OF = re.compile(r"cutler_(?:semi|fully)_(\d+)perc")


def published_numbers(weights: str) -> dict[str, dict[tuple[str, str], float]]:
    """What was published of released weights.

    Args:
        weights: Their name.

    Returns:
        By dataset of the catalogue, then by "bbox" or "segm" and metric, in percent; empty where nothing was published.
    """
    if (method := _ZERO_SHOT_OF.get(weights)) is not None:
        rows = zero_shot().methods[method].items()
        return {name: {("bbox", "AP50"): ap50, ("bbox", "AR100"): ar100} for name, (ap50, ar100) in rows}
    if match := _SUPERVISED_OF.fullmatch(weights):
        found = semi_supervised().methods["CutLER"].get(int(match[1]))
        if found is not None:
            return {_SUPERVISED: {("bbox", "AP"): found[0], ("segm", "AP"): found[1]}}
    return {}


def with_published_numbers() -> tuple[str, ...]:
    """Names of released weights of which numbers were published."""
    percents = semi_supervised().methods["CutLER"]
    few = (f"cutler_semi_{percent}perc" for percent in percents if percent < 100)
    return (*_ZERO_SHOT_OF, *few, "cutler_fully_100perc")

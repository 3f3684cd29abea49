"""Published metrics of the paper: `published.yaml` as typed tables."""

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

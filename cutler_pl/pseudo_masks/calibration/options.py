"""What a calibration tries and measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from cutler_pl.runtime.ranges import Integer, ListOf, Number, check_fields, optional

Metric = Literal["AP", "AP50", "AP75"]
MIN_IMAGES = 8
"""Fewer images say nothing of the spread of a criterion."""


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """Options of a calibration.

    Attributes:
        values: Values of τ to try, or what is added to each of several; None for some around the present one.
        max_images: Most images that are looked at, evenly spaced.
        metric: Of masks, by which τ is chosen where there are annotations.
        score_map: Fit a map of scores where there are annotations.
    """

    values: Annotated[Sequence[float] | None, optional(ListOf(Number(min=-1, max=1), as_tuple=True))] = None
    max_images: Annotated[int, Integer(MIN_IMAGES, 100_000)] = 40
    metric: Metric = "AP50"
    score_map: bool = True

    def __post_init__(self) -> None:
        check_fields(self)

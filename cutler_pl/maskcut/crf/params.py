"""Constants of the refinements; deviations in pixels and in 8-bit grey levels."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cutler_pl.runtime.ranges import Integer, Number, Share, check_fields

CrfName = Literal["auto", "cuda", "numba", "guided", "none"]
Sigma = Annotated[float, Number(min=0.1, max=10_000)]
Weight = Annotated[float, Number(min=0, max=10_000)]


@dataclass(frozen=True, kw_only=True)
class CrfParams:
    """The dense CRF, with the values of the original's code.

    Attributes:
        min_iou: A refined mask whose IoU with its input is below this is rejected.
    """

    iterations: Annotated[int, Integer(0, 1000)] = 10
    gaussian_sigma: Sigma = 3.0
    gaussian_weight: Weight = 7.0
    bilateral_sigma: Sigma = 50.0
    color_sigma: Sigma = 5.0
    bilateral_weight: Weight = 10.0
    min_iou: Share = 0.5

    def __post_init__(self) -> None:
        check_fields(self, "crf.params.")


@dataclass(frozen=True, kw_only=True)
class GuidedParams:
    """The guided filter (He, Sun and Tang, "Guided Image Filtering", ECCV 2010).

    Attributes:
        radius: Of the filter's window.
        eps: Variance of the image below which a window is smoothed, for values in 0..1.
        subsample: The filter's coefficients are computed for every n-th pixel of each axis.
        min_iou: As in `CrfParams`.
    """

    radius: Annotated[int, Integer(1, 1024)] = 32
    eps: Annotated[float, Number(min=1e-12, max=1)] = 1e-4
    subsample: Annotated[int, Integer(1, 64)] = 4
    min_iou: Share = 0.5

    def __post_init__(self) -> None:
        check_fields(self, "crf.guided.")

"""Constants of the refinements; deviations in pixels and in 8-bit grey levels."""

from dataclasses import dataclass

from cutler_pl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CrfParams:
    """The dense CRF, with the values of the original's code.

    Attributes:
        min_iou: A refined mask whose IoU with its input is below this is rejected.
    """

    iterations: int = 10
    gaussian_sigma: float = 3.0
    gaussian_weight: float = 7.0
    bilateral_sigma: float = 50.0
    color_sigma: float = 5.0
    bilateral_weight: float = 10.0
    min_iou: float = 0.5


@dataclass(frozen=True, kw_only=True)
class GuidedParams:
    """The guided filter (He, Sun and Tang, "Guided Image Filtering", ECCV 2010).

    Attributes:
        radius: Of the filter's window.
        eps: Variance of the image below which a window is smoothed, for values in 0..1.
        subsample: The filter's coefficients are computed for every n-th pixel of each axis.
        min_iou: As in `CrfParams`.
    """

    radius: int = 32
    eps: float = 1e-4
    subsample: int = 4
    min_iou: float = 0.5

    def __post_init__(self) -> None:
        for name in ("radius", "subsample"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"crf.guided.{name} is {value!r}; give an integer of at least 1")
        if not isinstance(self.eps, int | float) or not self.eps > 0:
            raise ConfigError(f"crf.guided.eps is {self.eps!r}; give a variance above 0")

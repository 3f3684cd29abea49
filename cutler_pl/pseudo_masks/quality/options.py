"""Limits of the quality report's work, and the thresholds of its verdict."""

from dataclasses import dataclass
from typing import Annotated

from cutler_pl.coco.validation import OnError
from cutler_pl.errors import ConfigError
from cutler_pl.runtime.ranges import Count, Integer, Number, Share, check_fields

_RATIO = Annotated[float, Number(min=0, max=1000)]


@dataclass(frozen=True, kw_only=True)
class QualityOptions:
    """What the report looks at.

    Attributes:
        max_images: Largest number of images that are opened for near-duplicates and unreadable files, evenly spaced.
        agreement_images: Largest number of images on which MaskCut runs a second time, evenly spaced.
        num_examples: Masks of each of the two contact sheets.
        max_hash_distance: Bits of 64 in which the difference hashes of two near-duplicates differ at most.
        on_error: What is done about annotations that do not fit.
    """

    max_images: Count = 2000
    agreement_images: Annotated[int, Integer(1, 10_000)] = 24
    num_examples: Annotated[int, Integer(0, 100)] = 12
    max_hash_distance: Annotated[int, Integer(0, 64)] = 4
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class QualityThresholds:
    """From where on a figure is a sign against MaskCut; calibrated in docs/quality.md.

    Each figure has two thresholds: beyond the first it is a doubt, beyond the second it is a sign of images outside
    what the method can do.

    Attributes:
        without_mask, without_mask_outside: Share of images without a mask.
        border, border_outside: Share of masks that touch the border of their image.
        fragments, fragments_outside: Runs of mask pixels per column of the mask's box; about 1 for one compact piece.
        fill, fill_outside: Share of its box that a mask fills; lower is worse.
        score, score_outside: Median score of the masks of `patch_descriptors`; lower is worse.
        agreement, agreement_outside: Share of masks found again by the second run; lower is worse.
        doubtful_from, outside_from: Sums from which on the verdict is that; a figure beyond its first threshold counts
            1, beyond its second 2.
    """

    without_mask: Share = 0.15
    without_mask_outside: Share = 0.35
    border: Share = 0.8
    border_outside: Share = 0.95
    fragments: _RATIO = 1.3
    fragments_outside: _RATIO = 1.6
    fill: Share = 0.6
    fill_outside: Share = 0.5
    score: Share = 0.6
    score_outside: Share = 0.5
    agreement: Share = 0.6
    agreement_outside: Share = 0.4
    doubtful_from: Count = 1
    outside_from: Count = 3

    def __post_init__(self) -> None:
        check_fields(self, "thresholds.")
        for name in ("without_mask", "border", "fragments"):
            self._check_order(name, higher_is_worse=True)
        for name in ("fill", "score", "agreement"):
            self._check_order(name, higher_is_worse=False)
        if self.outside_from < self.doubtful_from:
            raise ConfigError(
                f"thresholds.outside_from={self.outside_from} is below thresholds.doubtful_from={self.doubtful_from}: "
                "what is outside must be doubtful, too; exchange them"
            )

    def _check_order(self, name: str, *, higher_is_worse: bool) -> None:
        doubt, outside = getattr(self, name), getattr(self, f"{name}_outside")
        if (outside < doubt) if higher_is_worse else (outside > doubt):
            side = "below" if higher_is_worse else "above"
            raise ConfigError(
                f"thresholds.{name}_outside={outside:g} is {side} thresholds.{name}={doubt:g}: what is outside "
                "must be doubtful, too; exchange them"
            )

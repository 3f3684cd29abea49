"""Match anchors or proposals with ground truth: IoU thresholds with labels between them, low-quality matches.

The rules are those of Faster R-CNN in its detectron2 form, with one deviation: a ground truth that overlaps no anchor
at all marks none as positive, where the original marks every anchor of IoU 0. No host–device synchronisation; all
images of a batch at once.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor

from cutler_pl.errors import ConfigError

NEGATIVE, POSITIVE, IGNORED = 0, 1, -1


class Match(NamedTuple):
    """For each box the ground truth of highest IoU (the lowest index on ties, 0 if there is none), and its label."""

    indices: Int64[Tensor, "*batch boxes"]
    labels: Int8[Tensor, "*batch boxes"]


class Matcher:
    """Labels boxes by their best IoU: `labels[i]` where it lies in `[thresholds[i-1], thresholds[i])`.

    Args:
        thresholds: Ascending IoU bounds between the labels.
        labels: One more than thresholds, of `NEGATIVE`, `IGNORED`, `POSITIVE`.
        allow_low_quality_matches: Also label positive, for each ground truth, the boxes that overlap it most, if they
            overlap it at all. Their matched index stays the ground truth they themselves overlap most.
    """

    def __init__(
        self, thresholds: Sequence[float], labels: Sequence[int], *, allow_low_quality_matches: bool = False
    ) -> None:
        if any(low > high for low, high in pairwise(thresholds)):
            raise ConfigError(f"IoU thresholds of a matcher must ascend, found {list(thresholds)}")
        if len(labels) != len(thresholds) + 1 or not set(labels) <= {NEGATIVE, POSITIVE, IGNORED}:
            raise ConfigError(
                f"a matcher with {len(thresholds)} thresholds needs {len(thresholds) + 1} labels of -1, 0, 1, "
                f"found {list(labels)}"
            )
        self.thresholds = tuple(thresholds)
        self.labels = tuple(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, iou: Float[Tensor, "*batch gt boxes"]) -> Match:
        """Match by pairwise IoU; without ground truth every box has index 0 and the label of IoU 0.

        Ground truth without area, which pads a batch, has IoU 0 with everything and so changes nothing.
        """
        if iou.shape[-2] == 0:
            indices = torch.zeros_like(iou.sum(dim=-2), dtype=torch.int64)
            return Match(indices, torch.full_like(indices, self.labels[0], dtype=torch.int8))
        best, indices = iou.max(dim=-2)
        labels = torch.full_like(indices, self.labels[0], dtype=torch.int8)
        for threshold, label in zip(self.thresholds, self.labels[1:], strict=True):
            labels.masked_fill_(best >= threshold, label)
        if self.allow_low_quality_matches and iou.shape[-1]:
            best_of_gt = iou.amax(dim=-1, keepdim=True)
            labels.masked_fill_(((iou == best_of_gt) & (iou > 0)).any(dim=-2), POSITIVE)
        return Match(indices, labels)

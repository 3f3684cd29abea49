"""Which ground truth each anchor or region belongs to, and which of them a training step looks at.

The rules are those of the detector the paper trains (Faster R-CNN in its detectron2 form): IoU thresholds with labels
between them, low-quality matches for anchors, then a fixed number of candidates with a capped share of positives. One
deviation: a ground truth that overlaps no anchor at all marks none as positive, where the original marks every anchor
of IoU 0. Nothing here waits for the device, and all images of a batch are done at once.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.reproducibility import generator

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


@runtime_checkable
class Sampler(Protocol):
    """In which order candidates are taken: the highest priority first."""

    def __call__(self, count: int, device: torch.device) -> Float[Tensor, " boxes"]:
        """Finite priorities of `count` boxes."""


class DeterministicSampler:
    """Takes candidates in index order: training steps that can be compared number by number."""

    def __call__(self, count: int, device: torch.device) -> Float[Tensor, " boxes"]:
        """Falling priorities."""
        return -torch.arange(count, device=device, dtype=torch.float32)


class RandomSampler:
    """Takes candidates at random, from an own stream for each device that `reseed` starts anew.

    Args:
        key: Numbers that name the stream, such as (seed, rank).
    """

    def __init__(self, *key: int) -> None:
        self.key = key
        self._generators: dict[torch.device, torch.Generator] = {}

    def reseed(self, *key: int) -> None:
        """Start the stream of a key such as (seed, rank, step): a resumed run then draws what the first one drew."""
        self.key = key
        self._generators.clear()

    def __call__(self, count: int, device: torch.device) -> Float[Tensor, " boxes"]:
        """Uniform random priorities."""
        if device not in self._generators:
            seed = generator(*self.key).initial_seed()
            self._generators[device] = torch.Generator(device).manual_seed(seed)
        return torch.rand(count, device=device, generator=self._generators[device])

    def __getstate__(self) -> dict[str, tuple[int, ...]]:
        return {"key": self.key}

    def __setstate__(self, state: dict[str, tuple[int, ...]]) -> None:
        self.__init__(*state["key"])  # type: ignore[misc]


def sample_labels(
    labels: Int8[Tensor, "*batch boxes"], *, num_samples: int, positive_fraction: float, sampler: Sampler
) -> Int8[Tensor, "*batch boxes"]:
    """Keep at most `num_samples` labels of each image and turn the others into `IGNORED`.

    Args:
        labels: Of `NEGATIVE`, `POSITIVE`, `IGNORED`.
        num_samples: Number of positives and negatives together; negatives fill up what positives leave.
        positive_fraction: Largest share of positives in `num_samples`.
        sampler: The order in which candidates are taken.
    """
    indices, taken = sample_indices(
        labels, num_samples=num_samples, positive_fraction=positive_fraction, sampler=sampler
    )
    kept = torch.zeros_like(labels, dtype=torch.int32).scatter_add_(-1, indices, taken.int())
    return torch.where(kept > 0, labels, IGNORED)


def sample_indices(
    labels: Int8[Tensor, "*batch boxes"], *, num_samples: int, positive_fraction: float, sampler: Sampler
) -> tuple[Int64[Tensor, "*batch slots"], Bool[Tensor, "*batch slots"]]:
    """As `sample_labels`, but gives indices in the order they are taken: positives first, then negatives.

    Returns:
        Indices of candidates, and which of them are taken; as many for every image, so that nothing waits.
    """
    rows = labels.shape[:-1].numel()
    priorities = torch.stack([sampler(labels.shape[-1], labels.device) for _ in range(rows)]).view(labels.shape)
    limit = int(num_samples * positive_fraction)
    is_positive, is_negative = labels == POSITIVE, labels == NEGATIVE
    num_positive = is_positive.sum(dim=-1, keepdim=True).clamp(max=limit)
    num_negative = torch.minimum(is_negative.sum(dim=-1, keepdim=True), num_samples - num_positive)
    positive = _in_order(priorities, is_positive, limit)
    negative = _in_order(priorities, is_negative, num_samples)
    slots = [torch.arange(part.shape[-1], device=labels.device) for part in (positive, negative)]
    taken = torch.cat([slots[0] < num_positive, slots[1] < num_negative], dim=-1)
    return torch.cat([positive, negative], dim=-1), taken


def _in_order(priorities: Tensor, candidates: Tensor, limit: int) -> Tensor:
    ranked = torch.where(candidates, priorities, -torch.inf)
    return ranked.topk(min(limit, ranked.shape[-1]), sorted=True).indices

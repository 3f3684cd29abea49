"""Sample labelled anchors or proposals for the losses: a fixed number with a capped share of positives.

No host–device synchronisation; all images of a batch at once.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor

from cutler_pl.models.matcher import IGNORED, NEGATIVE, POSITIVE
from cutler_pl.runtime.seeding import generator


@runtime_checkable
class Sampler(Protocol):
    """In which order candidates are taken: the highest priority first."""

    def __call__(self, count: int, device: torch.device) -> Float[Tensor, " boxes"]:
        """Finite priorities of `count` boxes."""


class RandomSampler:
    """Takes candidates at random, from one stream per device that `reseed` restarts.

    Args:
        key: Numbers that name the stream, such as (seed, rank).
    """

    def __init__(self, *key: int) -> None:
        self.key = key
        self._generators: dict[torch.device, torch.Generator] = {}

    def reseed(self, *key: int) -> None:
        """Restart from a key such as (seed, rank, step): a resumed run draws what the first one drew."""
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
        Indices of candidates, as many for every image, and which of them are taken.
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

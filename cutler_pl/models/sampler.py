"""Sample labelled anchors or proposals for the losses: a fixed number with a capped share of positives.

No host–device synchronisation; all images of a batch at once.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cutler_pl.models.matcher import IGNORED, NEGATIVE, POSITIVE
from cutler_pl.runtime.seeding import generator


@runtime_checkable
class Sampler(Protocol):
    """In which order candidates are taken: the highest priority first."""

    def __call__(self, count: int, device: torch.device) -> Float[Tensor, " boxes"]:
        """Finite priorities of `count` boxes."""


class RandomSampler:
    """Takes candidates at random, from one stream per image of a batch: what one draws does not depend on the others.

    Args:
        key: Numbers that name the stream of a single image, such as (seed, step); `reseed` names those of a batch.
    """

    def __init__(self, *key: int) -> None:
        self.reseed([key])

    def reseed(self, keys: Sequence[Sequence[int]]) -> None:
        """Restart with a batch of images, one key each, such as (seed, step, place): a resumed run draws the same."""
        self._keys = [tuple(key) for key in keys]
        self._streams: dict[tuple[int, torch.device], torch.Generator] = {}
        self._calls = 0

    def __call__(self, count: int, device: torch.device) -> Float[Tensor, " boxes"]:
        """Uniform random priorities; successive calls are for the images of the batch in turn."""
        image = self._calls % len(self._keys)
        self._calls += 1
        if (image, device) not in self._streams:
            seed = generator(*self._keys[image]).initial_seed()
            self._streams[image, device] = torch.Generator(device).manual_seed(seed)
        return torch.rand(count, device=device, generator=self._streams[image, device])

    def __getstate__(self) -> dict[str, list[tuple[int, ...]]]:
        return {"keys": self._keys}

    def __setstate__(self, state: dict[str, list[tuple[int, ...]]]) -> None:
        self.reseed(state["keys"])


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
    labels: Int8[Tensor, "*batch boxes"],
    *,
    num_samples: int,
    positive_fraction: float,
    sampler: Sampler,
    counts: Sequence[int] | None = None,
) -> tuple[Int64[Tensor, "*batch slots"], Bool[Tensor, "*batch slots"]]:
    """As `sample_labels`, but gives indices in the order they are taken: positives first, then negatives.

    Args:
        counts: Boxes of each image, where the last ones only pad the batch; None where none do.

    Returns:
        Indices of candidates, as many for every image, and which of them are taken.
    """
    if counts is None:
        counts = [labels.shape[-1]] * labels.shape[:-1].numel()
    priorities = pad_sequence([sampler(count, labels.device) for count in counts], batch_first=True).view(labels.shape)
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

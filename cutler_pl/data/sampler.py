"""Which images a training step sees: a pure function of the seed and the step, for any number of ranks.

Training is counted in steps of the optimizer, not epochs. Each pass over the data is shuffled anew, the passes follow
one another without a gap, and step s takes the s-th global batch of that endless sequence: in one forward pass, or in
several where gradients are accumulated. The sampler has no state, so that a run resumed at step s sees exactly what an
uninterrupted one sees from there on.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from torch.utils.data import Sampler

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.seeding import generator


class SampleKey(NamedTuple):
    """Names one drawn image: all its random choices follow from the seed and this."""

    step: int
    epoch: int
    image_index: int
    place: int = 0
    """Position in the global batch of the step."""


@dataclass(eq=False)
class InfiniteBatchSampler(Sampler[list[SampleKey]]):
    """Endless batch sampler of one rank.

    Args:
        batch_size: Images per forward pass over all ranks together.
        seed: Seed of the shuffling; the same on all ranks.
        rank: Rank r takes the r-th part of the images of a forward pass.
        accumulate: Forward passes per step; the global batch has `accumulate` times `batch_size` images.
        start_step: First step of each iteration.
        start_image: Position in the endless sequence of the first image; None where every step before had as many
            images as the steps now.
        landscape: Whether each image is wider than high. If given, a global batch is sorted by it, so that ranks
            mostly get images of one orientation and pad less; the images of a step do not change.

    Raises:
        ConfigError: The global batch cannot be split evenly, or there are no images.
    """

    num_images: int
    _: KW_ONLY
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    accumulate: int = 1
    start_step: int = 0
    start_image: int | None = None
    landscape: Bool[np.ndarray, " images"] | None = None

    def __post_init__(self) -> None:
        if self.num_images < 1:
            raise ConfigError("there is no image to train on")
        self.batch_size_per_rank = batch_size_per_rank(self.batch_size, self.world_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        per_step = self.accumulate * self.batch_size
        drawn = self._drawn(self.start_step * per_step if self.start_image is None else self.start_image)
        for step in count(self.start_step):
            images = list(islice(drawn, per_step))
            if (landscape := self.landscape) is not None:  # sorting is stable, so still the order of the shuffle
                images.sort(key=lambda image: bool(landscape[image[1]]))
            keys = [SampleKey(step, *image, place) for place, image in enumerate(images)]
            for first in range(self.rank * self.batch_size_per_rank, per_step, self.batch_size):
                yield keys[first : first + self.batch_size_per_rank]

    def _drawn(self, position: int) -> Iterator[tuple[int, int]]:
        """Epoch and image index of each position of the endless sequence, from `position` on."""
        first_epoch, start = divmod(position, self.num_images)
        for epoch in count(first_epoch):
            order = torch.randperm(self.num_images, generator=generator(self.seed, epoch)).numpy()
            yield from ((epoch, int(index)) for index in order[start:])
            start = 0


def batch_size_per_rank(batch_size: int, world_size: int) -> int:
    """Images per rank of a global batch.

    Raises:
        ConfigError: The global batch cannot be split evenly.
    """
    if batch_size < 1 or batch_size % world_size:
        raise ConfigError(
            f"data.batch_size={batch_size} counts the images of a step over all ranks and must be a positive multiple "
            f"of their number, {world_size}; set data.batch_size or trainer.devices"
        )
    return batch_size // world_size

"""Which images a training step sees: a pure function of the seed and the step, for any number of ranks.

Training is counted in steps, not epochs. Each pass over the data is shuffled anew, the passes follow one another
without a gap, and step s takes the s-th global batch of that endless sequence. The sampler has no state, so that a run
resumed at step s sees exactly what an uninterrupted one sees from there on.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch.utils.data import Sampler

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.reproducibility import generator


class SampleKey(NamedTuple):
    """Names one drawn image: all its random choices follow from the seed and this."""

    step: int
    epoch: int
    image_index: int


class InfiniteBatchSampler(Sampler[list[SampleKey]]):
    """Endless batch sampler of one rank.

    Args:
        num_images: Images in the dataset.
        batch_size: Images per step over all ranks together.
        seed: Seed of the shuffling; the same on all ranks.
        rank: This process.
        world_size: Number of processes; rank r takes the r-th part of each global batch.
        start_step: First step of each iteration.
        landscape: Whether each image is wider than high. If given, a global batch is sorted by it, so that ranks
            mostly get images of one orientation and pad less; the images of a step do not change.

    Raises:
        ConfigError: The global batch cannot be split evenly, or there are no images.
    """

    def __init__(
        self,
        num_images: int,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
        landscape: Bool[np.ndarray, " images"] | None = None,
    ) -> None:
        if num_images < 1:
            raise ConfigError("there is no image to train on")
        self.batch_size_per_rank = batch_size_per_rank(batch_size, world_size)
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.start_step = start_step
        self.landscape = landscape

    def __iter__(self) -> Iterator[list[SampleKey]]:
        step = self.start_step
        orders = _Orders(self.num_images, self.seed)
        while True:
            yield self._batch(step, orders)
            step += 1

    def _batch(self, step: int, orders: "_Orders") -> list[SampleKey]:
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        keys = [SampleKey(step, p // self.num_images, orders.index_at(p)) for p in positions]
        if self.landscape is not None:
            landscape = self.landscape
            keys.sort(key=lambda key: bool(landscape[key.image_index]))  # stable, so still the order of the shuffle
        first = self.rank * self.batch_size_per_rank
        return keys[first : first + self.batch_size_per_rank]


class _Orders:
    """The endless sequence of image indices; holds one shuffled pass at a time."""

    def __init__(self, num_images: int, seed: int) -> None:
        self.num_images = num_images
        self.seed = seed
        self.epoch = -1
        self.order: Int64[np.ndarray, " images"] = np.empty(0, dtype=np.int64)

    def index_at(self, position: int) -> int:
        epoch, index = divmod(position, self.num_images)
        if epoch != self.epoch:
            self.epoch = epoch
            self.order = torch.randperm(self.num_images, generator=generator(self.seed, epoch)).numpy()
        return int(self.order[index])


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

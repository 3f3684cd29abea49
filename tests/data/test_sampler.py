from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutler_pl.data.sampler import InfiniteBatchSampler, SampleKey
from cutler_pl.errors import ConfigError


def batches(steps: int, *, num_images: int = 10, batch_size: int = 4, seed: int = 0, **kwargs) -> list[list[SampleKey]]:
    return list(islice(InfiniteBatchSampler(num_images, batch_size=batch_size, seed=seed, **kwargs), steps))


@given(
    num_images=st.integers(1, 40),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 1000),
    start_step=st.integers(0, 30),
)
def test_resumed_sampler_equals_uninterrupted(num_images: int, batch_size: int, seed: int, start_step: int) -> None:
    settings = {"num_images": num_images, "batch_size": batch_size, "seed": seed}
    whole = batches(start_step + 5, **settings)
    assert batches(5, **settings, start_step=start_step) == whole[start_step:]


@given(num_images=st.integers(1, 30), batch_size=st.integers(1, 8), seed=st.integers(0, 1000))
def test_every_image_comes_once_an_epoch(num_images: int, batch_size: int, seed: int) -> None:
    keys = [
        key
        for batch in batches(3 * num_images, num_images=num_images, batch_size=batch_size, seed=seed)
        for key in batch
    ]
    for epoch in range(3):
        in_epoch = [key.image_index for key in keys if key.epoch == epoch]
        assert sorted(in_epoch) == list(range(num_images))


@given(
    num_images=st.integers(1, 30),
    per_rank=st.integers(1, 4),
    world_size=st.integers(1, 4),
    seed=st.integers(0, 1000),
    sort=st.booleans(),
)
def test_ranks_share_each_batch_out_among_them(
    num_images: int, per_rank: int, world_size: int, seed: int, sort: bool
) -> None:
    landscape = np.random.default_rng(seed).random(num_images) < 0.5 if sort else None
    settings = {"num_images": num_images, "batch_size": per_rank * world_size, "seed": seed}
    alone = batches(4, **settings)
    ranks = [batches(4, **settings, rank=r, world_size=world_size, landscape=landscape) for r in range(world_size)]
    for step, batch in enumerate(alone):
        parts = [rank[step] for rank in ranks]
        assert all(len(part) == per_rank for part in parts)
        assert sorted(key[:3] for part in parts for key in part) == sorted(key[:3] for key in batch)
        assert [key.place for part in parts for key in part] == list(range(len(batch)))


@given(
    num_images=st.integers(1, 30),
    per_pass=st.integers(1, 3),
    world_size=st.integers(1, 3),
    accumulate=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_accumulated_batches_make_the_global_batch(
    num_images: int, per_pass: int, world_size: int, accumulate: int, seed: int
) -> None:
    """Passes and ranks together take the images of a step in order, whatever their number."""
    landscape = np.random.default_rng(seed).random(num_images) < 0.5
    images = per_pass * world_size
    settings = {"num_images": num_images, "seed": seed, "landscape": landscape}
    whole = batches(3, **settings, batch_size=images * accumulate)
    split = {"batch_size": images, "accumulate": accumulate, "world_size": world_size}
    ranks = [batches(3 * accumulate, **settings, **split, rank=rank) for rank in range(world_size)]
    for step, batch in enumerate(whole):
        passes = range(step * accumulate, (step + 1) * accumulate)
        assert [key for i in passes for rank in ranks for key in rank[i]] == batch


def test_changed_batch_goes_on_with_the_next_image() -> None:
    sequence = [key[1:3] for batch in batches(12) for key in batch]
    resumed = batches(6, batch_size=2, start_step=3, start_image=12)
    assert [key.step for key in resumed[0]] == [3, 3]
    assert [key[1:3] for batch in resumed for key in batch] == sequence[12:24]


def test_ranks_mostly_get_images_of_one_orientation() -> None:
    landscape = np.arange(64) % 2 == 0
    ranks = [batches(20, num_images=64, batch_size=16, rank=r, world_size=8, landscape=landscape) for r in range(8)]
    mixed = sum(len({landscape[key.image_index] for key in batch}) > 1 for rank in ranks for batch in rank)
    assert mixed <= 20  # at most the one rank at the border of each step; without sorting about 80 of 160


def test_order_differs_between_epochs_and_seeds() -> None:
    first, second = batches(2, num_images=50, batch_size=50)
    other = batches(1, num_images=50, batch_size=50, seed=1)[0]
    orders = [[key.image_index for key in batch] for batch in (first, second, other)]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


@pytest.mark.parametrize(("batch_size", "world_size"), [(5, 2), (0, 1), (2, 4)])
def test_refuse_batch_that_does_not_split(batch_size: int, world_size: int) -> None:
    with pytest.raises(ConfigError, match=r"data\.batch_size"):
        InfiniteBatchSampler(10, batch_size=batch_size, seed=0, world_size=world_size)


def test_no_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="no image"):
        InfiniteBatchSampler(0, batch_size=1, seed=0)

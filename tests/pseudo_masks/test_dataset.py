import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cutler_pl.pseudo_masks.dataset import MaskCutDataset
from cutler_pl.pseudo_masks.options import JobShard, RunOptions


@pytest.fixture
def names(write_image: Callable[..., Path]) -> list[str]:
    found = [f"{letter}/größe {number}.png" for letter in "ab" for number in range(3)]
    for seed, name in enumerate(found):
        write_image(name, (20 + seed, 30), seed=seed)
    return found


def batches(root: Path, names: list[str], *, done: list[str] | None = None, **options: Any) -> MaskCutDataset:
    limits: dict[str, Any] = {"num_workers": 0, "threads": 2, "max_failure_rate": 0.1}
    run = RunOptions(batch_size=2, fixed_size=16, **limits, shard=options.pop("shard", JobShard()))
    return MaskCutDataset(root, names, is_done=lambda name: name in (done or []), options=run, **options)


def test_resize_as_pillow_does(tmp_path: Path, names: list[str]) -> None:
    batch = batches(tmp_path, names)[1]
    assert batch.names == names[2:4]
    assert batch.sizes_hw == [(22, 30), (23, 30)]
    expected = Image.open(tmp_path / names[3]).resize((16, 16), Image.Resampling.LANCZOS)
    assert torch.equal(batch.pixels[1], torch.from_numpy(np.array(expected)).permute(2, 0, 1))


def test_divide_batches_among_shards_and_ranks(tmp_path: Path, names: list[str]) -> None:
    """Shards and processes divide the batches without changing them."""
    shares = []
    for index in range(2):
        for rank in range(2):
            share = batches(tmp_path, names, shard=JobShard(index, 2))
            share.split(rank, 2)
            shares += [share[i].names for i in range(len(share))]
    assert sorted(shares) == [names[0:2], names[2:4], names[4:6]]


def test_pending_batch_is_done_whole(tmp_path: Path, names: list[str]) -> None:
    partly = batches(tmp_path, names, done=[name for name in names if name != names[2]])
    assert len(partly) == 1
    assert partly.num_images == 1
    assert partly[0].names == names[2:4]


def test_failing_image_spares_its_neighbors(tmp_path: Path, names: list[str]) -> None:
    """An image that fails again does not cost its neighbors a second time."""
    (tmp_path / names[2]).write_bytes(b"")
    (tmp_path / names[3]).unlink()  # would be a failure if it were read
    batch = batches(tmp_path, names, done=[name for name in names if name != names[2]])[0]
    assert batch.names == []
    assert batch.pixels.shape == (0, 3, 16, 16)
    assert list(batch.failures) == [names[2]]
    assert str(tmp_path) not in batch.failures[names[2]]


def test_previews_keep_proportions(tmp_path: Path, names: list[str]) -> None:
    assert batches(tmp_path, names)[0].previews == [None, None]
    previews = batches(tmp_path, names, preview_side=15)[1].previews
    expected = Image.open(tmp_path / names[3])
    expected.thumbnail((15, 15), Image.Resampling.LANCZOS)
    assert previews[1] is not None
    assert (previews[1] == np.array(expected)).all()


def test_name_that_is_not_utf8(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    name = os.fsdecode(b"gr\xf6\xdfe.png")
    write_image("a.png", (20, 30), seed=0).rename(tmp_path / name)
    assert batches(tmp_path, [name])[0].names == [name]

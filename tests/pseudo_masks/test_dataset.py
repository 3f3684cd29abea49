from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cutler_pl.pseudo_masks.dataset import MaskCutDataset


@pytest.fixture
def names(write_image: Callable[..., Path]) -> list[str]:
    found = [f"{letter}/größe {number}.png" for letter in "ab" for number in range(3)]
    for seed, name in enumerate(found):
        write_image(name, (20 + seed, 30), seed=seed)
    return found


def batches(root: Path, names: list[str], *, pending: list[bool] | None = None, **options: object) -> MaskCutDataset:
    left = np.array(pending if pending is not None else [True] * len(names))
    return MaskCutDataset(root, names, pending=left, batch_size=2, fixed_size=16, **options)  # type: ignore[arg-type]


def test_photos_are_resized_as_pillow_does_and_keep_their_sizes(tmp_path: Path, names: list[str]) -> None:
    batch = batches(tmp_path, names)[1]
    assert batch.names == names[2:4]
    assert batch.sizes_hw == [(22, 30), (23, 30)]
    expected = Image.open(tmp_path / names[3]).resize((16, 16), Image.Resampling.LANCZOS)
    assert torch.equal(batch.pixels[1], torch.from_numpy(np.array(expected)).permute(2, 0, 1))


def test_parts_and_processes_divide_the_batches_without_changing_them(tmp_path: Path, names: list[str]) -> None:
    shares = []
    for index in range(2):
        for rank in range(2):
            share = batches(tmp_path, names, part=(index, 2))
            share.split(rank, 2)
            shares += [share[i].names for i in range(len(share))]
    assert sorted(shares) == [names[0:2], names[2:4], names[4:6]]


def test_a_batch_with_something_left_to_do_is_done_whole(tmp_path: Path, names: list[str]) -> None:
    partly = batches(tmp_path, names, pending=[False, False, True, False, False, False])
    assert len(partly) == 1
    assert partly.num_photos == 1
    assert partly[0].names == names[2:4]


def test_photos_that_fail_again_do_not_cost_their_neighbours_a_second_time(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / names[2]).write_bytes(b"")
    (tmp_path / names[3]).unlink()  # would be a failure if it were read
    batch = batches(tmp_path, names, pending=[False, False, True, False, False, False])[0]
    assert batch.names == []
    assert batch.pixels.shape == (0, 3, 16, 16)
    assert list(batch.failures) == [names[2]]
    assert str(tmp_path) not in batch.failures[names[2]]

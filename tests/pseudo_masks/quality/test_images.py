"""Unreadable images and near-duplicates."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutler_pl.errors import AnnotationError
from cutler_pl.pseudo_masks.quality.images import ImageFigures, difference_hash, near_duplicates, read_images

SIZE = (40, 60)


def read(folder: Path, names: list[str], *, max_images: int = 100) -> ImageFigures:
    sizes = dict.fromkeys(names, SIZE)
    return read_images(folder, sizes, source="a.json", max_images=max_images, max_distance=4)


def test_hash_has_a_bit_per_rise() -> None:
    ramp = np.repeat(np.linspace(0, 240, 9, dtype=np.uint8)[None, :, None], 8, 0).repeat(3, 2)
    assert difference_hash(ramp) == 2**64 - 1
    assert difference_hash(ramp[:, ::-1].copy()) == 0
    ramp[0] = 7  # the first row is flat
    assert difference_hash(ramp) == 2**56 - 1


def test_group_near_hashes_of_like_colors() -> None:
    hashes = np.array([0, 0b1111, 0b11111, 2**63, 0], dtype=np.uint64)
    colors = np.array([[10, 10, 10]] * 4 + [[200, 10, 10]], dtype=float)
    assert near_duplicates(hashes, colors, max_distance=4) == [[0, 1, 2, 3]]  # a chain: 1 and 2 differ by one bit
    assert near_duplicates(hashes, colors, max_distance=0) == []
    assert near_duplicates(hashes[:0], colors[:0], max_distance=4) == []


def test_find_copies_of_other_size_and_quality(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (6, 9, 3), dtype=np.uint8)).resize((60, 40), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.png")
    smooth.save(tmp_path / "b.jpg", quality=60)
    write_image("c.png", SIZE, seed=1)
    figures = read(tmp_path, ["a.png", "b.jpg", "c.png"])
    assert figures.near_duplicates == [["a.png", "b.jpg"]]
    assert figures.duplicate_share == pytest.approx(1 / 3)


def test_name_what_cannot_be_read(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    for name in ("a.png", "new.png"):
        write_image(name, SIZE, seed=1)
    write_image("turned.png", (SIZE[1], SIZE[0]), seed=2)
    (tmp_path / "broken.png").write_bytes(b"no image")
    figures = read(tmp_path, ["a.png", "turned.png", "broken.png", "gone.png"])
    assert sorted(figures.unreadable) == ["broken.png", "gone.png", "turned.png"]
    assert "according to its annotations" in figures.unreadable["turned.png"]
    assert figures.without_record == ["new.png"]
    assert figures.longer_side == 60


def test_open_a_bounded_number(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    names = [write_image(f"{number}.png", SIZE, seed=number).name for number in range(6)]
    assert read(tmp_path, names, max_images=3).opened == 3


def test_refuse_other_images(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    write_image("a.png", SIZE, seed=1)
    with pytest.raises(AnnotationError, match="none of its 1 images is in"):
        read(tmp_path, ["b.png"])

"""Windows that cover an image."""

from itertools import pairwise

import numpy as np
import pytest

from cutler_pl.errors import ConfigError
from cutler_pl.ops.tiles import TileParams, Window, tile_windows


@pytest.mark.parametrize("size_hw", [(300, 700), (256, 257), (1000, 64), (512, 512)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_windows_cover_the_image_and_overlap(size_hw: tuple[int, int], overlap: float) -> None:
    windows = tile_windows(size_hw, TileParams(tile=256, overlap=overlap))
    covered = np.zeros(size_hw, dtype=int)
    for top, left, bottom, right in windows:
        assert bottom <= size_hw[0]
        assert right <= size_hw[1]
        assert (bottom - top, right - left) == tuple(min(side, 256) for side in size_hw)
        covered[top:bottom, left:right] += 1
    assert covered.min() == 1
    for axis in (0, 1):
        starts = sorted({window[axis] for window in windows})
        assert all(after - before <= 256 * (1 - overlap) for before, after in pairwise(starts))


def test_small_image_is_one_window() -> None:
    assert tile_windows((100, 256), TileParams(tile=256)) == [Window(0, 0, 100, 256)]


def test_refuse_tiles_that_hardly_advance() -> None:
    with pytest.raises(ConfigError, match=r"overlap=0\.95: expected a number from 0 to 0\.9"):
        TileParams(overlap=0.95)

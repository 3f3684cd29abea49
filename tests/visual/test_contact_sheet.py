import numpy as np
import pytest

from cutler_pl.errors import InputError
from cutler_pl.visual.contact_sheet import contact_sheet


def panel(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, dtype=np.uint8)


def test_pictures_of_all_sizes_stand_in_rows_of_one_height() -> None:
    one = contact_sheet([panel(30, 40)], ["a"], height=64)
    sheet = contact_sheet([panel(30, 40), panel(64, 64), panel(10, 30)], list("abc"), columns=2, height=64)
    assert sheet.shape[0] == 2 * one.shape[0]
    assert (sheet[-1, -1] == 255).all(), "the last row is filled with white"
    assert (sheet == 90).any()


def test_no_pictures_and_missing_titles_are_refused() -> None:
    with pytest.raises(InputError, match="found 0 pictures and 0 titles"):
        contact_sheet([], [])
    with pytest.raises(InputError, match="found 1 pictures and 0 titles"):
        contact_sheet([panel(4, 4)], [])

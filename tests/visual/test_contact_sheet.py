import numpy as np
import pytest

from cutler_pl.errors import InputError
from cutler_pl.visual.contact_sheet import contact_sheet, side_by_side


def panel(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, dtype=np.uint8)


def test_rows_of_one_height() -> None:
    one = contact_sheet([panel(30, 40)], ["a"], height=64)
    sheet = contact_sheet([panel(30, 40), panel(64, 64), panel(10, 30)], list("abc"), columns=2, height=64)
    assert sheet.shape[0] == 2 * one.shape[0]
    assert (sheet[-1, -1] == 255).all(), "the last row is filled with white"
    assert (sheet == 90).any()


def test_refuse_empty_sheet() -> None:
    with pytest.raises(InputError, match="found 0 images and 0 titles"):
        contact_sheet([], [])
    with pytest.raises(InputError, match="found 1 images and 0 titles"):
        contact_sheet([panel(4, 4)], [])


def _image(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_panels_share_height_in_order() -> None:
    red = np.full((50, 50, 3), (200, 0, 0), dtype=np.uint8)
    green = np.full((100, 60, 3), (0, 200, 0), dtype=np.uint8)
    row = side_by_side([red, green])
    middle = row[row.shape[0] // 2]
    assert row.shape[0] >= 100
    assert np.flatnonzero((middle == (200, 0, 0)).all(axis=1)).size == 100
    assert np.flatnonzero((middle == (0, 200, 0)).all(axis=1)).size == 60
    assert (
        np.flatnonzero((middle == (200, 0, 0)).all(axis=1)).max()
        < np.flatnonzero((middle == (0, 200, 0)).all(axis=1)).min()
    )


def test_titles_above_shortened() -> None:
    panel = np.full((60, 60, 3), 128, dtype=np.uint8)
    plain, titled = (
        side_by_side([panel, panel]),
        side_by_side([panel, panel], ["a", "a title far too long for its panel"]),
    )
    assert titled.shape[1] == plain.shape[1]
    added = titled.shape[0] - plain.shape[0]
    assert added > 8
    title_bar = titled[:added]
    assert (title_bar < 128).any()
    assert (title_bar[:, -3:] == 255).all()


@pytest.mark.parametrize(("panels", "titles"), [(0, None), (2, ["one"])])
def test_refuse_missing_panels_or_titles(panels: int, titles: list[str] | None) -> None:
    with pytest.raises(InputError, match=f"found {panels} images"):
        side_by_side([_image()] * panels, titles)


def test_elongated_image_fits_its_row() -> None:
    """An image of 2×5000 scaled to a height of 420 would be a million pixels wide."""
    sheet = side_by_side([panel(2, 5000), panel(5000, 2)], ["wide", "high"], height=420)
    assert sheet.shape[0] < 480
    assert sheet.shape[1] < 4 * 420 + 60

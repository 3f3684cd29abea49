"""Contact sheets: many pictures on one, each with a title, to check a data set by eye."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from cutler_pl.errors import InputError
from cutler_pl.visual.draw import side_by_side

_WHITE = 255


def contact_sheet(
    panels: Sequence[UInt8[np.ndarray, "_ _ 3"]], titles: Sequence[str], *, columns: int = 4, height: int = 320
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Put pictures into rows.

    Args:
        panels: Pictures of any sizes.
        titles: One a picture.
        columns: Pictures in a row.
        height: Height of each picture on the sheet in pixels.

    Raises:
        InputError: No pictures, or another number of titles.
    """
    if not panels or len(titles) != len(panels):
        raise InputError(f"expected pictures with a title each, found {len(panels)} pictures and {len(titles)} titles")
    rows = [
        side_by_side(panels[start : start + columns], titles[start : start + columns], height=height)
        for start in range(0, len(panels), columns)
    ]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=_WHITE) for row in rows]
    return np.concatenate(padded)

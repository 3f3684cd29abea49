"""Fill polygons by the even-odd rule at pixel centers, in floating point, as the formats' readers here need it."""

import numpy as np
from jaxtyping import Bool


def fill(xy: np.ndarray, size_hw: tuple[int, ...]) -> Bool[np.ndarray, "height width"]:
    """Pixels whose center lies inside the ring."""
    height, width = size_hw
    start = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    end = np.roll(start, -1, axis=0)
    centers = np.arange(width) + 0.5
    mask = np.zeros((height, width), dtype=bool)
    for row in range(height):
        y = row + 0.5
        crossing = (start[:, 1] > y) != (end[:, 1] > y)
        (x0, y0), (x1, y1) = start[crossing].T, end[crossing].T
        x = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        mask[row] = (centers[:, None] > x[None]).sum(axis=1) % 2 == 1
    return mask

"""A map on the patch grid, such as an eigenvector, over the greyscale image."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Num, UInt8
from PIL import Image
from torch import Tensor

from cutler_pl.visual.colors import diverging_table
from cutler_pl.visual.draw import to_image_array, to_numpy


def draw_heatmap(
    image: UInt8[np.ndarray, "height width 3"] | UInt8[Tensor, "3 height width"],
    values: Num[np.ndarray, "h w"] | Num[Tensor, "h w"],
    *,
    center: float | Literal["mean"] = "mean",
    limit: float | None = None,
    opacity: float = 0.65,
    interpolation: Literal["nearest", "bilinear"] = "nearest",
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a map over the greyscale image: blue below the center, red above.

    Args:
        image: Shown in grey below the map; not changed.
        values: The map; its grid is stretched over the whole image.
        center: Value shown neutral: a number, or the mean of `values`, where MaskCut splits an eigenvector.
        limit: Distance from the center that gets the full color; by default the largest one in `values`.
        opacity: 1 shows the map alone.
        interpolation: "nearest" shows the patches as they are, "bilinear" a smooth map.

    Returns:
        A new image of the size of `image`. Values that are not finite are black.
    """
    grid = to_numpy(values).astype(np.float32)
    known = grid[np.isfinite(grid)].astype(np.float64)
    middle = float(known.mean() if known.size else 0.0) if center == "mean" else center
    reach = limit if limit is not None else float(np.abs(known - middle).max(initial=0.0))

    pixels = to_image_array(image)
    mode = "nearest-exact" if interpolation == "nearest" else "bilinear"
    stretched = torch.nn.functional.interpolate(torch.from_numpy(grid)[None, None], pixels.shape[:2], mode=mode)[0, 0]
    finite = torch.isfinite(stretched).numpy()
    offset = np.where(finite, stretched.numpy() - middle, 0.0) / (reach if reach > 0 else 1.0)
    table = diverging_table()
    half = len(table) // 2
    colors = table[np.rint(offset.clip(-1, 1) * half).astype(np.int64) + half].astype(np.float32)
    colors[~finite] = 0.0
    grey = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float32)[..., None]
    blended: np.ndarray = np.rint(opacity * colors + (1 - opacity) * grey).clip(0, 255)
    return blended.astype(np.uint8)

"""A patch map, such as an eigenvector, over the grayscale image."""

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
    reach: float | None = None,
    opacity: float = 0.65,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a map over a grayscale copy of an image: blue below the center, red above, non-finite values black.

    Args:
        image: Pixels 0..255.
        values: The map, stretched over the image.
        center: Neutral value: a number, or the mean of `values`, where MaskCut splits an eigenvector.
        reach: Distance from the center of the strongest color; None: the largest there is.
        opacity: Weight of the map, 0..1.
    """
    grid = to_numpy(values).astype(np.float32)
    known = grid[np.isfinite(grid)].astype(np.float64)
    middle = float(known.mean() if known.size else 0.0) if center == "mean" else center
    if reach is None:
        reach = float(np.abs(known - middle).max(initial=0.0))

    pixels = to_image_array(image)
    planes = torch.from_numpy(grid)[None, None]
    stretched = torch.nn.functional.interpolate(planes, pixels.shape[:2], mode="nearest-exact")[0, 0]
    finite = torch.isfinite(stretched).numpy()
    offset = np.where(finite, stretched.numpy() - middle, 0.0) / (reach if reach > 0 else 1.0)
    table = diverging_table()
    half = len(table) // 2
    colors = table[np.rint(offset.clip(-1, 1) * half).astype(np.int64) + half].astype(np.float32)
    colors[~finite] = 0.0
    grey = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float32)[..., None]
    blended: np.ndarray = np.rint(opacity * colors + (1 - opacity) * grey).clip(0, 255)
    return blended.astype(np.uint8)

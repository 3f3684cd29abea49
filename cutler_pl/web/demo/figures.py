"""Figures of one answer, at the size that a page shows."""

import base64
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.coco.schema import RLE
from cutler_pl.visual.image_files import encode_image

MAX_SIDE = 1024
"""Longest side of the large figures."""
_FIGURE = ".webp"

Pixels = UInt8[np.ndarray, "height width 3"]


def shrink(image: UInt8[np.ndarray, "_ _ 3"], *, max_side: int = MAX_SIDE) -> UInt8[np.ndarray, "_ _ 3"]:
    """The image with a longer side of at most `max_side` pixels."""
    canvas = Image.fromarray(image)
    canvas.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.array(canvas)


def stretch(mask: Bool[np.ndarray, "_ _"], size_hw: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """A mask of any grid over a figure, each of its cells a rectangle."""
    height, width = size_hw
    return np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def stretch_all(masks: Sequence[RLE], size_hw: tuple[int, int]) -> Bool[np.ndarray, "boxes height width"]:
    """Encoded masks over a figure, decoded one at a time: full-size masks of all objects would not fit in memory."""
    stretched = [stretch(rle.decode(mask), size_hw) for mask in masks]
    return np.array(stretched, dtype=bool).reshape(-1, *size_hw)


def embedded(image: Pixels) -> str:
    """The address of a figure that is part of the page."""
    return f"data:image/webp;base64,{base64.b64encode(encode_image(image, suffix=_FIGURE)).decode('ascii')}"

"""Images with titles, side by side and in rows."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from cutler_pl.errors import InputError

_BACKGROUND = (255, 255, 255)
_MAX_WIDTH = 4
"""Largest width of a panel, in heights of its row."""


def contact_sheet(
    panels: Sequence[UInt8[np.ndarray, "_ _ 3"]], titles: Sequence[str], *, columns: int = 4, height: int = 320
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Put images of any sizes, scaled to `height` pixels as in `side_by_side`, into rows of `columns`.

    Raises:
        InputError: No images, or another number of titles.
    """
    _check(panels, titles)
    parts = [slice(start, start + columns) for start in range(0, len(panels), columns)]
    rows = [side_by_side(panels[part], titles[part], height=height) for part in parts]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=_BACKGROUND[0]) for row in rows]
    return np.concatenate(padded)


def side_by_side(
    panels: Sequence[UInt8[np.ndarray, "_ _ 3"]], titles: Sequence[str] | None = None, *, height: int | None = None
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Put images in one row with a title above each.

    Args:
        panels: Images of any sizes, scaled to the common height, or less: none is wider than `_MAX_WIDTH` heights.
        titles: One per image; too long ones end in "…".
        height: Common height in pixels; by default the largest.

    Raises:
        InputError: No panels, or another number of titles than of panels.
    """
    _check(panels, titles)
    rows = height or max(panel.shape[0] for panel in panels)
    scaled = [_to_height(panel, rows) for panel in panels]
    font = _font(max(11, round(rows / 18)))
    gap = max(4, rows // 60)
    top = gap + (round(font.size * 1.5) if titles is not None else 0)
    canvas = Image.new("RGB", (gap + sum(panel.width + gap for panel in scaled), top + rows + gap), _BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    left = gap
    for index, panel in enumerate(scaled):
        canvas.paste(panel, (left, top))
        if titles is not None:
            pen.text((left, gap // 2), _shorten(titles[index], font, panel.width), fill=(0, 0, 0), font=font)
        left += panel.width + gap
    return np.array(canvas)


def _check(panels: Sequence[np.ndarray], titles: Sequence[str] | None) -> None:
    if not panels or (titles is not None and len(titles) != len(panels)):
        found = "none" if titles is None else len(titles)
        raise InputError(f"expected images with one title each, found {len(panels)} images and {found} titles")


def _to_height(panel: UInt8[np.ndarray, "_ _ 3"], height: int) -> Image.Image:
    image = Image.fromarray(panel)
    scale = min(height / image.height, _MAX_WIDTH * height / image.width)
    size_wh = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size_wh == image.size else image.resize(size_wh, Image.Resampling.LANCZOS)


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    shortened = [text, *(text[:end] + "…" for end in range(len(text) - 1, 0, -1))]
    return next((part for part in shortened if font.getlength(part) <= width), "…")


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("this build of Pillow has no FreeType; install Pillow from PyPI")
    return font

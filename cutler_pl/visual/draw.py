"""Pictures as arrays: instances on a photo, a patch-grid map on a photo, panels side by side.

Everything is drawn into plain uint8 arrays, without a display, global plotting state or randomness: the same input
gives the same pixels. Line widths and text grow with the image.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Num, UInt8
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch import Tensor

from cutler_pl.errors import InputError
from cutler_pl.runtime.files import write_bytes
from cutler_pl.visual.colors import diverging_table, instance_color, text_color

_REFERENCE_SIDE = 640  # lines are 3 pixels wide and text 16 pixels high on an image of this size
_JPEG_QUALITY = 90


def draw_instances(
    image: UInt8[np.ndarray, "height width 3"] | UInt8[Tensor, "3 height width"],
    masks: Bool[np.ndarray, "boxes height width"] | Bool[Tensor, "boxes height width"] | None,
    *,
    boxes: Num[np.ndarray, "boxes 4"] | Num[Tensor, "boxes 4"] | None = None,
    scores: Float[np.ndarray, " boxes"] | Float[Tensor, " boxes"] | Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
    opacity: float = 0.45,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw objects on a photo: translucent masks with crisp outlines, boxes, and a tag with label and score.

    The n-th object always has the n-th colour. Large masks are drawn first, so that small ones stay visible.

    Args:
        image: Pixels 0..255, as an array (height, width, 3) or a tensor (3, height, width); not changed.
        masks: Masks of the objects at image size, or None to draw boxes alone.
        boxes: Boxes as xyxy pixels, one an object.
        scores: Scores in 0..1, one an object.
        labels: Text, one an object.
        opacity: Share of the colour inside a mask, 0 to 1; the outline is opaque.

    Returns:
        A new picture of the size of `image`.

    Raises:
        InputError: Masks, boxes, scores and labels disagree in number, or masks and image in size.
    """
    picture = as_picture(image)
    height, width = picture.shape[:2]
    mask_array = None if masks is None else _to_numpy(masks)
    box_array = None if boxes is None else _to_numpy(boxes).astype(np.float64)
    if mask_array is not None and mask_array.shape[1:] != (height, width):
        raise InputError(f"masks of {mask_array.shape[1:]} do not fit an image of {(height, width)} (height, width)")
    count = _common_length(masks=mask_array, boxes=box_array, scores=scores, labels=labels)
    line = max(1, round(3 * max(height, width) / _REFERENCE_SIDE))
    if mask_array is not None:
        areas = mask_array.sum(axis=(1, 2))
        for index in np.argsort(-areas, kind="stable"):
            _paint_mask(picture, mask_array[index], instance_color(int(index)), opacity=opacity, line=line)
    tagged = scores is not None or labels is not None
    if box_array is None and not tagged:
        return picture
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    if box_array is not None:
        for index, box in enumerate(box_array):
            _draw_box(pen, box, instance_color(index), line=line)
    for index in range(count if tagged else 0):  # tags last: no box may cross a text
        corner = (0.0, 0.0)
        if box_array is not None:
            corner = (float(box_array[index, 0]), float(box_array[index, 1]))
        elif mask_array is not None:
            x0, y0, _, _ = _extent(mask_array[index])
            corner = (float(x0), float(y0))
        text = _tag(index, labels=labels, scores=scores)
        _draw_tag(pen, text, corner, instance_color(index), size_hw=(height, width))
    return np.array(canvas)


def draw_heatmap(
    image: UInt8[np.ndarray, "height width 3"] | UInt8[Tensor, "3 height width"],
    values: Num[np.ndarray, "h w"] | Num[Tensor, "h w"],
    *,
    center: float | Literal["mean"] = "mean",
    limit: float | None = None,
    opacity: float = 0.65,
    interpolation: Literal["nearest", "bilinear"] = "nearest",
) -> UInt8[np.ndarray, "height width 3"]:
    """Show a map on the patch grid, such as an eigenvector, over the greyscale photo: blue below the centre, red above.

    Args:
        image: The photo; its greys shine through. Not changed.
        values: The map; its grid is stretched over the whole image.
        center: Value shown neutral: a number, or the mean of `values`, where MaskCut splits an eigenvector.
        limit: Distance from the centre that gets the full colour; by default the largest one in `values`.
        opacity: 1 shows the map alone.
        interpolation: "nearest" shows the patches as they are, "bilinear" a smooth map.

    Returns:
        A new picture of the size of `image`. Values that are not finite are drawn black.
    """
    picture = as_picture(image)
    height, width = picture.shape[:2]
    grid = torch.as_tensor(_to_numpy(values).astype(np.float32))[None, None]
    mode = "nearest-exact" if interpolation == "nearest" else "bilinear"
    stretched = torch.nn.functional.interpolate(grid, (height, width), mode=mode)[0, 0].numpy()
    finite = np.isfinite(stretched)
    known = _to_numpy(values)[np.isfinite(_to_numpy(values))].astype(np.float64)
    middle = float(known.mean()) if center == "mean" and known.size else float(0.0 if center == "mean" else center)
    reach = limit if limit is not None else float(np.abs(known - middle).max(initial=0.0))
    offset = np.where(finite, stretched - middle, 0.0) / (reach if reach > 0 else 1.0)
    table = diverging_table()
    half = len(table) // 2
    colors = table[np.rint(offset.clip(-1, 1) * half).astype(np.int64) + half].astype(np.float32)
    colors[~finite] = 0.0
    grey = np.asarray(Image.fromarray(picture).convert("L"), dtype=np.float32)[..., None]
    blended: np.ndarray = np.rint(opacity * colors + (1 - opacity) * grey).clip(0, 255)
    return blended.astype(np.uint8)


def side_by_side(
    panels: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    titles: Sequence[str] | None = None,
    *,
    height: int | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Put pictures in one row with a title above each.

    Args:
        panels: Pictures, of any sizes; each is scaled to the common height.
        titles: One a picture; shortened with "…" where the picture is narrower than its title.
        height: Common height of the panels in pixels; by default the largest.
        background: Colour of margins and title bar.

    Raises:
        InputError: No panels, or another number of titles than of panels.
    """
    if not panels or (titles is not None and len(titles) != len(panels)):
        raise InputError(f"expected panels with a title each, found {len(panels)} panels and titles {titles!r}")
    rows = height or max(panel.shape[0] for panel in panels)
    scaled = [_to_height(panel, rows) for panel in panels]
    font = _font(max(11, round(rows / 18)))
    gap = max(4, rows // 60)
    top = gap + (round(font.size * 1.5) if titles is not None else 0)
    total = gap + sum(panel.width + gap for panel in scaled)
    canvas = Image.new("RGB", (total, top + rows + gap), background)
    pen = ImageDraw.Draw(canvas)
    ink = text_color(np.array(background, dtype=np.uint8))
    left = gap
    for index, panel in enumerate(scaled):
        canvas.paste(panel, (left, top))
        if titles is not None:
            pen.text((left, gap // 2), _shorten(titles[index], font, panel.width), fill=ink, font=font)
        left += panel.width + gap
    return np.array(canvas)


def save_picture(
    path: str | Path, picture: UInt8[np.ndarray, "height width 3"], *, max_side: int | None = None
) -> None:
    """Write a picture atomically as JPEG, PNG or WebP, by the suffix; the same pixels give the same bytes.

    Args:
        path: File to write; parent folders are made.
        picture: RGB pixels.
        max_side: Shrink so that the longer side has at most this many pixels.
    """
    write_bytes(path, encode_picture(picture, suffix=Path(path).suffix, max_side=max_side))


def encode_picture(picture: UInt8[np.ndarray, "height width 3"], *, suffix: str, max_side: int | None = None) -> bytes:
    """A picture as the bytes of a file whose name ends in `suffix`; see `save_picture`."""
    canvas = Image.fromarray(picture)
    if max_side is not None:
        canvas.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    kind = Image.registered_extensions()[suffix.lower()]
    options = {"quality": _JPEG_QUALITY} if kind in {"JPEG", "WEBP"} else {}
    buffer = BytesIO()
    canvas.save(buffer, format=kind, **options)
    return buffer.getvalue()


def as_picture(
    image: UInt8[np.ndarray, "height width 3"] | UInt8[Tensor, "3 height width"],
) -> UInt8[np.ndarray, "height width 3"]:
    """A fresh, writable array (height, width, 3) of an image that may be a tensor (3, height, width) on any device."""
    if isinstance(image, Tensor):
        return np.ascontiguousarray(image.detach().cpu().permute(1, 2, 0).numpy()).copy()
    return image.copy()


def _to_numpy(values: np.ndarray | Tensor) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _common_length(**parts: Sequence[object] | np.ndarray | Tensor | None) -> int:
    lengths = {name: len(part) for name, part in parts.items() if part is not None}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise InputError(f"expected one of each an object, found {found}")
    return next(iter(lengths.values()), 0)


def _extent(mask: Bool[np.ndarray, "height width"]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return (0, 0, 0, 0)
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _paint_mask(
    picture: UInt8[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "height width"],
    color: UInt8[np.ndarray, "3"],
    *,
    opacity: float,
    line: int,
) -> None:
    x0, y0, x1, y1 = _extent(mask)
    if x1 == x0:
        return
    inside = mask[y0:y1, x0:x1]
    view = picture[y0:y1, x0:x1]
    blended = opacity * color.astype(np.float32) + (1 - opacity) * view[inside].astype(np.float32)
    view[inside] = np.rint(blended).astype(np.uint8)
    view[inside & ~ndimage.binary_erosion(inside, iterations=line)] = color


def _draw_box(
    pen: ImageDraw.ImageDraw, box: Float[np.ndarray, "4"], color: UInt8[np.ndarray, "3"], *, line: int
) -> None:
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    if x1 > x0 and y1 > y0:  # Pillow's lower-right corner is inside the rectangle, ours is outside
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=tuple(color.tolist()), width=line)


def _tag(index: int, *, labels: Sequence[str] | None, scores: Sequence[float] | np.ndarray | Tensor | None) -> str:
    label = [labels[index]] if labels is not None else []
    score = [f"{float(scores[index]):.2f}"] if scores is not None else []
    return " ".join(label + score)


def _draw_tag(
    pen: ImageDraw.ImageDraw,
    text: str,
    corner_xy: tuple[float, float],
    color: UInt8[np.ndarray, "3"],
    *,
    size_hw: tuple[int, int],
) -> None:
    height, width = size_hw
    font = _font(max(9, round(16 * max(height, width) / _REFERENCE_SIDE)))
    x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
    pad = max(1, round(font.size / 6))
    tag_width, tag_height = round(x1 - x0) + 2 * pad, round(y1 - y0) + 2 * pad
    left = min(max(0, round(corner_xy[0])), max(0, width - tag_width))
    top = min(max(0, round(corner_xy[1])), max(0, height - tag_height))
    pen.rectangle((left, top, left + tag_width - 1, top + tag_height - 1), fill=tuple(color.tolist()))
    pen.text((left + pad - x0, top + pad - y0), text, fill=text_color(color), font=font)


def _to_height(panel: UInt8[np.ndarray, "_ _ 3"], height: int) -> Image.Image:
    picture = Image.fromarray(panel)
    if picture.height == height:
        return picture
    width = max(1, round(picture.width * height / picture.height))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("this build of Pillow has no FreeType; install Pillow from PyPI")
    return font

"""Instances on an image: masks with bright, dark-edged contours on a dimmed background, boxes, labels.

Line widths and text grow with the image. Labels are supervision's; its other annotators are 40 times slower without
OpenCV, and its boxes cover a pixel too much (`benchmarks/drawing.py`).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor

from cutler_pl.errors import InputError
from cutler_pl.runtime.imports import supervision
from cutler_pl.visual.colors import instance_color, text_color

_Rgb = UInt8[np.ndarray, "height width 3"]
_Masks = Bool[np.ndarray, "boxes height width"]
_Boxes = Float[np.ndarray, "boxes 4"]
_Colors = UInt8[np.ndarray, "boxes 3"]
_REFERENCE_SIDE = 640  # lines are 3 pixels wide and text 16 pixels high on an image of this size


def draw_instances(
    image: _Rgb | UInt8[Tensor, "3 height width"],
    masks: _Masks | Bool[Tensor, "boxes height width"] | None,
    *,
    boxes: Num[np.ndarray, "boxes 4"] | Num[Tensor, "boxes 4"] | None = None,
    scores: Float[np.ndarray, " boxes"] | Float[Tensor, " boxes"] | Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
    colors: _Colors | None = None,
    opacity: float = 0.3,
    brightness: float = 0.4,
) -> _Rgb:
    """Draw instances on a copy of an image: translucent masks with opaque contours, boxes, labels with scores.

    Instance n has color n unless `colors` are given. A dark line around each contour keeps it apart from a background
    of its color. Small masks are drawn over large ones.

    Args:
        image: Pixels 0..255.
        masks: Masks at image size; None draws boxes only.
        boxes: Boxes as xyxy pixels.
        scores: Scores in 0..1.
        opacity: Weight of the color inside a mask, 0..1.
        brightness: Factor on the pixels outside all masks, 0..1.

    Raises:
        InputError: Masks, boxes, scores and labels disagree in number, or masks and image in size.
    """
    drawn = to_image_array(image)
    height, width = drawn.shape[:2]
    mask_array = None if masks is None else to_numpy(masks)
    box_array = None if boxes is None else to_numpy(boxes).astype(np.float64)
    if mask_array is not None and mask_array.shape[1:] != (height, width):
        raise InputError(f"masks of {mask_array.shape[1:]} do not fit an image of {(height, width)} (height, width)")
    parts = {"masks": mask_array, "boxes": box_array, "scores": scores, "labels": labels, "colors": colors}
    lengths = {name: len(part) for name, part in parts.items() if part is not None}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise InputError(f"expected one of each per instance, found {found}")
    count = next(iter(lengths.values()), 0)
    if colors is None:
        colors = np.stack([instance_color(index) for index in range(count)]) if count else np.zeros((0, 3), np.uint8)
    line = max(2, round(3 * max(height, width) / _REFERENCE_SIDE))
    if mask_array is not None and mask_array.any():
        drawn = _paint_masks(drawn, mask_array, colors, opacity=opacity, brightness=brightness, line=line)
    if box_array is not None and count:
        drawn = _paint_boxes(drawn, box_array, colors, line=line)
    if count and (scores is not None or labels is not None):
        if box_array is None:
            extents = [(0, 0, 0, 0)] * count if mask_array is None else [_extent(mask) for mask in mask_array]
            box_array = np.array(extents, dtype=np.float64)
        drawn = _paint_labels(drawn, box_array, _texts(labels, scores), colors)
    return drawn


def to_image_array(image: _Rgb | UInt8[Tensor, "3 height width"]) -> _Rgb:
    """A writable copy of an image as an array."""
    if isinstance(image, Tensor):
        return np.ascontiguousarray(image.detach().cpu().permute(1, 2, 0).numpy()).copy()
    return image.copy()


def to_numpy(values: np.ndarray | Tensor) -> np.ndarray:
    """The array of a tensor on any device."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _paint_masks(image: _Rgb, masks: _Masks, colors: _Colors, *, opacity: float, brightness: float, line: int) -> _Rgb:
    """Blend each pixel with the color of its smallest mask; contours of small masks are on top."""
    owner, contour = np.zeros((2, *masks.shape[1:]), dtype=np.uint16)  # instance number, 0 for the background
    outline, dark = max(1, line // 2), len(masks) + 1
    for index in np.argsort(-np.count_nonzero(masks, axis=(1, 2)), kind="stable").tolist():
        np.copyto(owner, index + 1, where=masks[index])
        x0, y0, x1, y1 = _extent(masks[index])
        window = np.s_[max(0, y0 - outline) : y1 + outline, max(0, x0 - outline) : x1 + outline]
        inside = masks[index][window]
        around = ndimage.binary_dilation(inside, iterations=outline) & ~inside
        np.copyto(contour[window], dark, where=around)
        np.copyto(contour[window], index + 1, where=inside & ~ndimage.binary_erosion(inside, iterations=line))
    tint = np.concatenate([np.zeros((1, 3)), opacity * colors]).astype(np.float32)
    weight = np.where(owner > 0, np.float32(1 - opacity), np.float32(brightness))[..., None]
    blended = image * weight
    blended += tint.take(owner, axis=0)
    painted: np.ndarray = np.rint(blended, out=blended).astype(np.uint8)
    edge = np.nonzero(contour)
    painted[edge] = np.concatenate([colors, np.zeros((1, 3), np.uint8)])[contour[edge] - 1]
    return painted


def _paint_boxes(image: _Rgb, boxes: _Boxes, colors: _Colors, *, line: int) -> _Rgb:
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    for (x0, y0, x1, y1), color in zip(np.rint(boxes).astype(int).tolist(), colors.tolist(), strict=True):
        if x1 > x0 and y1 > y0:  # Pillow includes the lower-right corner
            pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=tuple(color), width=line)
    return np.array(canvas)


def _paint_labels(image: _Rgb, boxes: _Boxes, texts: Sequence[str], colors: _Colors) -> _Rgb:
    """Labels above the upper left corners, moved apart and into the image."""
    sv = supervision()
    size = max(11, round(16 * max(image.shape) / _REFERENCE_SIDE))
    annotator = sv.RichLabelAnnotator(
        color=sv.ColorPalette([sv.Color(*color) for color in colors.tolist()]),
        text_color=sv.ColorPalette([sv.Color(*text_color(color)) for color in colors]),
        color_lookup=sv.ColorLookup.INDEX,
        font_size=size,
        text_padding=max(1, round(size / 6)),
        smart_position=True,
    )
    canvas = Image.fromarray(image)  # supervision takes arrays for BGR
    return np.array(annotator.annotate(canvas, sv.Detections(xyxy=boxes), labels=list(texts)))


def _texts(labels: Sequence[str] | None, scores: Sequence[float] | np.ndarray | Tensor | None) -> list[str]:
    numbers = [] if scores is None else [f"{float(score):.2f}" for score in scores]
    return [" ".join(parts) for parts in zip(*(part for part in (labels, numbers) if part), strict=True)]


def _extent(mask: Bool[np.ndarray, "height width"]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return (0, 0, 0, 0)
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)

"""Full-size masks from the small ones the mask head gives, and small ones in other boxes.

A mask is sampled bilinearly at every pixel center of the image, relative to its box, with zeros around it. For an
upright box that is separable: rows' weights times mask times columns' weights, two small matrix products.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch._higher_order_ops.scan import scan

MASK_THRESHOLD = 0.5
_BYTES_AT_ONCE = 2**26


def paste_masks(
    probabilities: Float[Tensor, "boxes size size"],
    boxes: Float[Tensor, "boxes 4"],
    size_hw: tuple[int, int],
    *,
    threshold: float = MASK_THRESHOLD,
) -> Bool[Tensor, "boxes height width"]:
    """Masks of an image's size; memory beyond the result is bounded whatever the number of masks.

    Args:
        probabilities: Mask of each box, 0 to 1.
        boxes: Box of each mask, in pixels of the image.
        size_hw: Size of the image.
        threshold: Pixels of at least this probability belong to the mask.
    """
    height, width = size_hw
    if torch.compiler.is_exporting():
        return _paste_one_by_one(probabilities, boxes, size_hw, threshold)
    masks = torch.zeros((len(boxes), height, width), dtype=torch.bool, device=boxes.device)
    if boxes.device.type == "cpu":
        for mask, (crop, top, left) in zip(
            masks, paste_crops(probabilities, boxes, size_hw, threshold=threshold), strict=True
        ):
            mask[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        return masks
    at_once = max(1, _BYTES_AT_ONCE // (4 * height * width))
    for start in range(0, len(boxes), at_once):
        chunk = slice(start, start + at_once)
        masks[chunk] = _paste(probabilities[chunk], boxes[chunk], (0, 0, width, height), threshold)
    return masks


def paste_crops(
    probabilities: Float[Tensor, "boxes size size"],
    boxes: Float[Tensor, "boxes 4"],
    size_hw: tuple[int, int],
    *,
    threshold: float = MASK_THRESHOLD,
) -> Iterator[tuple[Bool[Tensor, "_ _"], int, int]]:
    """The masks of `paste_masks` one by one: the pixels that each can reach, and the place (top, left) of the first."""
    for index in range(len(boxes)):
        one = slice(index, index + 1)
        x0, y0, x1, y1 = window = _extent(boxes[one].float(), probabilities.shape[1], size_hw)
        if x1 > x0 and y1 > y0:
            yield _paste(probabilities[one], boxes[one], window, threshold)[0], y0, x0
        else:
            yield torch.zeros((0, 0), dtype=torch.bool), 0, 0


def resample_masks(
    probabilities: Float[Tensor, "boxes size size"],
    boxes: Float[Tensor, "boxes 4"],
    frames: Float[Tensor, "boxes 4"],
) -> Float[Tensor, "boxes size size"]:
    """Masks on the cells of other boxes, sampled as `paste_masks` does: zeros around the box that a mask belongs to.

    Args:
        probabilities: Mask of each box.
        boxes: Box of each mask.
        frames: Box on whose cells each mask is wanted.
    """
    cells = probabilities.shape[1]
    centers = (torch.arange(cells, device=boxes.device, dtype=torch.float32) + 0.5) / cells
    given, wanted = boxes.float(), frames.float()
    places = wanted[:, :2, None] + centers * (wanted[:, 2:] - wanted[:, :2])[:, :, None]
    columns = _weights_at(places[:, 0], given[:, 0], given[:, 2], cells)
    rows = _weights_at(places[:, 1], given[:, 1], given[:, 3], cells)
    return rows @ probabilities.float() @ columns.mT


def _paste(
    probabilities: Tensor, boxes: Tensor, window: tuple[int, int, int, int], threshold: float
) -> Bool[Tensor, "boxes _ _"]:
    """Masks in a window, xyxy."""
    x0, y0, x1, y1 = window
    part, small = boxes.float(), probabilities.float()
    rows = _weights(part[:, 1], part[:, 3], y0, y1, small.shape[1])
    columns = _weights(part[:, 0], part[:, 2], x0, x1, small.shape[2])
    return rows @ small @ columns.mT >= threshold


def _paste_one_by_one(small: Tensor, boxes: Tensor, size_hw: tuple[int, int], threshold: float) -> Tensor:
    """The same as a loop for export; an empty mask is appended, since onnxruntime refuses to loop over nothing."""

    def paste(count: Tensor, item: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        rows, mask, columns = item
        return count + 1, rows @ mask @ columns.mT >= threshold

    rows = _weights(boxes[:, 1], boxes[:, 3], 0, size_hw[0], small.shape[1])
    columns = _weights(boxes[:, 0], boxes[:, 2], 0, size_hw[1], small.shape[2])
    items = tuple(F.pad(part, (0, 0, 0, 0, 0, 1)) for part in (rows, small, columns))
    masks: Tensor = scan(paste, torch.zeros((), dtype=torch.int64), items)[1]
    return masks[: boxes.shape[0]]


def _weights(low: Tensor, high: Tensor, start: int, stop: int, cells: int) -> Float[Tensor, "boxes pixels cells"]:
    """How much each of `cells` mask cells counts at pixels start to stop, along one axis."""
    pixels = torch.arange(start, stop, device=low.device, dtype=torch.float32) + 0.5
    return _weights_at(pixels[None], low, high, cells)


def _weights_at(places: Tensor, low: Tensor, high: Tensor, cells: int) -> Float[Tensor, "boxes places cells"]:
    position = (places - low[:, None]) / (high - low)[:, None] * cells - 0.5
    cell = torch.arange(cells, device=low.device, dtype=torch.float32)
    return (1 - (position[:, :, None] - cell).abs()).clamp(min=0)


def _extent(boxes: Tensor, cells: int, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels that the mask of a box can reach: half a cell beyond its edges counts, too."""
    height, width = size_hw
    x0, y0, x1, y1 = boxes[0].tolist()
    margin_x, margin_y = (x1 - x0) / cells / 2 + 1, (y1 - y0) / cells / 2 + 1
    left, top = max(0, int(x0 - margin_x)), max(0, int(y0 - margin_y))
    return left, top, min(width, int(x1 + margin_x) + 1), min(height, int(y1 + margin_y) + 1)

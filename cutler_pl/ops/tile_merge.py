"""Objects of a large image from what its tiles show of them.

Two parts of one class from overlapping tiles are the same object where their masks agree on the pixels that both tiles
have, with an IoU above `_SAME`: there a cut object looks the same in both. The best parts come first; each joins the
object it agrees with most, one part per tile, else it is a new one. An object has the union of the masks and the
highest score.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cutler_pl.ops.boxes import box_iou
from cutler_pl.ops.tiles import Window

_SAME = 0.5
_WORTH_COMPARING = 0.25  # IoU of the boxes on the common pixels


class Part(NamedTuple):
    """What a tile shows of an object, in pixels of the whole image."""

    tile: int
    label: int
    score: float
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1."""
    window: Window
    """Of the mask."""
    mask: Bool[np.ndarray, "height width"]

    def within(self, window: Window) -> Bool[np.ndarray, "h w"]:
        """The mask's pixels in a window inside of its own."""
        top, left = self.window[:2]
        return self.mask[window.top - top : window.bottom - top, window.left - left : window.right - left]


@dataclass
class MergedObject:
    """Parts of one object, the best first, one per tile."""

    parts: list[Part] = field(default_factory=list)

    @property
    def best(self) -> Part:
        """The part with the highest score."""
        return self.parts[0]

    @property
    def box(self) -> list[float]:
        """Around all parts."""
        x0, y0, x1, y1 = zip(*(part.box for part in self.parts), strict=True)
        return [min(x0), min(y0), max(x1), max(y1)]

    def mask(self) -> tuple[Bool[np.ndarray, "h w"], int, int]:
        """Union of the masks, and its upper and left edge."""
        top, left, bottom, right = zip(*(part.window for part in self.parts), strict=True)
        union = np.zeros((max(bottom) - min(top), max(right) - min(left)), dtype=bool)
        for part in self.parts:
            y, x = part.window.top - min(top), part.window.left - min(left)
            union[y : y + part.mask.shape[0], x : x + part.mask.shape[1]] |= part.mask
        return union, min(top), min(left)


def merge_parts(parts: Sequence[Part], windows: Sequence[Window]) -> list[MergedObject]:
    """Put together what different tiles show of one object.

    Args:
        parts: Detections of all tiles.
        windows: The tiles.
    """
    agreements = _agreements(parts, windows)
    objects: list[MergedObject] = []
    tiles: list[set[int]] = []  # of each object
    owner: dict[int, int] = {}  # object of each part
    for i in sorted(range(len(parts)), key=lambda i: -parts[i].score):
        near = [(iou, owner[j]) for j, iou in agreements.get(i, ()) if j in owner]
        near = [(iou, number) for iou, number in near if parts[i].tile not in tiles[number]]
        if near:
            owner[i] = max(near)[1]
        else:
            owner[i] = len(objects)
            objects.append(MergedObject())
            tiles.append(set())
        objects[owner[i]].parts.append(parts[i])
        tiles[owner[i]].add(parts[i].tile)
    return objects


def _agreements(parts: Sequence[Part], windows: Sequence[Window]) -> dict[int, list[tuple[int, float]]]:
    """For each part the parts of other tiles that are the same object, with the IoU."""
    of_tile: list[list[int]] = [[] for _ in windows]
    for i, part in enumerate(parts):
        of_tile[part.tile].append(i)
    found: dict[int, list[tuple[int, float]]] = {}
    for a in range(len(windows)):
        for b in range(a + 1, len(windows)):
            common = windows[a].intersection(windows[b])
            if common.is_empty() or not of_tile[a] or not of_tile[b]:
                continue
            boxes = [_clipped_boxes([parts[i] for i in of_tile[tile]], common) for tile in (a, b)]
            for row, column in (box_iou(*boxes) > _WORTH_COMPARING).nonzero().tolist():
                i, j = of_tile[a][row], of_tile[b][column]
                iou = _common_iou(parts[i], parts[j], common) if parts[i].label == parts[j].label else 0.0
                if iou > _SAME:
                    found.setdefault(i, []).append((j, iou))
                    found.setdefault(j, []).append((i, iou))
    return found


def _clipped_boxes(parts: Sequence[Part], window: Window) -> Float[Tensor, "boxes 4"]:
    low = torch.tensor([window.left, window.top, window.left, window.top], dtype=torch.float32)
    high = torch.tensor([window.right, window.bottom, window.right, window.bottom], dtype=torch.float32)
    return torch.tensor([part.box for part in parts], dtype=torch.float32).maximum(low).minimum(high)


def _common_iou(part: Part, other: Part, common: Window) -> float:
    """IoU of two masks on the pixels of both tiles."""
    areas = [np.count_nonzero(one.within(one.window.intersection(common))) for one in (part, other)]
    both = part.window.intersection(other.window).intersection(common)
    if both.is_empty():
        return 0.0
    shared = int(np.count_nonzero(part.within(both) & other.within(both)))
    return shared / max(sum(areas) - shared, 1)

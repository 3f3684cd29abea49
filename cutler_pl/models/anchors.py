"""Anchor boxes: at every cell of every level, boxes of one area and several aspect ratios.

They are not rounded, and their grid starts at pixel 0 with the level's stride (torchvision's are rounded).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def cell_anchors(size: float, ratios: Sequence[float]) -> Float[Tensor, "ratios 4"]:
    """Boxes of area `size`² around the origin, one for each ratio of height over width."""
    widths = [math.sqrt(size**2 / ratio) for ratio in ratios]
    halves = [(width / 2, ratio * width / 2) for width, ratio in zip(widths, ratios, strict=True)]
    return torch.tensor([[-w, -h, w, h] for w, h in halves])


def grid_anchors(cell: Float[Tensor, "ratios 4"], size_hw: tuple[int, int], stride: int) -> Float[Tensor, "anchors 4"]:
    """The anchors of a level: rows, then columns, then ratios.

    Args:
        cell: Boxes around the origin.
        size_hw: Cells of the level.
        stride: Pixels from one cell to the next.
    """
    height, width = size_hw
    y = torch.arange(height, device=cell.device, dtype=cell.dtype) * stride
    x = torch.arange(width, device=cell.device, dtype=cell.dtype) * stride
    y, x = torch.meshgrid(y, x, indexing="ij")
    return (torch.stack([x, y, x, y], dim=-1)[:, :, None] + cell).reshape(-1, 4)

"""RoIAlign on the CPU as weighted sums of feature vectors: several times faster than torchvision's loops there.

A cell is the mean of bilinear samples, thus a weighted sum of few channel vectors: an embedding bag with the pixels as
its table. The result is that of `torchvision.ops.roi_align` with `aligned=True` and `sampling_ratio=0`, up to the order
of summation; it has a gradient for the features.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def roi_align_cpu(
    features: Sequence[Float[Tensor, "batch channels _height _width"]],
    rois: Float[Tensor, "proposals 5"],
    levels: Int64[Tensor, " proposals"],
    size: int,
    *,
    spatial_scales: Sequence[float],
) -> Float[Tensor, "proposals channels size size"]:
    """Pool regions of feature maps; fastest where the maps are in the channels-last layout, as the result is.

    Args:
        features: Maps of every level.
        rois: Index of the image, then the box in pixels of the image.
        levels: Level that each region is pooled from.
        size: Cells along each side of the result.
        spatial_scales: Cells of each level's map per pixel of the image.
    """
    parts = []
    for index, (level, spatial_scale) in enumerate(zip(features, spatial_scales, strict=True)):
        chosen = torch.nonzero(levels == index)[:, 0]
        if len(chosen):
            cells, order = _pool_level(level, rois[chosen], size, spatial_scale)
            parts.append((cells, chosen[order]))
    channels = features[0].shape[1]
    if not parts:  # attached to the graph of every level
        return sum(level.flatten()[:0].sum() for level in features) + rois.new_zeros((0, channels, size, size))
    cells, order = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return cells.view(-1, size, size, channels)[order.argsort()].permute(0, 3, 1, 2)


def _pool_level(
    features: Float[Tensor, "batch channels height width"],
    rois: Float[Tensor, "proposals 5"],
    size: int,
    spatial_scale: float,
) -> tuple[Float[Tensor, "cells channels"], Int64[Tensor, " proposals"]]:
    """Pooled cells, grouped by the number of samples per cell, and the region each group of cells belongs to."""
    channels, height, width = features.shape[1:]
    table = features.permute(0, 2, 3, 1).contiguous().view(-1, channels).float()
    corners = rois[:, 1:] * spatial_scale - 0.5
    samples = ((corners[:, 2:] - corners[:, :2]) / size).ceil().clamp(min=1).long()
    groups = []
    for across, down in torch.unique(samples, dim=0).tolist():
        chosen = torch.nonzero((samples[:, 0] == across) & (samples[:, 1] == down))[:, 0]
        x, x_weights = _axis(corners[chosen][:, [0, 2]], size, width, across)
        y, y_weights = _axis(corners[chosen][:, [1, 3]], size, height, down)
        rows = rois[chosen, 0].long()[:, None, None] * height + y
        pixels = rows[:, :, None, :, None] * width + x[:, None, :, None, :]
        weights = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
        lengths = torch.full((len(chosen) * size**2,), (across + 1) * (down + 1))
        groups.append((chosen, pixels.flatten(), weights.flatten(), lengths))
    order, pixels, weights, lengths = (torch.cat(parts) for parts in zip(*groups, strict=True))
    starts = lengths.cumsum(0) - lengths
    cells = F.embedding_bag(pixels, table, starts, per_sample_weights=weights.to(table.dtype), mode="sum")
    return cells, order


def _axis(
    edges: Float[Tensor, "proposals 2"], size: int, length: int, samples: int
) -> tuple[Int64[Tensor, "proposals size pixels"], Float[Tensor, "proposals size pixels"]]:
    """The `samples` + 1 pixels along one axis that each cell reads, and how much each counts."""
    start, cell = edges[:, :1], (edges[:, 1:] - edges[:, :1]) / size
    positions = (start + torch.arange(size, device=edges.device) * cell)[:, :, None]
    positions = positions + ((torch.arange(samples, device=edges.device) + 0.5) * (cell / samples))[:, None]
    used = (cell > 0)[:, None] & (positions >= -1) & (positions <= length)
    positions = positions.clamp(0, length - 1)
    pixels = positions[:, :, :1].floor() + torch.arange(samples + 1, device=edges.device)
    nearness = (1 - (positions[:, :, :, None] - pixels[:, :, None]).abs()).clamp(min=0)
    weights = (nearness * used[..., None]).sum(dim=2) / samples
    return pixels.clamp(max=length - 1).long(), weights

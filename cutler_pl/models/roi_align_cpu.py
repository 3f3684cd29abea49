"""RoIAlign on the CPU as weighted sums of feature vectors: several times faster than torchvision's loops there.

A cell of a region is the mean of bilinear samples on a regular grid. Samples lie on at most (samples + 1)² pixels, and
bilinear weights are products of a row's and a column's, so a cell is a sum of few channel vectors with known weights:
an embedding bag with the pixels as its table. The result is that of `torchvision.ops.roi_align` with `aligned=True`
and `sampling_ratio=0`, up to the order of summation; it has a gradient for the features.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def roi_align_cpu(
    features: Float[Tensor, "batch channels height width"],
    rois: Float[Tensor, "regions 5"],
    size: int,
    *,
    spatial_scale: float,
) -> Float[Tensor, "regions channels size size"]:
    """Pool regions of feature maps; fastest where the maps are in the channels-last layout.

    Args:
        features: Maps of one level.
        rois: Index of the image, then the box in pixels of the image.
        size: Cells along each side of the result.
        spatial_scale: Cells of the map per pixel of the image.
    """
    channels, height, width = features.shape[1:]
    table = features.permute(0, 2, 3, 1).contiguous().view(-1, channels).float()
    if len(rois) == 0:
        return table[:0, :, None, None].expand(0, channels, size, size)  # hangs on the features still
    corners = rois[:, 1:] * spatial_scale - 0.5
    samples = ((corners[:, 2:] - corners[:, :2]) / size).ceil().clamp(min=1).long().amax(dim=1)
    pooled = table.new_empty((len(rois), size, size, channels))
    for most in torch.unique(samples).tolist():
        chosen = torch.nonzero(samples == most)[:, 0]
        x, x_weights = _axis(corners[chosen][:, [0, 2]], size, width, most)
        y, y_weights = _axis(corners[chosen][:, [1, 3]], size, height, most)
        rows = rois[chosen, 0].long()[:, None, None] * height + y
        pixels = rows[:, :, None, :, None] * width + x[:, None, :, None, :]
        weights = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
        bags = (-1, (most + 1) ** 2)
        cells = F.embedding_bag(
            pixels.reshape(bags), table, per_sample_weights=weights.reshape(bags).to(table.dtype), mode="sum"
        )
        pooled.index_copy_(0, chosen, cells.view(len(chosen), size, size, channels))
    return pooled.permute(0, 3, 1, 2)


def _axis(
    edges: Float[Tensor, "regions 2"], size: int, length: int, most: int
) -> tuple[Int64[Tensor, "regions size pixels"], Float[Tensor, "regions size pixels"]]:
    """The `most` + 1 pixels along one axis that each cell reads, and how much each counts."""
    start, cell = edges[:, :1], (edges[:, 1:] - edges[:, :1]) / size
    count = cell.ceil().clamp(min=1)
    step = torch.arange(most, device=edges.device)
    places = (start + torch.arange(size, device=edges.device) * cell)[:, :, None]
    places = places + ((step + 0.5) * (cell / count))[:, None]
    used = (step < count)[:, None] & (cell > 0)[:, None] & (places >= -1) & (places <= length)
    places = places.clamp(0, length - 1)
    first = places[:, :, :1].floor()
    pixels = first + torch.arange(most + 1, device=edges.device)
    nearness = (1 - (places[:, :, :, None] - pixels[:, :, None]).abs()).clamp(min=0)
    weights = (nearness * used[..., None]).sum(dim=2) / count[:, :, None]
    return pixels.clamp(max=length - 1).long(), weights

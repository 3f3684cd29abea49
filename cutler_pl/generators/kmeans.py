"""K-means of numbers, for a batch of rows at once."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_ROUNDS = 30


def kmeans_1d(values: Float[Tensor, "rows count"], k: int, *, starts: int = 10) -> Int64[Tensor, "rows count"]:
    """Cluster the numbers of each row; clusters are numbered by their centers.

    Args:
        values: Rows of finite numbers.
        k: Number of clusters; some may stay empty.
        starts: Lloyd's algorithm runs from so many sets of centers, drawn from the row, and the best result is taken;
            a row's result does not depend on the others.
    """
    rows, count = values.shape
    draw = torch.Generator().manual_seed(0)
    chosen = torch.stack([torch.randperm(count, generator=draw)[:k] for _ in range(starts)]).to(values.device)
    centers = values[:, chosen].sort(2).values  # rows, starts, k
    for _ in range(_ROUNDS):
        labels = _nearest(values, centers)
        sums, sizes = (torch.zeros_like(centers) for _ in range(2))
        points = values[:, None].expand(rows, starts, count)
        sums.scatter_add_(2, labels, points)
        sizes.scatter_add_(2, labels, torch.ones_like(points))
        moved = torch.where(sizes > 0, sums / sizes.clamp(min=1), centers)
        if torch.equal(moved, centers):
            break
        centers = moved
    labels = _nearest(values, centers)
    inertia = (values[:, None] - centers.gather(2, labels)).square().sum(2)
    best = inertia.argmin(1)[:, None, None]
    return labels.gather(1, best.expand(rows, 1, count))[:, 0]


def _nearest(
    values: Float[Tensor, "rows count"], centers: Float[Tensor, "rows starts k"]
) -> Int64[Tensor, "rows starts count"]:
    """Number of the nearest of each set of centers, which are sorted: the numbers above the midpoints."""
    middles = (centers[..., 1:] + centers[..., :-1]) / 2
    return (values[:, None, :, None] > middles[:, :, None, :]).sum(3)

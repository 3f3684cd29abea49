"""Head selection of Object-DINO: patches described by the attention heads that see objects, of all blocks.

Rawlekar et al., "Finding Distributed Object-Centric Properties in Self-Supervised Transformers", CVPR 2026. Per head:
the cosines of its queries, of its keys and of its values between all patches, each through a softmax with temperature
1/√dim, averaged over the three and over the patches that look: one number per patch. K-means over all heads of an image
finds 12 clusters of these maps; the cluster with most heads of the last block is that of the objects. The affinity is
the mean cosine over the queries, keys and values of its heads.

The numbers (12 clusters, 10 starts, maps standardised over the heads, one selection per image) are those of the
authors' published code. That code compares patches by their rows of similarity; here the mean similarity itself is
the affinity, as the method is described. Queries and keys of DINOv3 are taken before the rotation, as there. Ties go to
the cluster of the first head.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.patch_grid import patch_grid

CLUSTERS = 12
_STARTS = 10
_SEED = 42
_MAX_ROUNDS = 300


class ObjectHeads(nn.Module):
    """Queries, keys and values of an image's object heads, such that their cosine is the mean over heads and parts.

    A vector holds 3 · dim numbers per head, and other images have other heads: in a batch zeros fill the shorter ones.

    Args:
        tokens: The transformer up to the last block that counts; a `TransformerFeatures`.

    Raises:
        ConfigError: A block has no joint projection of queries, keys and values.
    """

    dim = None

    def __init__(self, tokens: Any) -> None:
        super().__init__()
        self.tokens = tokens
        self.name: str = tokens.name
        self.patch_size: int = tokens.patch_size
        for block in self._blocks:
            of_query = getattr(block.attn, "q_bias", None)
            if not isinstance(getattr(block.attn, "qkv", None), nn.Linear) or of_query is not None:
                raise ConfigError(
                    f"maskcut.features.heads=object: {self.name} has no joint projection of queries, keys and values; "
                    "leave it out"
                )

    @property
    def _blocks(self) -> list[Any]:
        return [*self.tokens.model.blocks[: self.tokens.layer + 1]]

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim h w"]:
        """Features of RGB images in [0, 1] whose sides are multiples of the patch size.

        Raises:
            ConfigError: A side is no multiple of the patch size.
            InputError: The images are not float (batch, 3, height, width).
        """
        grid_hw = patch_grid(images, self.patch_size, name=self.name)
        of_blocks = self._projections(images)
        with torch.autocast(images.device.type, enabled=False):
            found = [self._describe([block[i] for block in of_blocks]) for i in range(len(images))]
        most = max((len(one) for one in found), default=1)
        padded = [F.pad(one, (0, 0, 0, most - len(one))) for one in found]
        return torch.stack(padded).view(len(images), most, *grid_hw)

    def _projections(self, images: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch tokens _"]]:
        """The queries, keys and values of each block."""
        seen: list[Tensor] = []
        hooks = [
            block.attn.qkv.register_forward_hook(lambda _, __, output: seen.append(output)) for block in self._blocks
        ]
        try:
            self.tokens(images)
        finally:
            for hook in hooks:
                hook.remove()
        return seen

    def _describe(self, of_blocks: list[Float[Tensor, "tokens _"]]) -> Float[Tensor, "dim patches"]:
        """The features of one image."""
        prefix = self.tokens.model.num_prefix_tokens
        counts = [block.attn.num_heads for block in self._blocks]
        heads = torch.cat([unit_heads(one[prefix:], count) for one, count in zip(of_blocks, counts, strict=True)])
        chosen = select_heads(head_maps(heads).cpu().double().numpy(), last=counts[-1])
        return joined(heads[torch.from_numpy(chosen).to(heads.device)])


def unit_heads(projections: Float[Tensor, "patches _"], num_heads: int) -> Float[Tensor, "heads 3 patches dim"]:
    """Queries, keys and values of each head, scaled to length 1, from timm's joint projection of a block."""
    parts = projections.float().view(len(projections), 3, num_heads, -1)
    return F.normalize(parts.permute(2, 1, 0, 3), dim=3)


def head_maps(heads: Float[Tensor, "heads 3 patches dim"]) -> Float[Tensor, "heads patches"]:
    """How much each patch is like the others, to each head: mean over the three parts and over the others."""
    scale = heads.shape[-1] ** -0.5
    return torch.stack([((head @ head.mT) * scale).softmax(2).mean((0, 1)) for head in heads])


def select_heads(maps: Float64[np.ndarray, "heads patches"], *, last: int) -> Int64[np.ndarray, " chosen"]:
    """The heads in the cluster that holds most of the `last` heads at the end.

    Args:
        maps: One per head, in the order of the blocks.
        last: Number of heads of the last block.
    """
    deviation = maps.std(0)
    points = (maps - maps.mean(0)) / np.where(deviation > 0, deviation, 1)
    labels = _kmeans(points, min(CLUSTERS, len(points)))
    votes = np.bincount(labels[-last:], minlength=labels.max() + 1)
    first = next(label for label in labels if votes[label] == votes.max())
    return np.flatnonzero(labels == first)


def joined(heads: Float[Tensor, "heads 3 patches dim"]) -> Float[Tensor, "joined patches"]:
    """Vectors of length 1 whose products are the mean cosines over heads and parts."""
    count, parts, patches, dim = heads.shape
    vectors = heads.permute(0, 1, 3, 2).reshape(count * parts * dim, patches)
    return vectors / math.sqrt(count * parts)


def _kmeans(points: Float64[np.ndarray, "points dim"], k: int) -> Int64[np.ndarray, " points"]:
    """K-means++ and Lloyd's rounds on the products of the points, which are few; the best of `_STARTS`."""
    draw = np.random.default_rng(_SEED)
    products = points @ points.T
    best, lowest = np.zeros(len(points), dtype=np.int64), np.inf
    for _ in range(_STARTS):
        labels = _seeds(products, k, draw)
        for _ in range(_MAX_ROUNDS):
            distances = _distances(products, labels, k)
            moved = distances.argmin(1)
            if (moved == labels).all():
                break
            labels = moved
        inertia = float(distances.min(1).sum())
        if inertia < lowest:
            best, lowest = labels, inertia
    return best


def _seeds(
    products: Float64[np.ndarray, "points points"], k: int, draw: np.random.Generator
) -> Int64[np.ndarray, " points"]:
    """The nearest of k points, drawn with their squared distance from those before."""
    squares = np.diag(products)
    distances = (squares[:, None] + squares - 2 * products).clip(min=0)
    chosen = [int(draw.integers(len(products)))]
    while len(chosen) < k:
        nearest = distances[:, chosen].min(1)
        total = nearest.sum()
        chosen.append(int(draw.choice(len(nearest), p=nearest / total)) if total > 0 else 0)
    return np.asarray(distances[:, chosen].argmin(1))


def _distances(
    products: Float64[np.ndarray, "points points"], labels: Int64[np.ndarray, " points"], k: int
) -> Float64[np.ndarray, "points k"]:
    """Squared distance of each point from each cluster's mean; infinite for an empty cluster."""
    members = np.eye(k)[labels]
    sizes = members.sum(0)
    weights = members / np.maximum(sizes, 1)
    cross = products @ weights
    found = np.diag(products)[:, None] - 2 * cross + (weights * cross).sum(0)
    return np.where(sizes > 0, found, np.inf)

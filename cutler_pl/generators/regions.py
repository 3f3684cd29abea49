"""Partitions of patch grids into connected regions, merged along edges: for a whole batch at once.

The regions of all images are numbered together, so that a batch is one graph in which images do not touch.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor


@dataclass(frozen=True)
class Regions:
    """A partition of the patches of a batch.

    Attributes:
        labels: Region of each patch, from 0; numbers rise from image to image.
        count: Number of regions.
    """

    labels: Int64[Tensor, "batch h w"]
    count: int

    @classmethod
    def of_patches(cls, batch: int, h: int, w: int, device: torch.device) -> "Regions":
        """Each patch a region."""
        return cls(torch.arange(batch * h * w, device=device).view(batch, h, w), batch * h * w)

    def edges(self) -> Int64[Tensor, "edges 2"]:
        """Pairs of regions that touch by a side of a patch, the smaller number first, without repetition."""
        across = torch.stack([self.labels[:, :, :-1], self.labels[:, :, 1:]], -1).view(-1, 2)
        down = torch.stack([self.labels[:, :-1], self.labels[:, 1:]], -1).view(-1, 2)
        pairs = torch.cat([across, down]).sort(1).values
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        keys = torch.unique(pairs[:, 0] * self.count + pairs[:, 1])
        return torch.stack([keys // max(self.count, 1), keys % max(self.count, 1)], 1)

    def means(self, tokens: Float32[Tensor, "batch patches dim"]) -> Float32[Tensor, "regions dim"]:
        """Mean token of each region."""
        sums = tokens.new_zeros(self.count, tokens.shape[2]).index_add_(0, self.labels.flatten(), tokens.flatten(0, 1))
        return sums / self.sizes()[:, None]

    def sizes(self) -> Int64[Tensor, " regions"]:
        """Patches of each region."""
        ones = torch.ones_like(self.labels).flatten()
        return ones.new_zeros(self.count).index_add_(0, self.labels.flatten(), ones)

    def images(self) -> Int64[Tensor, " regions"]:
        """Image of each region."""
        batch, h, w = self.labels.shape
        numbers = torch.arange(batch, device=self.labels.device).repeat_interleave(h * w)
        return numbers.new_zeros(self.count).index_copy_(0, self.labels.flatten(), numbers)

    def merge(self, pairs: Int64[Tensor, "pairs 2"]) -> "Regions":
        """Regions that these pairs connect become one."""
        if not len(pairs):
            return self
        numbers, merged = torch.unique(_roots(self.count, pairs), return_inverse=True)
        return Regions(merged[self.labels], len(numbers))

    def first_patches(self) -> Int64[Tensor, " regions"]:
        """Row-major number of the first patch of each region, over the whole batch."""
        patches = torch.arange(self.labels.numel(), device=self.labels.device)
        most = patches.new_full((self.count,), self.labels.numel())
        return most.scatter_reduce_(0, self.labels.flatten(), patches, "amin")

    def masks(self, numbers: Int64[Tensor, " some"]) -> Bool[Tensor, "some h w"]:
        """The masks of regions of one image."""
        h, w = self.labels.shape[1:]
        first = self.first_patches()[numbers] // (h * w)
        return self.labels[first] == numbers[:, None, None]


def _roots(count: int, pairs: Int64[Tensor, "pairs 2"]) -> Int64[Tensor, " regions"]:
    """The smallest number that each number is connected to: minima over edges, and jumps to the root's root."""
    roots = torch.arange(count, device=pairs.device)
    while True:
        ends = roots[pairs]
        lowest = ends.amin(1)
        new = roots.scatter_reduce(0, ends.flatten(), lowest.repeat_interleave(2), "amin")
        new = torch.minimum(new, new[new])
        new = new[new]
        if torch.equal(new, roots):
            return roots
        roots = new

"""Clusters of masks that overlap, each cluster a vote (VoteCut, CuVLER)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

_MOVES = 5


@dataclass(frozen=True)
class Cluster:
    """Masks that found the same object.

    Attributes:
        members: Their indices.
        mask: Pixels with enough of their votes.
    """

    members: list[int]
    mask: Bool[Tensor, "h w"]


def cluster_masks(masks: Bool[Tensor, "masks h w"], *, min_iou: float, min_votes: float) -> list[Cluster]:
    """Cluster the masks of an image, the largest cluster first.

    The first pivot is the mask with the most neighbours; it moves to the member with the largest sum of IoUs with the
    others, at most five times; the members are taken out, and the next pivot is chosen among the rest.

    Args:
        masks: Of one size.
        min_iou: A mask is a neighbour of another where their IoU is above this.
        min_votes: A pixel belongs to a cluster's mask where more than this share of the members have it.
    """
    flat = masks.flatten(1).float()
    shared = flat @ flat.T
    areas = flat.sum(1)
    ious = (shared / (areas[:, None] + areas[None] - shared).clamp(min=1)).cpu().numpy()
    clusters = [Cluster(members, masks[members].float().mean(0) > min_votes) for members in _members(ious, min_iou)]
    return sorted(clusters, key=lambda cluster: -len(cluster.members))


def _members(ious: Float[np.ndarray, "masks masks"], min_iou: float) -> list[list[int]]:
    close = (ious > min_iou) | np.eye(len(ious), dtype=bool)
    rest = np.ones(len(ious), dtype=bool)
    found = []
    while rest.any():
        among = close & rest[None] & rest[:, None]
        pivot = int(among.sum(1).argmax())
        for _ in range(_MOVES):
            members = np.flatnonzero(among[pivot])
            moved = int(members[ious[np.ix_(members, members)].sum(1).argmax()])
            if moved == pivot:
                break
            pivot = moved
        members = np.flatnonzero(among[pivot])
        found.append(members.tolist())
        rest[members] = False
    return found

"""VoteCut: clusters of masks by hand, k-means of numbers, and several backbones in one run."""

import torch

from cutler_pl.generators.kmeans import kmeans_1d
from cutler_pl.generators.votecut import VoteCut
from cutler_pl.generators.votes import cluster_masks


def row_mask(start: int, stop: int) -> torch.Tensor:
    return ((torch.arange(20) >= start) & (torch.arange(20) < stop))[None]


def test_votes_of_three_masks() -> None:
    """Patches 0-9, 0-8 and 0-6 have IoUs 0.9, 0.7 and 7/9: one cluster; at a limit of 0.75 the last leaves it."""
    masks = torch.stack([row_mask(0, 10), row_mask(0, 9), row_mask(0, 7), row_mask(15, 20)])
    first, second = cluster_masks(masks, min_iou=0.6, min_votes=0.2)
    assert first.members == [0, 1, 2]
    assert first.mask.sum() == 10  # one vote of three is enough
    assert second.members == [3]
    strict, *_ = cluster_masks(masks, min_iou=0.6, min_votes=0.5)
    assert strict.mask.sum() == 9  # two of three
    by_middle, *_ = cluster_masks(masks, min_iou=0.75, min_votes=0.2)
    assert by_middle.members == [0, 1, 2]  # the pivot is the one with two neighbours
    assert [one.members for one in cluster_masks(masks, min_iou=0.85, min_votes=0.2)] == [[0, 1], [2], [3]]
    assert cluster_masks(masks[:0], min_iou=0.6, min_votes=0.2) == []


def test_kmeans_finds_separated_groups() -> None:
    values = torch.tensor([[0.0, 0.1, 5.0, 5.1, 9.0, 9.2], [3.0, 3.0, 3.0, 3.0, 8.0, 8.0]], dtype=torch.float64)
    assert kmeans_1d(values, 3)[0].tolist() == [0, 0, 1, 1, 2, 2]
    assert kmeans_1d(values, 2)[1].tolist() == [0, 0, 0, 0, 1, 1]
    assert torch.equal(kmeans_1d(values, 3)[1:], kmeans_1d(values[1:], 3))


def square_scene(side: int) -> torch.Tensor:
    features = torch.zeros(1, 2, side, side)
    features[0, 0] = 1.0
    inside = slice(side // 4, side // 2)
    features[0, :, inside, inside] = torch.tensor([0.0, 1.0]).view(2, 1, 1)
    return features


def test_backbones_vote_for_one_object() -> None:
    images = torch.zeros(1, 3, 80, 80, dtype=torch.uint8)
    options = VoteCut(taus=(0.3, 0.5), min_patches=4)
    (found,) = options.propose(images, {"a": square_scene(12), "b": square_scene(20)})
    assert found.masks.shape[1:] == (60, 60)
    assert found.masks[0].sum() == 15 * 15
    assert found.scores[0] == 1.0
    assert found.provenance[0]["backbones"] == ["a τ=0.3", "a τ=0.5", "b τ=0.3", "b τ=0.5"]
    assert found.provenance[0]["votes"] >= 4


def test_uniform_image_has_no_vote() -> None:
    images = torch.zeros(2, 3, 80, 80, dtype=torch.uint8)
    for found in VoteCut().propose(images, {"a": torch.ones(2, 3, 10, 10)}):
        assert found.masks.shape == (0, 60, 60)
        assert found.provenance == []

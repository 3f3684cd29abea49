import torch

from cutler_pl.models.matching import FirstK
from cutler_pl.models.regions import label_regions, sample_regions, stage_matcher

TARGET = {
    "boxes": torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40]]),
    "labels": torch.tensor([3, 7]),
    "masks": torch.ones(2, 50, 50, dtype=torch.bool),
}
EMPTY = {
    "boxes": torch.zeros(0, 4),
    "labels": torch.zeros(0, dtype=torch.int64),
    "masks": torch.zeros(0, 50, 50, dtype=torch.bool),
}


def test_classes_count_from_zero_and_the_background_comes_last():
    boxes = torch.tensor([[20.0, 20, 40, 39], [0, 0, 10, 6], [0, 0, 4, 4], [45, 45, 50, 50]])
    regions = label_regions(boxes, TARGET, stage_matcher(0.6), num_classes=80)
    assert regions.classes.tolist() == [6, 2, 80, 80]
    assert regions.gt_indices.tolist() == [1, 0, 0, 0]
    assert torch.equal(regions.gt_boxes, TARGET["boxes"][[1, 0, 0, 0]])
    assert regions.gt_classes.tolist() == [6, 2, 2, 2]


def test_without_ground_truth_all_is_background():
    regions = label_regions(torch.rand(3, 4), EMPTY, stage_matcher(0.5), num_classes=1)
    assert regions.classes.tolist() == [1, 1, 1]
    assert not regions.gt_boxes.any()


def _sample(proposals: torch.Tensor, target: dict, num_samples: int = 8):
    return sample_regions(
        proposals,
        target,
        stage_matcher(0.5),
        num_classes=80,
        num_samples=num_samples,
        positive_fraction=0.25,
        sampler=FirstK(),
    )


def test_ground_truth_is_among_the_candidates_and_foreground_comes_first():
    proposals = torch.tensor([[41.0, 41, 50, 50], [0, 0, 9, 10]])
    regions = _sample(proposals, TARGET)
    assert regions.boxes.tolist() == [[0, 0, 9, 10], [0, 0, 10, 10], [41, 41, 50, 50]]
    assert regions.classes.tolist() == [2, 2, 80]  # a quarter of 8 at most is foreground


def test_the_sample_is_no_larger_than_asked():
    regions = _sample(torch.tensor([[41.0, 41, 50, 50]]).repeat(30, 1), TARGET)
    assert len(regions.boxes) == 8
    assert (regions.classes == 80).sum() == 6


def test_no_proposals_and_no_ground_truth_give_no_regions():
    assert len(_sample(torch.zeros(0, 4), EMPTY).boxes) == 0

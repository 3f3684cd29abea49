import torch
from golden_detectors import DeterministicSampler

from cutler_pl.models.pooler import to_rois
from cutler_pl.models.proposals import LabeledProposals, label_proposals, sample_proposals, stage_matcher
from cutler_pl.models.targets import pad_targets

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


def _label(boxes: list[torch.Tensor], targets: list[dict], iou: float) -> LabeledProposals:
    return label_proposals(to_rois(boxes), pad_targets(targets), stage_matcher(iou), num_classes=80)


def test_background_class_is_last():
    boxes = torch.tensor([[20.0, 20, 40, 39], [0, 0, 10, 6], [0, 0, 4, 4], [45, 45, 50, 50]])
    regions = _label([boxes], [TARGET], 0.6)
    assert regions.classes.tolist() == [6, 2, 80, 80]
    assert regions.gt_indices.tolist() == [1, 0, 0, 0]
    assert torch.equal(regions.gt_boxes, TARGET["boxes"][[1, 0, 0, 0]])
    assert regions.gt_classes.tolist() == [6, 2, 2, 2]


def test_match_within_one_image():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40]])
    other = {name: value[1:] for name, value in TARGET.items()}
    regions = _label([boxes, boxes, boxes], [EMPTY, other, TARGET], 0.5)
    assert regions.images.tolist() == [0, 0, 1, 1, 2, 2]
    assert regions.classes.tolist() == [80, 80, 80, 6, 2, 6]
    assert regions.gt_indices.tolist() == [0, 0, 0, 0, 0, 1]
    assert regions.per_image(3) == [2, 2, 2]
    assert not regions.gt_boxes[:2].any()


def test_a_selection_keeps_what_belongs_together():
    regions = _label([torch.tensor([[0.0, 0, 4, 4], [20, 20, 40, 40]])], [TARGET], 0.5)
    chosen = regions.take(torch.tensor([1]))
    assert (chosen.boxes.tolist(), chosen.classes.tolist(), chosen.per_image(2)) == ([[20, 20, 40, 40]], [6], [1, 0])


def _sample(proposals: list[torch.Tensor], targets: list[dict], num_samples: int = 8) -> LabeledProposals:
    return sample_proposals(
        proposals,
        pad_targets(targets),
        stage_matcher(0.5),
        num_classes=80,
        num_samples=num_samples,
        positive_fraction=0.25,
        sampler=DeterministicSampler(),
    )


def test_ground_truth_is_a_proposal():
    """Foreground comes first."""
    proposals = torch.tensor([[41.0, 41, 50, 50], [0, 0, 9, 10]])
    regions = _sample([proposals], [TARGET])
    assert regions.boxes.tolist() == [[0, 0, 9, 10], [0, 0, 10, 10], [41, 41, 50, 50]]
    assert regions.classes.tolist() == [2, 2, 80]  # a quarter of 8 at most is foreground


def test_fewer_candidates_without_padding():
    far = torch.tensor([[41.0, 41, 50, 50]])
    regions = _sample([far.repeat(30, 1), far, far[:0]], [TARGET, EMPTY, TARGET])
    assert regions.per_image(3) == [8, 1, 2]
    assert [(regions.classes[regions.images == i] == 80).sum().item() for i in range(3)] == [6, 1, 0]
    assert (regions.boxes[:, 2:] > regions.boxes[:, :2]).all()


def test_empty_inputs_sample_nothing():
    assert len(_sample([torch.zeros(0, 4)] * 2, [EMPTY] * 2).boxes) == 0


def test_ground_truth_padding_overlaps_nothing():
    truth = pad_targets([EMPTY, TARGET])
    assert truth.boxes.shape == (2, 2, 4)
    assert not truth.boxes[0].any()
    assert truth.classes.tolist() == [[0, 0], [2, 6]]
    assert pad_targets([EMPTY, EMPTY]).boxes.shape == (2, 1, 4)

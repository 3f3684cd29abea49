import pytest
import torch

from cutler_pl.models.cascade import ScoredBoxes
from cutler_pl.models.detections import Detections, rescale_to_original, select_detections


def _select(boxes: list[list[float]], scores: list[list[float]], **options: float) -> Detections:
    scored = ScoredBoxes(torch.tensor(scores), torch.tensor(boxes)[:, None])
    options = {"score_threshold": 0.0, "nms_threshold": 0.5, "max_detections": 100} | options
    return select_detections(scored, (50, 60), **options)


def test_best_first_clipped_and_classes_from_zero():
    found = _select([[0.0, 0, 10, 10], [-5, 20, 80, 70]], [[0.3], [0.9]])
    assert found.boxes.tolist() == [[0, 20, 60, 50], [0, 0, 10, 10]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.3])
    assert found.classes.tolist() == [0, 0]


def test_scores_must_be_above_the_threshold():
    boxes = [[0.0, 0, 10, 10], [20, 20, 30, 30]]
    assert _select(boxes, [[0.5], [0.51]], score_threshold=0.5).boxes.tolist() == [boxes[1]]
    assert _select(boxes, [[0.0], [0.1]]).boxes.tolist() == [boxes[1]]


def test_suppression_is_within_a_class():
    boxes = [[0.0, 0, 10, 10], [0, 0, 10, 9]]
    assert _select(boxes, [[0.8], [0.9]]).boxes.tolist() == [boxes[1]]
    found = _select(boxes, [[0.8, 0.0], [0.0, 0.9]])
    assert found.classes.tolist() == [1, 0]


def test_proposal_detects_every_class():
    """Each class has its own box."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [20, 20, 40, 40]]])
    found = select_detections(
        ScoredBoxes(torch.tensor([[0.6, 0.4]]), boxes),
        (50, 60),
        score_threshold=0.1,
        nms_threshold=0.5,
        max_detections=9,
    )
    assert found.boxes.tolist() == boxes[0].tolist()


def test_limit_and_values_that_are_not_finite():
    boxes = [[10.0 * i, 0, 10.0 * i + 5, 5] for i in range(5)]
    found = _select(boxes, [[0.1], [0.5], [0.3], [0.2], [0.4]], max_detections=2)
    assert found.scores.tolist() == pytest.approx([0.5, 0.4])
    boxes[1][2] = torch.nan
    assert _select(boxes, [[0.1], [0.5], [torch.nan], [0.2], [0.4]]).scores.tolist() == pytest.approx([0.4, 0.2, 0.1])


def test_rescale_detections_and_drop_empty():
    boxes = torch.tensor([[10.0, 20, 30, 40], [5, 5, 5, 9]])
    found = Detections(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 3]))
    compact = rescale_to_original(found, torch.rand(2, 28, 28), resized_hw=(100, 200), size_hw=(50, 60))
    assert compact["boxes"].tolist() == [pytest.approx([3.0, 10.0, 9.0, 20.0])]
    assert compact["labels"].tolist() == [1]
    assert compact["mask_probabilities"].shape == (1, 28, 28)
    assert compact["size_hw"] == (50, 60)


def test_no_regions():
    none = ScoredBoxes(torch.zeros(0, 1), torch.zeros(0, 1, 4))
    found = select_detections(none, (50, 60), score_threshold=0.0, nms_threshold=0.5, max_detections=9)
    compact = rescale_to_original(found, torch.zeros(0, 28, 28), resized_hw=(50, 60), size_hw=(50, 60))
    assert compact["boxes"].shape == (0, 4)

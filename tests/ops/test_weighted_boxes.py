import json
from itertools import chain
from pathlib import Path

import pytest
import torch

from cutler_pl.ops.weighted_boxes import weighted_boxes_fusion

BOXES = torch.tensor([[[0.0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 7]]])
SCORES = torch.tensor([[0.6, 0.8, 0.3]])
ONE_CLASS = torch.ones(1, 3, dtype=torch.int64)
RECORDED = Path(__file__).with_name("ensemble_boxes.json")


def test_mean_is_weighted_by_scores():
    """IoU 0.7; y1 = (0.6·10 + 0.3·7) / 0.9 = 9; score (0.6 + 0.3) / 2, both of two views; 0.8 · 1/2 of one view."""
    fused = weighted_boxes_fusion(BOXES, SCORES, ONE_CLASS, num_views=2)
    torch.testing.assert_close(fused.boxes[0], torch.tensor([[0.0, 0, 10, 9], [50, 50, 60, 60], [0, 0, 0, 0]]))
    torch.testing.assert_close(fused.scores, torch.tensor([[0.45, 0.4, 0.0]]))
    assert fused.clusters.tolist() == [[0, 1, 0]]


def test_scores_fall_by_absent_views():
    fused = weighted_boxes_fusion(BOXES, SCORES, ONE_CLASS, num_views=4)
    torch.testing.assert_close(fused.scores, torch.tensor([[0.9 / 4, 0.8 / 4, 0.0]]))
    assert weighted_boxes_fusion(BOXES, SCORES, ONE_CLASS, num_views=1).scores[0, 0] == pytest.approx(0.45)


def test_third_box_meets_the_mean():
    """IoU with the first box 0.54, with the mean of the first two, of height 9, 0.6."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 10, 5.4]]])
    scores = torch.tensor([[0.6, 0.3, 0.1]])
    fused = weighted_boxes_fusion(boxes, scores, ONE_CLASS, num_views=3)
    assert fused.clusters.tolist() == [[0, 0, 0]]
    assert fused.boxes[0, 0].tolist() == pytest.approx([0, 0, 10, 8.64])


def test_overlap_must_be_above_the_threshold():
    fused = weighted_boxes_fusion(BOXES, SCORES, ONE_CLASS, num_views=2, iou_threshold=0.7)
    assert fused.clusters.tolist() == [[0, 1, 2]]


def test_classes_do_not_meet():
    fused = weighted_boxes_fusion(BOXES, SCORES, torch.tensor([[1, 1, 2]]), num_views=2)
    assert fused.clusters.tolist() == [[0, 1, 2]]


def test_batch_equals_single_images():
    """In any order of the boxes, and with padding."""
    torch.manual_seed(0)
    low = torch.rand(3, 20, 2) * 10
    boxes = torch.cat([low, low + 10 + torch.rand(3, 20, 2) * 5], 2)
    scores, labels = torch.rand(3, 20), torch.randint(1, 3, (3, 20))
    order = torch.randperm(20)
    together = weighted_boxes_fusion(boxes[:, order], scores[:, order], labels[:, order], num_views=3)
    for i in range(3):
        single = weighted_boxes_fusion(boxes[i : i + 1], scores[i : i + 1], labels[i : i + 1], num_views=3)
        torch.testing.assert_close(together.boxes[i], single.boxes[0, order])
        torch.testing.assert_close(together.scores[i], single.scores[0, order])
        assert torch.equal(order[together.clusters[i]], single.clusters[0, order])
    padded = weighted_boxes_fusion(boxes, scores * (torch.arange(20) < 12), labels, num_views=3)
    whole = weighted_boxes_fusion(boxes[:, :12], scores[:, :12], labels[:, :12], num_views=3)
    torch.testing.assert_close(padded.boxes[:, :12], whole.boxes)
    torch.testing.assert_close(padded.scores[:, :12], whole.scores)
    assert not padded.scores[:, 12:].any()


def test_nothing_in_nothing_out():
    none = torch.zeros(2, 0, dtype=torch.int64)
    assert weighted_boxes_fusion(torch.zeros(2, 0, 4), torch.zeros(2, 0), none, num_views=2).scores.shape == (2, 0)


def test_equals_recorded_package():
    """Recorded from ensemble-boxes 1.0.9: `weighted_boxes_fusion` with threshold 0.55 on boxes of three views."""
    recorded = json.loads(RECORDED.read_text())
    boxes, scores, labels = (torch.tensor([[*chain(*recorded[key])]]) for key in ("boxes", "scores", "labels"))
    fused = weighted_boxes_fusion(boxes, scores, labels, num_views=3)
    order = fused.scores[0].argsort(descending=True)[: len(recorded["answers"]["weighted_boxes"]["scores"])]
    wanted = recorded["answers"]["weighted_boxes"]
    assert int((fused.scores > 0).sum()) == len(order)
    assert labels[0, order].tolist() == wanted["labels"]
    torch.testing.assert_close(fused.boxes[0, order], torch.tensor(wanted["boxes"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(fused.scores[0, order], torch.tensor(wanted["scores"]), atol=2e-6, rtol=0)

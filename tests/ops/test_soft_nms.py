import json
from itertools import chain
from pathlib import Path

import pytest
import torch

from cutler_pl.ops.soft_nms import soft_nms

# IoU: 0.6 of the first two, 0.5 of the first and the third, 5 / 6 of the second and the third
BOXES = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 5], [50, 50, 60, 60]]])
SCORES = torch.tensor([[0.9, 0.8, 0.4, 0.7]])
ONE_CLASS = torch.ones(1, 4, dtype=torch.int64)
RECORDED = Path(__file__).with_name("ensemble_boxes.json")


def test_gaussian_decay_by_hand():
    """0.8·exp(-0.36/0.5) = 0.3894; 0.4·exp(-0.25/0.5) = 0.2426, then times exp(-(5/6)²/0.5) = 0.2494."""
    found = soft_nms(BOXES, SCORES, ONE_CLASS, sigma=0.5)
    torch.testing.assert_close(found, torch.tensor([[0.9, 0.38940, 0.06050, 0.7]]), atol=2e-5, rtol=0)


def test_linear_decay_by_hand():
    """0.8·(1 - 0.6) = 0.32; 0.4·(1 - 0.5)·(1 - 5/6) = 0.0333.

    From IoU 0.55 on only, 0.4 stays and is taken before 0.32, which becomes 0.32·(1 - 5/6).
    """
    found = soft_nms(BOXES, SCORES, ONE_CLASS, decay="linear", iou_threshold=0.3)
    torch.testing.assert_close(found, torch.tensor([[0.9, 0.32, 0.2 / 6, 0.7]]))
    found = soft_nms(BOXES, SCORES, ONE_CLASS, decay="linear", iou_threshold=0.55)
    torch.testing.assert_close(found, torch.tensor([[0.9, 0.32 / 6, 0.4, 0.7]]))


def test_decayed_scores_choose_the_next_box():
    """The second falls below the third, which then is taken first and lowers it again: 0.5·0.4·(1 - 5/6)."""
    scores = torch.tensor([[0.9, 0.5, 0.45, 0.0]])
    found = soft_nms(BOXES, scores, ONE_CLASS, decay="linear", iou_threshold=0.3)
    torch.testing.assert_close(found, torch.tensor([[0.9, 0.2 / 6, 0.225, 0.0]]))


def test_classes_do_not_meet():
    labels = torch.tensor([[1, 2, 3, 1]])
    assert torch.equal(soft_nms(BOXES, SCORES, labels), SCORES)


@pytest.mark.parametrize("decay", ["gaussian", "linear"])
def test_batch_equals_single_images(decay):
    """In any order of the boxes, and with padding."""
    torch.manual_seed(0)
    low = torch.rand(3, 20, 2) * 20
    boxes = torch.cat([low, low + 5 + torch.rand(3, 20, 2) * 10], 2)
    scores, labels = torch.rand(3, 20), torch.randint(1, 3, (3, 20))
    order = torch.randperm(20)
    together = soft_nms(boxes[:, order], scores[:, order], labels[:, order], decay=decay)
    for i in range(3):
        single = soft_nms(boxes[i : i + 1], scores[i : i + 1], labels[i : i + 1], decay=decay)
        torch.testing.assert_close(together[i], single[0, order])
    padded = soft_nms(boxes, scores * (torch.arange(20) < 12), labels, decay=decay)
    torch.testing.assert_close(padded[:, :12], soft_nms(boxes[:, :12], scores[:, :12], labels[:, :12], decay=decay))
    assert not padded[:, 12:].any()


def test_nothing_in_nothing_out():
    assert soft_nms(torch.zeros(2, 0, 4), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0)
    assert soft_nms(torch.zeros(0, 3, 4), torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)).shape == (0, 3)


@pytest.mark.parametrize("decay", ["gaussian", "linear"])
def test_equals_recorded_package(decay):
    """Recorded from ensemble-boxes 1.0.9: sigma 0.5, or N_t 0.3, on boxes of three views, class by class.

    By its `cpu_soft_nms_float`; its `soft_nms` gives the scores of before.
    """
    recorded = json.loads(RECORDED.read_text())
    boxes, scores, labels = (torch.tensor([[*chain(*recorded[key])]]) for key in ("boxes", "scores", "labels"))
    found = soft_nms(boxes, scores, labels, decay=decay)
    wanted = recorded["answers"][decay]
    expected = sorted(zip(wanted["labels"], wanted["boxes"], wanted["scores"], strict=True))
    actual = sorted(zip(labels[0].tolist(), boxes[0].tolist(), found[0].tolist(), strict=True))
    for (label, box, score), (label_, box_, score_) in zip(expected, actual, strict=True):
        assert label == label_
        assert box == pytest.approx(box_, abs=1e-5)
        assert score == pytest.approx(score_, abs=2e-6)

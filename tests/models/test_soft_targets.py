"""Soft targets: the score of the matched ground truth in class, box and mask losses."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from cutler_pl.models import Detector, build_detector
from cutler_pl.models.droploss import DropLoss
from cutler_pl.models.losses import box_regression_loss, classification_loss, mask_loss
from cutler_pl.models.pooler import to_rois
from cutler_pl.models.proposals import label_proposals, stage_matcher
from cutler_pl.models.targets import pad_targets
from cutler_pl.ops.boxes import masks_to_boxes
from cutler_pl.types import Target

ARCHITECTURES = ["cascade_mask_rcnn_r50_fpn", "mask_rcnn_r50_fpn"]
TINY: dict[str, Any] = {
    "backbone": "timm/resnet10t", "fpn_channels": 16, "anchor_sizes": (12.0, 24.0, 48.0, 96.0, 160.0),
    "roi_batch_per_image": 32, "box_head_dim": 16, "mask_head_channels": 8, "mask_head_convs": 1,
}  # fmt: skip


def classes_of(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def test_class_target_is_the_score() -> None:
    """(s, 1 - s) for foreground; the gradient is what is predicted less the target."""
    logits = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]], requires_grad=True)  # 3/4 and 1/4
    loss = classification_loss(logits, classes_of(0, 1), scores=torch.tensor([0.6, 1.0]))
    soft, background = -(0.6 * math.log(0.75) + 0.4 * math.log(0.25)), math.log(4)
    assert loss.item() == pytest.approx((soft + background) / 2)
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.15, -0.15], [0.75, -0.75]]) / 2)


def test_score_goes_to_the_own_class() -> None:
    """The rest is the background's, not another class's."""
    logits = torch.tensor([[0.0, math.log(2), math.log(5)]])  # 1/8, 2/8, 5/8
    loss = classification_loss(logits, classes_of(1), scores=torch.tensor([0.25]))
    assert loss.item() == pytest.approx(-(0.25 * math.log(2 / 8) + 0.75 * math.log(5 / 8)))


def test_droploss_weights_multiply_soft_losses() -> None:
    logits, classes, scores = torch.randn(4, 2), classes_of(0, 0, 1, 1), torch.tensor([0.3, 0.7, 1.0, 1.0])
    weights = torch.tensor([1.0, 0.0, 1.0, 0.0])
    each = [classification_loss(logits[i : i + 1], classes[i : i + 1], scores=scores[i : i + 1]) for i in (0, 2)]
    torch.testing.assert_close(classification_loss(logits, classes, weights, scores=scores), sum(each) / 4)


def test_box_loss_times_score() -> None:
    deltas, targets = torch.tensor([[1.0, 1, 1, 1], [5, 5, 5, 5], [0, 0, 2, 0]], requires_grad=True), torch.zeros(3, 4)
    loss = box_regression_loss(
        deltas, classes_of(0, 1, 0), targets, num_classes=1, scores=torch.tensor([0.5, 1.0, 0.25])
    )
    assert loss.item() == pytest.approx((0.5 * 4 + 0.25 * 2) / 3)
    loss.backward()
    assert (deltas.grad * 3).tolist() == [[0.5] * 4, [0.0] * 4, [0.0, 0.0, 0.25, 0.0]]


def test_mask_loss_times_score() -> None:
    """Per instance; the divisor stays the number of all pixels."""
    logits = torch.tensor([0.0, math.log(3)])[:, None, None, None].expand(2, 1, 2, 2)
    targets = torch.ones(2, 2, 2, dtype=torch.bool)
    loss = mask_loss(logits, classes_of(0, 0), targets, scores=torch.tensor([0.5, 0.1]))
    assert loss.item() == pytest.approx((0.5 * math.log(2) + 0.1 * math.log(4 / 3)) / 2)


def test_scores_average_within_groups() -> None:
    rows, scores = torch.tensor([1 / 2, 1 / 4, 1 / 4]), torch.tensor([0.5, 0.2, 1.0])
    logits, classes = torch.randn(3, 2), classes_of(0, 0, 1)
    parts = [classification_loss(logits[p], classes[p], scores=scores[p]) for p in (slice(0, 1), slice(1, 3))]
    torch.testing.assert_close(classification_loss(logits, classes, scores=scores, row_weights=rows), sum(parts) / 2)


def test_regions_have_scores_of_their_masks() -> None:
    """Background is certain, and so are objects without scores."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 4, 4]])
    target = Target(boxes=boxes[:2], labels=classes_of(1, 1), masks=torch.ones(2, 50, 50, dtype=torch.bool))
    scored = target | {"scores": torch.tensor([0.25, 0.5])}
    none = Target(boxes=boxes[:0], labels=classes_of(), masks=torch.ones(0, 50, 50, dtype=torch.bool))
    for targets, expected in (([scored, target, none], [0.25, 0.5, 1, 1, 1, 1, 1, 1, 1]), ([none], [1, 1, 1])):
        rois = to_rois([boxes] * len(targets))
        labeled = label_proposals(rois, pad_targets(targets), stage_matcher(0.5), num_classes=1)
        assert labeled.scores.tolist() == expected


def test_empty_soft_losses_are_zero() -> None:
    none, no_classes = torch.zeros(0), classes_of()
    assert classification_loss(torch.zeros(0, 2), no_classes, scores=none) == 0
    assert box_regression_loss(torch.zeros(0, 4), no_classes, torch.zeros(0, 4), num_classes=1, scores=none) == 0
    assert mask_loss(torch.zeros(0, 1, 4, 4), no_classes, torch.zeros(0, 4, 4, dtype=torch.bool), scores=none) == 0


def batch(scores: Tensor | None) -> tuple[list[Tensor], list[Target]]:
    generator = torch.Generator().manual_seed(5)
    images = [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=generator) for _ in range(2)]
    masks = torch.zeros(2, 64, 96, dtype=torch.bool)
    masks[0, 5:35, 5:35] = True
    masks[1, 20:60, 50:90] = True
    target = Target(boxes=masks_to_boxes(masks), labels=classes_of(1, 1), masks=masks)
    return images, [target if scores is None else target | {"scores": scores} for _ in images]


def losses_of(model: Detector, scores: Tensor | None) -> dict[str, Tensor]:
    model.reseed([(1, 0), (1, 1)])
    return model(*batch(scores))


def detectors(name: str, **options: Any) -> tuple[Detector, Detector]:
    """The same weights with plain and with soft targets; norms do not depend on the batch."""
    torch.manual_seed(0)
    plain = build_detector(name, **(TINY | options))
    soft = build_detector(name, **(TINY | options), soft_targets=True)
    soft.load_state_dict(plain.state_dict())
    return plain, soft


@pytest.mark.parametrize("weights", [None, DropLoss()], ids=["plain", "droploss"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_of_one_change_nothing(name: str, weights: DropLoss | None) -> None:
    """Losses and gradients are the same bit by bit."""
    plain, soft = detectors(name, classification_weights=weights)
    expected = losses_of(plain, None)
    sum(expected.values()).backward()
    found = losses_of(soft, None if weights is None else torch.ones(2))
    assert {key: loss.item() for key, loss in found.items()} == {key: loss.item() for key, loss in expected.items()}
    sum(found.values()).backward()
    for (key, one), other in zip(plain.named_parameters(), soft.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), key


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_act_in_every_stage(name: str) -> None:
    """Each loss but the RPN's is linear in the scores; scores of zero leave nothing but background."""
    _, soft = detectors(name)
    with torch.no_grad():
        none, first, second, mixed = (
            losses_of(soft, torch.tensor(scores)) for scores in ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.25, 0.5])
        )
    assert len(mixed) == (9 if name == ARCHITECTURES[0] else 5)
    for key, loss in mixed.items():
        expected = none[key] + 0.25 * (first[key] - none[key]) + 0.5 * (second[key] - none[key])
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5, msg=key)
        if "rpn" in key:
            assert loss == none[key]
        elif "cls" not in key:
            assert none[key] == 0
            assert loss > 0 or "stage" in key, key


def test_scores_without_soft_targets_are_ignored() -> None:
    plain, _ = detectors(ARCHITECTURES[1])
    with torch.no_grad():
        assert losses_of(plain, torch.tensor([0.1, 0.2])) == losses_of(plain, None)

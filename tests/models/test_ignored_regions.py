"""Regions that match nothing, of images that may hold further objects, give no loss of classes and objectness."""

import torch
from golden_detectors import DeterministicSampler
from torch import Tensor

from cutler_pl.models.cascade import BoxCascade
from cutler_pl.models.config import make_config
from cutler_pl.models.droploss import DropLoss
from cutler_pl.models.image_batch import clip_bounds
from cutler_pl.models.matcher import IGNORED, NEGATIVE, POSITIVE
from cutler_pl.models.pooler import POOLED_STRIDES, to_rois
from cutler_pl.models.proposals import label_proposals
from cutler_pl.models.rpn import RPN
from cutler_pl.models.targets import pad_targets
from cutler_pl.types import Target

SIZE = (64, 64)


def target(*boxes: list[float], **options: float) -> Target:
    return Target(
        boxes=torch.tensor(boxes).view(-1, 4),
        labels=torch.ones(len(boxes), dtype=torch.int64),
        masks=torch.zeros(len(boxes), *SIZE, dtype=torch.bool),
        **options,
    )


ONE = [10.0, 10, 30, 30]
REGIONS = torch.tensor([ONE, [10.0, 10, 30, 50], [25, 25, 45, 45], [40, 40, 60, 60]])  # IoU 1, 0.5, 0.03, 0


def test_regions_match_above_the_limit() -> None:
    """IoU 25 of 775 is 0.032; an image without objects matches nothing, one without a limit counts everywhere."""
    limits = ([ONE], 0.01), ([ONE], 0.04), ([], 0.0)
    targets = pad_targets([*(target(*boxes, ignore_iou=limit) for boxes, limit in limits), target()])
    regions, images = REGIONS.repeat(4, 1), torch.arange(4).repeat_interleave(4)
    matched = targets.matched(regions, images)
    assert matched is not None
    assert matched.view(4, 4).int().tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]
    assert pad_targets([target(ONE)]).matched(REGIONS, torch.zeros(4, dtype=torch.int64)) is None


def class_losses(cascade: BoxCascade, regions: Tensor, one: Target) -> list[float]:
    generator = torch.Generator().manual_seed(1)
    features = [torch.randn(1, 8, 64 // s, 64 // s, generator=generator) for s in POOLED_STRIDES]
    targets = pad_targets([one])
    proposals = label_proposals(to_rois([regions]), targets, cascade.matchers[0], num_classes=1)
    losses = cascade.losses(features, proposals, targets, clip_bounds([SIZE], torch.device("cpu")))
    return [losses[f"loss_cls_stage{stage}"].item() for stage in range(3)]


def test_class_losses_leave_out_what_matches_nothing() -> None:
    """As DropLoss, whose divisor stays; but an image without objects gives none at all."""
    torch.manual_seed(0)
    plain, dropped = (
        BoxCascade(make_config("cascade_mask_rcnn_r50_fpn", fpn_channels=8, box_head_dim=16, classification_weights=w))
        for w in (None, DropLoss(0.01))
    )
    dropped.load_state_dict(plain.state_dict())
    ignoring = class_losses(plain, REGIONS, target(ONE, ignore_iou=0.01))
    assert ignoring == class_losses(dropped, REGIONS, target(ONE))
    assert ignoring == class_losses(dropped, REGIONS, target(ONE, ignore_iou=0.01))
    assert ignoring < class_losses(plain, REGIONS, target(ONE))
    assert class_losses(plain, REGIONS, target(ignore_iou=0.01)) == [0, 0, 0]
    assert min(class_losses(dropped, REGIONS, target())) > 0


def test_anchors_that_match_nothing_are_ignored() -> None:
    config = make_config("mask_rcnn_r50_fpn", fpn_channels=8, rpn_batch_per_image=8)
    rpn = RPN(config, DeterministicSampler())
    both = pad_targets([target(ONE, ignore_iou=0.01), target(ONE), target(ignore_iou=0.01)])
    labels, _ = rpn._label(REGIONS, both)
    assert labels.tolist() == [
        [POSITIVE, IGNORED, NEGATIVE, IGNORED],  # the second lies between the thresholds
        [POSITIVE, IGNORED, NEGATIVE, NEGATIVE],
        [IGNORED] * 4,
    ]

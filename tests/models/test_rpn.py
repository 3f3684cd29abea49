import pytest
import torch
from golden_detectors import DeterministicSampler

from cutler_pl.models.config import make_config
from cutler_pl.models.image_batch import clip_bounds
from cutler_pl.models.rpn import RPN, RPNOutput
from cutler_pl.models.targets import pad_targets
from cutler_pl.ops.boxes import box_iou

SIZES = [(64, 96), (50, 80)]
BOUNDS = clip_bounds(SIZES, torch.device("cpu"))


def _rpn(**options: object) -> RPN:
    options = {"fpn_channels": 32, "anchor_sizes": (8, 16, 32, 64, 128)} | options
    return RPN(make_config("mask_rcnn_r50_fpn", **options), DeterministicSampler()).eval()


def _features() -> list[torch.Tensor]:
    return [torch.randn(2, 32, -(-64 // s), -(-96 // s)) for s in (4, 8, 16, 32, 64)]


def _target(boxes: list[list[float]]) -> dict:
    return {
        "boxes": torch.tensor(boxes).view(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "masks": torch.zeros(len(boxes), 64, 96, dtype=torch.bool),
    }


def _one_level(boxes: list[list[float]], logits: list[float]) -> RPNOutput:
    """An output that proposes these boxes on the first level."""
    none = torch.zeros(0, 4), torch.zeros(1, 0), torch.zeros(1, 0, 4)
    first = torch.tensor(boxes), torch.tensor([logits]), torch.zeros(1, len(boxes), 4)
    return RPNOutput(*(list(parts) for parts in zip(first, none, none, none, none, strict=True)))


def test_every_anchor_of_every_level_is_judged():
    output = _rpn()(_features())
    assert [len(a) for a in output.anchors] == [16 * 24 * 3, 8 * 12 * 3, 4 * 6 * 3, 2 * 3 * 3, 1 * 2 * 3]
    assert all(x.shape == (2, len(a)) for x, a in zip(output.logits, output.anchors, strict=True))
    assert all(x.shape == (2, len(a), 4) for x, a in zip(output.deltas, output.anchors, strict=True))


def test_logits_and_anchors_are_in_one_order():
    rpn, features = _rpn(), [torch.zeros(1, 32, -(-64 // s), -(-96 // s)) for s in (4, 8, 16, 32, 64)]
    features[1][0, :, 5, 7] = 1.0
    with torch.no_grad():
        rpn.head.conv.weight.zero_()
        rpn.head.conv.weight[:, :, 1, 1] = 1.0
        rpn.head.objectness_logits.weight.fill_(1.0)
    output = rpn(features)
    brightest = output.anchors[1][output.logits[1][0] == output.logits[1].max()]
    centers = (brightest[:, :2] + brightest[:, 2:]) / 2
    assert centers.tolist() == [[7 * 8.0, 5 * 8.0]] * 3


def test_proposals_are_sorted_clipped_and_limited():
    rpn = _rpn(rpn_post_nms_test=20, rpn_nms_threshold=0.9)
    for proposals, (height, width) in zip(rpn.propose(rpn(_features()), BOUNDS), SIZES, strict=True):
        assert len(proposals.boxes) == 20
        assert (proposals.logits.diff() <= 0).all()
        assert (proposals.boxes >= 0).all()
        assert (proposals.boxes[:, 2:] <= torch.tensor([width, height])).all()


def test_overlapping_proposals_of_a_level_are_suppressed():
    rpn = _rpn(rpn_nms_threshold=0.65)
    boxes = [[0.0, 0, 20, 20], [0, 0, 20, 19], [0, 0, 20, 10]]
    proposals = rpn.propose(_one_level(boxes, [1.0, 3.0, 2.0]), BOUNDS[:1])[0]
    assert proposals.boxes.tolist() == [boxes[1], boxes[2]]
    assert proposals.logits.tolist() == [3.0, 2.0]


def test_levels_do_not_suppress_each_other():
    rpn = _rpn()
    first = _one_level([[0.0, 0, 20, 20]], [1.0])
    both = RPNOutput(*([part[0], part[0], *part[2:]] for part in first))
    assert len(rpn.propose(both, BOUNDS[:1])[0].boxes) == 2


def test_drop_empty_and_non_finite_proposals():
    rpn = _rpn()
    output = _one_level(
        [[0.0, 0, 20, 20], [30, 30, 50, 50], [200, 200, 300, 300], [0, 30, 9, 60]], [0.5, 3.0, 2.0, 9.0]
    )
    output.deltas[0][0, 1, 0] = torch.nan
    output.logits[0][0, 3] = torch.inf
    assert rpn.propose(output, BOUNDS[:1])[0].boxes.tolist() == [[0, 0, 20, 20]]


def test_training_keeps_more_proposals():
    rpn = _rpn(rpn_pre_nms_train=50, rpn_pre_nms_test=5, rpn_post_nms_train=60, rpn_post_nms_test=10)
    output = rpn(_features())
    assert len(rpn.propose(output, BOUNDS)[0].boxes) <= 10
    assert len(rpn.train().propose(output, BOUNDS)[0].boxes) > 10


def test_losses_of_perfect_and_no_prediction():
    rpn = _rpn()
    features = [torch.zeros(1, 32, -(-64 // s), -(-96 // s)) for s in (4, 8, 16, 32, 64)]
    output, target = rpn(features), _target([[40.0, 24, 72, 56]])
    losses = rpn.losses(output, pad_targets([target]))
    assert losses["loss_rpn_cls"].item() == pytest.approx(0.6931, abs=1e-3)  # logits 0: log 2 for each sampled anchor
    overlap = box_iou(target["boxes"], torch.cat(output.anchors))
    assert overlap.max() < 1
    assert losses["loss_rpn_loc"] > 0


def test_no_ground_truth_gives_finite_losses_and_gradients():
    rpn = _rpn()
    sum(rpn.losses(rpn(_features()), pad_targets([_target([]), _target([])])).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in rpn.parameters())

import pytest
import torch

from cutler_pl.models.cascade import BoxCascade
from cutler_pl.models.config import make_config
from cutler_pl.models.image_batch import clip_bounds
from cutler_pl.models.pooler import POOLED_STRIDES, to_rois
from cutler_pl.models.proposals import label_proposals
from cutler_pl.models.targets import pad_targets
from cutler_pl.ops.boxes import clip_boxes

SIZE = (128, 128)
BOUNDS = clip_bounds([SIZE], torch.device("cpu"))
TARGET = {
    "boxes": torch.tensor([[10.0, 10, 60, 60], [70, 70, 120, 110]]),
    "labels": torch.ones(2, dtype=torch.int64),
    "masks": torch.zeros(2, 128, 128, dtype=torch.bool),
}
PROPOSALS = torch.tensor([[12.0, 10, 60, 62], [70, 72, 118, 110], [0, 90, 30, 120]])


def _cascade(name: str = "cascade_mask_rcnn_r50_fpn", **options: object) -> BoxCascade:
    return BoxCascade(make_config(name, fpn_channels=8, box_head_dim=16, **options))


def _features() -> list[torch.Tensor]:
    return [torch.randn(1, 8, 128 // s, 128 // s) for s in POOLED_STRIDES]


def _losses(cascade: BoxCascade, boxes: torch.Tensor = PROPOSALS, target: dict = TARGET) -> dict[str, torch.Tensor]:
    targets = pad_targets([target])
    proposals = label_proposals(to_rois([boxes]), targets, cascade.matchers[0], num_classes=cascade.config.num_classes)
    return cascade.losses(_features(), proposals, targets, BOUNDS)


def test_each_stage_has_its_losses():
    cascade = _cascade()
    losses = _losses(cascade)
    assert list(losses) == [f"{loss}_stage{k}" for k in range(3) for loss in ("loss_cls", "loss_box_reg")]
    single = _cascade("mask_rcnn_r50_fpn")
    assert list(_losses(single)) == ["loss_cls", "loss_box_reg"]


def test_stages_share_the_feature_gradient():
    cascade, single = _cascade(), _cascade("mask_rcnn_r50_fpn")
    single[0].load_state_dict(cascade[0].state_dict())
    gradients, values = [], _features()
    for stages in (cascade, single):
        features = [f.clone().requires_grad_() for f in values]
        logits = stages(features, to_rois([PROPOSALS]), 0).logits
        gradients.append(torch.autograd.grad(logits.square().sum(), features[0])[0])
    torch.testing.assert_close(gradients[0], gradients[1] / 3)
    assert gradients[1].any()


def test_mean_scores_and_last_boxes():
    """Scores are the mean of the stages, boxes those of the last."""
    cascade, features = _cascade(num_classes=3), _features()
    with torch.no_grad():
        for stage in cascade:
            stage.predictor["bbox_pred"].weight.normal_(std=0.5)
        boxes, probabilities = [PROPOSALS], []
        for k in range(3):
            output = cascade(features, to_rois(boxes), k)
            probabilities.append(output.logits.softmax(1))
            boxes = [clip_boxes(output.boxes[:, 0], SIZE)]
        scored = cascade.predict(features, [PROPOSALS], BOUNDS)[0]
    torch.testing.assert_close(scored.scores, (sum(probabilities) / 3)[:, :3])
    assert torch.equal(scored.boxes, output.boxes)
    assert not torch.equal(scored.boxes[:, 0], PROPOSALS)


def test_later_stages_train_on_refined_boxes():
    """Each stage trains on the boxes of the one before, at a higher IoU."""
    cascade = _cascade()
    with torch.no_grad():
        for stage in cascade:
            stage.predictor["bbox_pred"].weight.zero_()
            stage.predictor["bbox_pred"].bias.zero_()
    losses = _losses(cascade, torch.tensor([[10.0, 10, 60, 42]]))
    assert losses["loss_box_reg_stage0"] > 0  # IoU 0.64: foreground at 0.5 and 0.6, background at 0.7
    assert losses["loss_box_reg_stage1"] > losses["loss_box_reg_stage0"]  # larger box weights
    assert losses["loss_box_reg_stage2"] == 0


def test_weights_see_predicted_boxes_and_all_ground_truth():
    seen = []

    def weigh(images, *, stage):
        seen.append((stage, images))
        return torch.zeros(sum(len(i.predicted_boxes) for i in images))

    cascade = _cascade(classification_weights=weigh)
    losses = _losses(cascade)
    assert [stage for stage, _ in seen] == [0, 1, 2]
    assert all(torch.equal(images[0].gt_boxes, TARGET["boxes"]) for _, images in seen)
    assert [losses[f"loss_cls_stage{k}"].item() for k in range(3)] == [0, 0, 0]


def test_class_specific_box_weights():
    """Boxes are weighted by the class of their ground truth."""
    seen = []

    def weigh(images, *, stage):
        seen.extend(images)
        return torch.ones(sum(len(i.predicted_boxes) for i in images))

    stages = _cascade("mask_rcnn_r50_fpn", num_classes=2, classification_weights=weigh)
    with torch.no_grad():
        stages[0].predictor["bbox_pred"].weight.zero_()
        stages[0].predictor["bbox_pred"].bias.copy_(torch.tensor([0.0, 0, 0, 0, 10, 0, 0, 0]))
    target = TARGET | {"labels": torch.tensor([1, 2])}
    _losses(stages, PROPOSALS[:2], target)
    assert torch.equal(seen[0].predicted_boxes[0], PROPOSALS[0])
    width = PROPOSALS[1, 2] - PROPOSALS[1, 0]
    assert seen[0].predicted_boxes[1, 0].item() == pytest.approx((PROPOSALS[1, 0] + width).item())


def test_no_proposals_give_attached_zero_losses():
    """The losses reach every parameter."""
    cascade = _cascade()
    losses = _losses(cascade, torch.zeros(0, 4))
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in cascade.parameters())
    assert cascade.predict(_features(), [torch.zeros(0, 4)], BOUNDS)[0].scores.shape == (0, 1)

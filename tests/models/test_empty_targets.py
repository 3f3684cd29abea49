"""Batches without objects, or without regions: every parameter still gets a finite gradient, as DDP needs."""

import pytest
import torch
from torch import Tensor

from cutler_pl.models import Detector, build_detector
from cutler_pl.models.droploss import DropLoss, DropLossOriginal
from cutler_pl.models.targets import pad_targets
from cutler_pl.types import Target

IMAGES = [torch.full((3, 64, 96), 90, dtype=torch.uint8), torch.full((3, 80, 64), 30, dtype=torch.uint8)]


def target(image: Tensor, num_objects: int) -> Target:
    masks = torch.zeros(num_objects, *image.shape[1:], dtype=torch.bool)
    masks[:, 8:40, 16:48] = True
    boxes = torch.tensor([[16.0, 8.0, 48.0, 40.0]]).repeat(num_objects, 1)
    return Target(boxes=boxes, labels=torch.ones(num_objects, dtype=torch.int64), masks=masks)


def tiny(name: str, weights: DropLoss | DropLossOriginal | None, num_classes: int = 1) -> Detector:
    return build_detector(
        name,
        num_classes,
        backbone="resnet18",
        norm="frozen",
        fpn_channels=16,
        box_head_dim=16,
        mask_head_channels=16,
        classification_weights=weights,
    ).train()


@pytest.mark.parametrize("objects", [(0, 0), (0, 1), (2, 0)], ids=str)
@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("cascade_mask_rcnn_r50_fpn", DropLoss()),
        ("cascade_mask_rcnn_r50_fpn", DropLossOriginal()),
        ("mask_rcnn_r50_fpn", None),
    ],
    ids=["cascade", "cascade original", "single"],
)
def test_images_without_objects(
    name: str, weights: DropLoss | DropLossOriginal | None, objects: tuple[int, int]
) -> None:
    model = tiny(name, weights, num_classes=3)
    losses = model(IMAGES, [target(image, n) for image, n in zip(IMAGES, objects, strict=True)])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    if objects == (0, 0):
        for key in ("loss_mask", "loss_rpn_loc", *(k for k in losses if "box_reg" in k)):
            assert losses[key].item() == 0.0


@pytest.mark.parametrize("name", ["cascade_mask_rcnn_r50_fpn", "mask_rcnn_r50_fpn"])
def test_images_without_any_region(name: str) -> None:
    model = tiny(name, DropLoss())
    batch = model.batch(IMAGES)
    features = model.backbone(batch.pixels)
    targets = [target(i, 0) for i in IMAGES]
    losses = model.roi_heads.losses(
        features, [torch.zeros(0, 4)] * 2, pad_targets(targets), [t["masks"] for t in targets], batch.bounds
    )
    sum(losses.values()).backward()
    assert all(loss.item() == 0.0 for loss in losses.values())
    assert all(parameter.grad is not None for parameter in model.roi_heads.parameters())


def test_training_under_autocast_has_float32_losses() -> None:
    model = tiny("cascade_mask_rcnn_r50_fpn", DropLoss())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(IMAGES, [target(image, 1) for image in IMAGES])
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters())

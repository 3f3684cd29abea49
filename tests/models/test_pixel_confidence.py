"""Confidence of pixels as weights of the mask loss."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cutler_pl.coco import rle
from cutler_pl.coco.confidence import ConfidenceMap, encode
from cutler_pl.data.instances import InstanceDataset
from cutler_pl.data.sampler import SampleKey
from cutler_pl.data.training_set import TrainingSet
from cutler_pl.data.transforms import TrainTransformParams
from cutler_pl.models import Detector, build_detector
from cutler_pl.models.droploss import DropLoss
from cutler_pl.models.losses import mask_loss, mask_weights
from cutler_pl.ops.boxes import masks_to_boxes
from cutler_pl.types import Target

TINY: dict[str, Any] = {
    "backbone": "timm/resnet10t", "fpn_channels": 16, "anchor_sizes": (12.0, 24.0, 48.0, 96.0, 160.0),
    "roi_batch_per_image": 32, "box_head_dim": 16, "mask_head_channels": 8, "mask_head_convs": 1,
}  # fmt: skip
NAME = "cascade_mask_rcnn_r50_fpn"
ALL = {"soft_targets": True, "classification_weights": DropLoss()}


def test_each_pixel_counts_by_its_weight() -> None:
    """Times the score of its box; the divisor stays the number of all pixels."""
    logits = torch.tensor([0.0, math.log(3)])[:, None, None, None].expand(2, 1, 2, 2).requires_grad_()
    weights = torch.tensor([[[1.0, 0.5], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    targets, classes = torch.ones(2, 2, 2, dtype=torch.bool), torch.zeros(2, dtype=torch.int64)
    loss = mask_loss(logits, classes, targets, pixel_weights=weights, scores=torch.tensor([0.8, 0.1]))
    assert loss.item() == pytest.approx((0.8 * 1.5 * math.log(2) + 0.1 * 4 * math.log(4 / 3)) / 8)


def test_weights_are_means_over_cells() -> None:
    """2×2 cells of 2×2 pixels each; a box beyond the image is certain there."""
    confidence = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    confidence[1, :2, :2] = torch.tensor([[0, 0], [0, 204]])
    confidence[1, 2:, 2:] = 51
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [2, 2, 10, 10]])
    weights = mask_weights(confidence, boxes, torch.tensor([1, 0, 1]), size=2)
    expected = [[[0.2, 1.0], [1.0, 0.2]], [[1.0, 1.0], [1.0, 1.0]]]
    torch.testing.assert_close(weights[:2], torch.tensor(expected))
    assert weights[2, 1, 1] == 1
    assert mask_weights(confidence, boxes[:0], torch.zeros(0, dtype=torch.int64), size=2).shape == (0, 2, 2)


def batch(confidence: Tensor | None, scores: Tensor | None = None) -> tuple[list[Tensor], list[Target]]:
    """Two images of two objects; the second has no confidence."""
    generator = torch.Generator().manual_seed(5)
    images = [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=generator) for _ in range(2)]
    masks = torch.zeros(2, 64, 96, dtype=torch.bool)
    masks[0, 5:35, 5:35] = True
    masks[1, 20:60, 50:90] = True
    target = Target(boxes=masks_to_boxes(masks), labels=torch.ones(2, dtype=torch.int64), masks=masks)
    if scores is not None:
        target["scores"] = scores
    return images, [target if confidence is None else {**target, "confidence": confidence}, target]


def losses_of(model: Detector, *of: Tensor | None) -> dict[str, Tensor]:
    model.reseed([(1, 0), (1, 1)])
    return model(*batch(*of))


def detectors(**options: Any) -> tuple[Detector, Detector]:
    """The same weights with and without confidence."""
    torch.manual_seed(0)
    plain = build_detector(NAME, **TINY, **options)
    weighted = build_detector(NAME, **TINY, **options, pixel_confidence=True)
    weighted.load_state_dict(plain.state_dict())
    return plain, weighted


@pytest.mark.parametrize("options", [{}, ALL], ids=["plain", "soft droploss"])
@pytest.mark.parametrize("given", [True, False])
def test_certain_pixels_change_nothing(options: dict[str, Any], given: bool) -> None:
    """Losses and gradients are the same bit by bit, with maps of 1 and without maps."""
    plain, weighted = detectors(**options)
    scores = torch.tensor([0.3, 0.9]) if options else None
    expected = losses_of(plain, None, scores)
    sum(expected.values()).backward()
    found = losses_of(weighted, torch.full((2, 64, 96), 255, dtype=torch.uint8) if given else None, scores)
    assert {key: loss.item() for key, loss in found.items()} == {key: loss.item() for key, loss in expected.items()}
    sum(found.values()).backward()
    for (key, one), other in zip(plain.named_parameters(), weighted.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), key


def test_only_the_mask_loss_takes_confidence() -> None:
    """It is linear in it, beside scores and DropLoss; the first image leaves nothing where all is doubtful."""
    plain, weighted = detectors(**ALL)
    scores = torch.tensor([0.5, 0.25])
    none, fifth, full = (torch.full((2, 64, 96), value, dtype=torch.uint8) for value in (0, 51, 255))
    with torch.no_grad():
        nothing, some, whole = (losses_of(weighted, confidence, scores) for confidence in (none, fifth, full))
        assert losses_of(plain, none, scores) == whole
    for key in whole:
        if key != "loss_mask":
            assert nothing[key] == some[key] == whole[key], key
    assert nothing["loss_mask"] < whole["loss_mask"]
    fraction = nothing["loss_mask"] + 0.2 * (whole["loss_mask"] - nothing["loss_mask"])
    torch.testing.assert_close(some["loss_mask"], fraction)


def test_file_to_loss(tmp_path: Path) -> None:
    """A score and a map of an annotation file reach the losses of every stage."""
    mask = np.zeros((64, 96), dtype=bool)
    mask[10:50, 20:80] = True
    encoded = rle.encode(mask)
    record = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": rle.bbox(encoded), "area": 2400}
    image = {"id": 1, "file_name": "a.png", "height": 64, "width": 96}
    Image.fromarray((mask[..., None] * np.uint8(200)).repeat(3, 2)).save(tmp_path / "a.png")
    nowhere = encode(ConfidenceMap(np.zeros((4, 6), np.uint8), (0.0, 0.0, 96.0, 64.0)))
    model = detectors(**ALL)[1]
    found = {}
    for name, more in {"plain": {}, "doubtful": {"score": 0.0}, "unsure": {"confidence_map": nowhere}}.items():
        annotations = [{**record, "segmentation": encoded, **more}]
        path = tmp_path / f"{name}.json"
        categories = [{"id": 1, "name": "a"}]
        path.write_text(json.dumps({"images": [image], "annotations": annotations, "categories": categories}))
        training_set = TrainingSet(images=tmp_path, annotations=path, class_agnostic=True, filter_empty=True)
        transforms = TrainTransformParams(train_sizes=(64,), max_size=96, flip_probability=0.0)
        sample = InstanceDataset(training_set, transforms, seed=0)[SampleKey(0, 0, 0)]
        model.reseed([(1, 0)])
        with torch.no_grad():
            found[name] = model([sample.image], [sample.target])
    plain, doubtful, unsure = found["plain"], found["doubtful"], found["unsure"]
    for stage in range(3):
        assert doubtful[f"loss_cls_stage{stage}"] != plain[f"loss_cls_stage{stage}"]
        assert doubtful[f"loss_box_reg_stage{stage}"] == 0
    assert doubtful["loss_mask"] == 0 < plain["loss_mask"]
    assert unsure["loss_mask"].item() == pytest.approx(0, abs=1e-8)
    assert plain["loss_box_reg_stage0"] > 0
    assert {key for key in plain if unsure[key] != plain[key]} == {"loss_mask"}

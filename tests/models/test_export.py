"""What inference does differently while it is traced, run without a trace: the results are the usual ones.

The loop that pastes masks cannot be run so; `tests/pipelines/test_export.py` has it, in a file of its own.
"""

import pytest
import torch

from cutler_pl.models import build_detector
from cutler_pl.models.image_batch import batch_images
from cutler_pl.ops.resize import resize_image, resized_size_hw

SMALL = {
    "backbone": "timm/test_resnet",
    "fpn_channels": 16,
    "box_head_dim": 32,
    "mask_head_channels": 8,
    "anchor_sizes": (8, 16, 32, 64, 128),
    "rpn_pre_nms_test": 50,
    "rpn_post_nms_test": 40,
    "min_size_test": 64,
    "max_size_test": 96,
}


@pytest.fixture
def as_exported(monkeypatch: pytest.MonkeyPatch):
    def run(function, *args, **options):
        with monkeypatch.context() as patch:
            patch.setattr(torch.compiler, "is_exporting", lambda: True)
            return function(*args, **options)

    return run


def _image(*size_hw: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, *size_hw), dtype=torch.uint8)


@pytest.mark.parametrize("size_hw", [(480, 640), (640, 480), (500, 500), (49, 49), (1, 3000), (333, 1000), (427, 640)])
def test_resized_size(as_exported, size_hw):
    options = {"shortest": 800, "longest": 1333}
    assert as_exported(resized_size_hw, size_hw, **options) == resized_size_hw(size_hw, **options)


@pytest.mark.parametrize("size_hw", [(64, 85), (30, 40), (48, 64), (48, 80)])
def test_resized_pixels(as_exported, size_hw):
    image = _image(48, 64)
    assert torch.equal(as_exported(resize_image, image, size_hw), resize_image(image, size_hw))


def test_batch(as_exported):
    images, mean, std = [_image(50, 70)], torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 5, 6])
    options = {"divisor": 32, "channels_last": False}
    found, usual = as_exported(batch_images, images, mean, std, **options), batch_images(images, mean, std, **options)
    assert torch.equal(found.pixels, usual.pixels)
    assert found.sizes_hw == usual.sizes_hw


@pytest.mark.parametrize("name", ["cascade_mask_rcnn_r50_fpn", "mask_rcnn_r50_fpn"])
def test_whole_path(as_exported, name):
    detector, image = build_detector(name, 3, **SMALL).eval(), _image(60, 80)
    found, usual = as_exported(detector.predict, [image])[0], detector.predict([image])[0]
    assert len(found["boxes"]) == len(usual["boxes"]) > 10
    for key in ("boxes", "scores", "mask_probabilities"):
        torch.testing.assert_close(found[key], usual[key], rtol=0, atol=1e-4)
    assert torch.equal(found["labels"], usual["labels"])

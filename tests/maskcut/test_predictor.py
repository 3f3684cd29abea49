"""The predictor of one batch: what it gives beside the masks."""

import pytest
import torch
from torch.nn import functional as F

from cutler_pl.maskcut import MaskCutParams
from cutler_pl.maskcut.descriptors import PatchDescriptors
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.ops.masks import paired_iou

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_agreement_compares_before_and_after(device: str) -> None:
    images = torch.full((2, 3, 64, 64), 40, dtype=torch.uint8)
    images[0, :, 16:40, 8:48] = 220
    images[1, 0, 24:, 24:] = 250
    predictor = MaskCutPredictor(PatchDescriptors().to(device), MaskCutParams(num_masks=2))
    for found in predictor.predict(["a", "b"], images.to(device)):
        assert found is not None
        assert found.refined.any()
        before = F.interpolate(found.coarse[None].float(), (64, 64), mode="nearest")[0].bool()
        torch.testing.assert_close(found.agreements, paired_iou(before, found.refined), equal_nan=True)
        tensors = (found.coarse, found.refined, found.scores, found.agreements, *found.maps.values())
        assert {tensor.device.type for tensor in tensors} == {"cpu"}
        assert [*found.maps] == ["eigenvector 1", "eigenvector 2"]

import pytest
import torch
from torchvision.ops import roi_align

from cutler_pl.ops import roi_align as ops


def roi_align_cpu(features: torch.Tensor, rois: torch.Tensor, size: int, *, spatial_scale: float) -> torch.Tensor:
    levels = torch.zeros(len(rois), dtype=torch.int64)
    return ops.roi_align_cpu([features], rois, levels, size, spatial_scales=[spatial_scale])


def _rois(count: int, batch: int, height: int, width: int, stride: int) -> torch.Tensor:
    """Boxes of all sizes, some of them partly or wholly outside, some without area."""
    center = torch.rand(count, 2) * torch.tensor([width, height]) * stride
    half = torch.rand(count, 2) * stride * max(height, width) * torch.rand(count, 1) * 0.6
    image = torch.randint(0, batch, (count, 1)).float()
    rois = torch.cat([image, center - half, center + half], dim=1)
    rois[0, 3:] = rois[0, 1:3]
    rois[1, 3] = rois[1, 1]
    rois[2, 1:] = torch.tensor([-500.0, -500, -300, -300])
    return rois


@pytest.mark.parametrize(
    ("size", "stride", "shape"), [(7, 4, (2, 8, 40, 52)), (14, 16, (1, 3, 9, 30)), (2, 32, (3, 1, 5, 4))]
)
def test_equals_torchvision(size, stride, shape):
    features = torch.randn(shape)
    rois = _rois(60, shape[0], shape[2], shape[3], stride)
    expected = roi_align(features, rois, size, spatial_scale=1 / stride, sampling_ratio=0, aligned=True)
    torch.testing.assert_close(
        roi_align_cpu(features, rois, size, spatial_scale=1 / stride), expected, rtol=0, atol=2e-5
    )


def test_gradient_equals_torchvision():
    features = torch.randn(2, 4, 20, 25, requires_grad=True)
    rois, cotangent = _rois(40, 2, 20, 25, 8), torch.randn(40, 4, 7, 7)
    theirs = roi_align(features, rois, 7, spatial_scale=1 / 8, sampling_ratio=0, aligned=True)
    ours = roi_align_cpu(features, rois, 7, spatial_scale=1 / 8)
    expected = torch.autograd.grad(theirs, features, cotangent)[0]
    torch.testing.assert_close(torch.autograd.grad(ours, features, cotangent)[0], expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_memory_layout_makes_no_difference(layout):
    features = torch.randn(1, 4, 12, 12)
    rois = torch.tensor([[0.0, 3, 4, 40, 33]])
    expected = roi_align_cpu(features, rois, 7, spatial_scale=0.25)
    assert torch.equal(roi_align_cpu(features.to(memory_format=layout), rois, 7, spatial_scale=0.25), expected)


def test_constant_map_gives_the_constant():
    pooled = roi_align_cpu(torch.full((1, 2, 10, 10), 3.0), torch.tensor([[0.0, 4, 4, 30, 22]]), 7, spatial_scale=0.25)
    torch.testing.assert_close(pooled, torch.full((1, 2, 7, 7), 3.0))


def test_no_regions():
    assert roi_align_cpu(torch.randn(2, 3, 8, 8), torch.zeros(0, 5), 7, spatial_scale=0.25).shape == (0, 3, 7, 7)

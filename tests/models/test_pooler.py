import pytest
import torch
from torchvision.ops import roi_align

from cutler_pl.models.pooler import POOLED_STRIDES, assign_levels, pool_boxes, prepare_features, to_rois


@pytest.mark.parametrize(
    ("side", "level"), [(0.0, 0), (16.0, 0), (111.0, 0), (112.0, 1), (223.0, 1), (224.0, 2), (448.0, 3), (5000.0, 3)]
)
def test_level_per_doubling_of_side(side, level):
    assert assign_levels(torch.tensor([[10.0, 20, 10 + side, 20 + side]])).item() == level


def _features(batch: int = 2) -> list[torch.Tensor]:
    return [torch.randn(batch, 3, 1024 // s, 1024 // s) for s in (*POOLED_STRIDES, 64)]


def test_pool_by_image_and_level():
    """The order of the proposals is kept."""
    features = _features()
    boxes = [
        torch.tensor([[0.0, 0, 500, 500], [5, 5, 20, 30], [10, 10, 200, 240]]),
        torch.tensor([[30.0, 0, 400, 350], [0, 0, 120, 130]]),
    ]
    pooled = pool_boxes(features, to_rois(boxes), 7)
    assert pooled.shape == (5, 3, 7, 7)
    for i, (image, box, level) in enumerate(zip([0, 0, 0, 1, 1], torch.cat(boxes), [3, 0, 1, 2, 1], strict=True)):
        rois = torch.cat([torch.tensor([float(image)]), box])[None]
        scale = 1 / POOLED_STRIDES[level]
        alone = roi_align(features[level], rois, 7, spatial_scale=scale, sampling_ratio=0, aligned=True)
        torch.testing.assert_close(pooled[i], alone[0], rtol=0, atol=1e-5)


def test_images_without_regions():
    features = _features()
    assert pool_boxes(features, to_rois([torch.zeros(0, 4), torch.zeros(0, 4)]), 7).shape == (0, 3, 7, 7)
    boxes = torch.tensor([[3.0, 3, 60, 60]])
    only_second = pool_boxes(features, to_rois([torch.zeros(0, 4), boxes]), 7)
    torch.testing.assert_close(only_second, pool_boxes([f[1:] for f in features], to_rois([boxes]), 7))


def test_features_without_regions_still_get_a_gradient():
    features = [f.requires_grad_() for f in _features()]
    pool_boxes(features, to_rois([torch.zeros(0, 4)] * 2), 7).sum().backward()
    assert all(f.grad is not None and not f.grad.any() for f in features[:4])


def test_rois_start_with_image_index():
    rois = to_rois([torch.ones(2, 4), torch.zeros(0, 4), torch.full((1, 4), 5.0)])
    assert rois.tolist() == [[0, 1, 1, 1, 1], [0, 1, 1, 1, 1], [2, 5, 5, 5, 5]]


def test_pooled_maps_are_float32():
    """The coarsest map is left out."""
    poolable = prepare_features([f.bfloat16() for f in _features()])
    assert len(poolable) == 4
    assert all(f.dtype == torch.float32 and f.is_contiguous(memory_format=torch.channels_last) for f in poolable)


def test_export_sees_torchvisions_operator(monkeypatch):
    features = prepare_features(_features())
    rois = to_rois([torch.tensor([[3.0, 3, 60, 90]]), torch.tensor([[20.0, 0, 900, 700]])])
    expected = pool_boxes(features, rois, 7)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(pool_boxes(features, rois, 7), expected, rtol=0, atol=1e-5)

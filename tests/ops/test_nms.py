import pytest
import torch
from torchvision.ops import nms

from cutler_pl.ops.nms import nms_by_passes, nms_sorted

BY = {"loop": nms_sorted, "passes": nms_by_passes}


@pytest.fixture(params=list(BY))
def suppress(request):
    return BY[request.param]


def test_kept_better_box_suppresses(suppress):
    """A box is suppressed only by a better one that is kept."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 5], [50, 50, 60, 60]]])
    usable = torch.ones(1, 4, dtype=torch.bool)
    assert suppress(boxes, usable, 0.55).tolist() == [[True, False, True, True]]
    assert suppress(boxes, usable, 0.7).tolist() == [[True, True, False, True]]


def test_overlap_must_be_above_the_threshold(suppress):
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 5]]])
    assert suppress(boxes, torch.ones(1, 2, dtype=torch.bool), 0.5).all()


def test_invalid_boxes_neither_stay_nor_suppress(suppress):
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9]]])
    assert suppress(boxes, torch.tensor([[False, True]]), 0.5).tolist() == [[False, True]]


def test_long_chains_are_settled_link_by_link(suppress):
    start = torch.arange(60.0)
    boxes = torch.stack([start, start * 0, start + 3, start * 0 + 1], dim=1)[None]
    kept = suppress(boxes, torch.ones(1, 60, dtype=torch.bool), 0.4)[0]
    assert kept.tolist() == [i % 2 == 0 for i in range(60)]


@pytest.mark.parametrize("threshold", [0.3, 0.65])
def test_equals_torchvision_in_every_group(suppress, threshold):
    low = torch.rand(3, 150, 2) * 60
    boxes = torch.cat([low, low + 5 + torch.rand(3, 150, 2) * 30], dim=2)
    kept = suppress(boxes, torch.ones(3, 150, dtype=torch.bool), threshold)
    for group, mask in zip(boxes, kept, strict=True):
        expected = nms(group, -torch.arange(150.0), threshold)
        assert torch.nonzero(mask)[:, 0].tolist() == sorted(expected.tolist())


@pytest.mark.parametrize("shape", [(2, 0), (0, 3)])
def test_nothing_to_suppress(suppress, shape):
    assert suppress(torch.zeros(*shape, 4), torch.zeros(shape, dtype=torch.bool), 0.5).shape == shape


@pytest.mark.gpu
def test_gpu_keeps_the_same_boxes():
    low = torch.rand(4, 2000, 2) * 800
    boxes = torch.cat([low, low + 5 + torch.rand(4, 2000, 2) * 200], dim=2)
    usable = torch.rand(4, 2000) > 0.1
    found = nms_sorted(boxes.cuda(), usable.cuda(), 0.65).cpu()
    assert (found != nms_sorted(boxes, usable, 0.65)).sum() <= 2

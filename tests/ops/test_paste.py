import pytest
import torch
import torch.nn.functional as F

from cutler_pl.ops.paste import paste_masks, resample_masks


def _by_grid_sample(probabilities: torch.Tensor, boxes: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """The definition: sample each mask at every pixel centre, relative to its box, zeros around it."""
    y, x = (torch.arange(side, dtype=torch.float32) + 0.5 for side in size_hw)
    x = (x - boxes[:, :1]) / (boxes[:, 2:3] - boxes[:, :1]) * 2 - 1
    y = (y - boxes[:, 1:2]) / (boxes[:, 3:] - boxes[:, 1:2]) * 2 - 1
    grid = torch.stack([x[:, None, :].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])], dim=3)
    return F.grid_sample(probabilities[:, None], grid, align_corners=False)[:, 0] >= 0.5


def test_full_mask_fills_its_box():
    masks = paste_masks(torch.ones(1, 28, 28), torch.tensor([[3.0, 5, 13, 9]]), (20, 30))
    expected = torch.zeros(20, 30, dtype=torch.bool)
    expected[5:9, 3:13] = True
    assert torch.equal(masks[0], expected)


def test_left_half_pastes_into_left_half():
    half = torch.zeros(1, 28, 28)
    half[:, :, :14] = 1
    masks = paste_masks(half, torch.tensor([[0.0, 0, 20, 10]]), (10, 20))
    assert masks[0, :, :10].all()
    assert not masks[0, :, 10:].any()


@pytest.mark.parametrize("size_hw", [(60, 90), (7, 5)])
def test_equals_grid_sampling(size_hw):
    low = torch.rand(40, 2) * torch.tensor([size_hw[1], size_hw[0]]) - 3
    boxes = torch.cat([low, low + torch.rand(40, 2) * 40 + 0.5], dim=1)
    probabilities = torch.rand(40, 28, 28)
    expected = _by_grid_sample(probabilities, boxes, size_hw)
    differing = (paste_masks(probabilities, boxes, size_hw) != expected).sum()
    assert differing <= 2  # a pixel whose probability is 0.5 to the last digit may fall on either side


def test_threshold_is_inclusive():
    box = torch.tensor([[0.0, 0, 28, 28]])
    assert paste_masks(torch.full((1, 28, 28), 0.5), box, (28, 28))[0, 4:24, 4:24].all()
    assert not paste_masks(torch.full((1, 28, 28), 0.49), box, (28, 28)).any()


def test_no_boxes():
    assert paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (12, 9)).shape == (0, 12, 9)


@pytest.mark.gpu
def test_gpu_gives_the_same_masks_in_bounded_memory():
    low = torch.rand(300, 2) * 900
    boxes = torch.cat([low, low + 100], dim=1)
    probabilities = torch.rand(300, 28, 28)
    expected = paste_masks(probabilities, boxes, (1000, 1000))
    torch.cuda.reset_peak_memory_stats()
    masks = paste_masks(probabilities.cuda(), boxes.cuda(), (1000, 1000))
    assert (masks.cpu() != expected).float().mean() < 1e-5
    assert torch.cuda.max_memory_allocated() < 300e6 + 6 * 2**26


def test_resampled_into_its_own_box_is_unchanged():
    probabilities, boxes = torch.rand(2, 28, 28), torch.tensor([[3.0, 5, 13, 9], [0, 0, 28, 56]])
    torch.testing.assert_close(resample_masks(probabilities, boxes, boxes), probabilities)


def test_resampled_into_a_shifted_box():
    """A frame two cells to the right and one down: the mask moves, and zeros come in."""
    mask = torch.arange(16.0).view(1, 4, 4)
    found = resample_masks(mask, torch.tensor([[0.0, 0, 8, 4]]), torch.tensor([[4.0, 1, 12, 5]]))
    assert found[0].tolist() == [[6, 7, 0, 0], [10, 11, 0, 0], [14, 15, 0, 0], [0, 0, 0, 0]]


def test_resampled_into_a_larger_box():
    """A frame of twice the size: its cells have their centers on the edge of the mask's box, or not."""
    found = resample_masks(torch.ones(1, 2, 2), torch.tensor([[1.0, 1, 3, 3]]), torch.tensor([[0.0, 0, 4, 4]]))
    assert found[0].tolist() == [[0.25, 0.25], [0.25, 0.25]]
    found = resample_masks(torch.ones(1, 4, 4), torch.tensor([[1.0, 1, 3, 3]]), torch.tensor([[0.0, 0, 4, 4]]))
    assert found[0].tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]

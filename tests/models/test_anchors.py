import math

import pytest
import torch

from cutler_pl.models.anchors import cell_anchors, grid_anchors


def test_cell_anchors_area_and_aspect_ratios():
    """Ratios are height over width."""
    boxes = cell_anchors(32.0, (0.5, 1.0, 2.0))
    sides = boxes[:, 2:] - boxes[:, :2]
    assert boxes[1].tolist() == [-16, -16, 16, 16]
    assert sides.prod(dim=1).tolist() == pytest.approx([1024] * 3)
    assert (sides[:, 1] / sides[:, 0]).tolist() == pytest.approx([0.5, 1, 2])
    assert boxes[0, 2].item() == pytest.approx(math.sqrt(2048) / 2)


def test_cell_anchors_are_not_rounded():
    assert cell_anchors(32.0, (0.5,))[0, 3].item() == pytest.approx(11.3137, abs=1e-4)


def test_grid_anchor_order():
    """From zero, over rows, then columns, then ratios."""
    cell = torch.tensor([[-1.0, -1, 1, 1], [-2, -1, 2, 1]])
    boxes = grid_anchors(cell, (2, 3), 8)
    assert boxes.shape == (12, 4)
    assert boxes[0].tolist() == [-1, -1, 1, 1]
    assert boxes[1].tolist() == [-2, -1, 2, 1]
    assert boxes[2].tolist() == [7, -1, 9, 1]
    assert boxes[6].tolist() == [-1, 7, 1, 9]

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from cutler_pl.ops.masks import mask_intersections, paired_iou

two_sets_of_masks = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda s: st.tuples(arrays(bool, (s[0], *s[2:])), arrays(bool, (s[1], *s[2:])))
)


def _encoded(masks: np.ndarray) -> list[dict[str, object]]:
    return [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]


def test_iou_of_hand_made_masks() -> None:
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[0, :2] = True
    masks[1, :, :2] = True
    assert mask_intersections(masks, masks).tolist() == [[8, 4, 0], [4, 8, 0], [0, 0, 0]]
    iou = paired_iou(masks[[0, 0, 1, 2, 2]], masks[[0, 1, 2, 2, 0]])
    torch.testing.assert_close(iou, torch.tensor([1, 4 / 12, 0, torch.nan, 0], dtype=torch.float64), equal_nan=True)


@given(two_sets_of_masks)
def test_iou_equals_pycocotools(sets: tuple[np.ndarray, np.ndarray]) -> None:
    count = min(len(masks) for masks in sets)
    masks, others = (masks[:count] for masks in sets)
    ours = paired_iou(torch.from_numpy(masks), torch.from_numpy(others))
    assert ours.shape == (count,)
    if count:
        theirs = coco_mask.iou(_encoded(masks), _encoded(others), [0] * count).diagonal()
        torch.testing.assert_close(ours.nan_to_num(), torch.from_numpy(theirs.copy()), rtol=0, atol=0)


@given(two_sets_of_masks)
def test_intersections_are_counts_and_symmetric(sets: tuple[np.ndarray, np.ndarray]) -> None:
    masks, others = (torch.from_numpy(part) for part in sets)
    shared = mask_intersections(masks, others)
    assert torch.equal(shared, mask_intersections(others, masks).T)
    assert torch.equal(shared, (masks[:, None] & others[None]).sum(dim=(2, 3)).float())


@pytest.mark.parametrize("shape", [(0, 5, 5), (2, 0, 5), (2, 5, 0), (0, 0, 0)])
def test_empty_masks_share_nothing(shape: tuple[int, int, int]) -> None:
    masks = torch.zeros(shape, dtype=torch.bool)
    assert mask_intersections(masks, masks).shape == (shape[0], shape[0])
    assert not mask_intersections(masks, masks).any()
    assert paired_iou(masks, masks).isnan().all()


def test_large_masks_are_counted_exactly() -> None:
    masks = torch.ones(1, 4000, 4000, dtype=torch.bool)
    masks[0, 0, 0] = False
    assert mask_intersections(masks, masks).item() == 4000 * 4000 - 1


def test_counts_exact_under_autocast() -> None:
    masks = torch.ones(1, 61, 67, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mask_intersections(masks, masks).item() == 61 * 67
        assert paired_iou(masks, masks).item() == 1


def test_masks_stay_unchanged() -> None:
    masks = torch.rand(3, 6, 6) > 0.5
    before = masks.clone()
    mask_intersections(masks, masks)
    paired_iou(masks, masks)
    assert torch.equal(masks, before)


@pytest.mark.gpu
def test_gpu_counts_equal_cpu() -> None:
    masks = torch.rand(20, 300, 400) > 0.5
    assert torch.equal(mask_intersections(masks.cuda(), masks.cuda()).cpu(), mask_intersections(masks, masks))

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from torchvision.ops import boxes as reference

from cutler_pl.ops.boxes import box_area, box_iou, clip_boxes, masks_to_boxes, nonempty, xywh_to_xyxy

corners = st.floats(-50, 150, width=32)
any_boxes = st.lists(st.tuples(corners, corners, corners, corners), max_size=5).map(
    lambda rows: torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
)
proper_boxes = any_boxes.map(
    lambda b: torch.cat([torch.minimum(b[:, :2], b[:, 2:]), torch.maximum(b[:, :2], b[:, 2:])], 1)
)
some_masks = st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(bool, shape)
)


def test_xywh_to_xyxy_keeps_kind() -> None:
    """Arrays stay arrays of their dtype, tensors stay tensors; the input does not change."""
    boxes = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert xywh_to_xyxy(boxes).tolist() == [[1, 2, 4, 6]]
    assert boxes.tolist() == [[1, 2, 3, 4]]
    assert xywh_to_xyxy(torch.tensor([[[1, 2, 3, 4]]])).tolist() == [[[1, 2, 4, 6]]]
    assert xywh_to_xyxy(np.zeros((0, 4))).shape == (0, 4)


def test_masks_to_boxes_of_hand_made_masks() -> None:
    masks = torch.zeros(4, 5, 7, dtype=torch.bool)
    masks[0, 0, 0] = True
    masks[1, 1:3, 2:6] = True
    masks[2, 0, 6] = masks[2, 4, 3] = True
    assert masks_to_boxes(masks).tolist() == [[0, 0, 1, 1], [2, 1, 6, 3], [3, 0, 7, 5], [0, 0, 0, 0]]


@pytest.mark.parametrize("shape", [(0, 5, 7), (0, 0, 0), (2, 0, 7), (2, 5, 0)])
def test_masks_to_boxes_of_nothing(shape: tuple[int, int, int]) -> None:
    boxes = masks_to_boxes(torch.zeros(shape, dtype=torch.bool))
    assert boxes.shape == (shape[0], 4)
    assert boxes.dtype == torch.float32
    assert not boxes.any()


@given(some_masks)
def test_masks_to_boxes_are_the_extents_pycocotools_finds(masks: np.ndarray) -> None:
    boxes = masks_to_boxes(torch.from_numpy(masks))
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.tolist(), strict=True):
        x, y, width, height = coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))))
        assert (x0, y0, x1 - x0, y1 - y0) == (x, y, width, height)


@given(some_masks)
def test_masks_to_boxes_are_tight(masks: np.ndarray) -> None:
    for mask, box in zip(masks, masks_to_boxes(torch.from_numpy(masks)).int().tolist(), strict=True):
        x0, y0, x1, y1 = box
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        if mask.any():
            assert mask[y0].any()
            assert mask[y1 - 1].any()
            assert mask[:, x0].any()
            assert mask[:, x1 - 1].any()


def test_area_of_hand_made_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [2, 1, 6, 3.5], [5, 5, 5, 9], [6, 6, 2, 9], [6, 6, 2, 2]])
    assert box_area(boxes).tolist() == [1, 10, 0, 0, 0]


def test_iou_of_hand_made_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 5, 10], [20, 20, 30, 30]])
    others = torch.tensor([[0.0, 0, 10, 10], [5, 5, 15, 15], [10, 0, 20, 10]])
    expected = torch.tensor([[1, 25 / 175, 0], [0.5, 0, 0], [0, 0, 0]])
    torch.testing.assert_close(box_iou(boxes, others), expected)


@given(proper_boxes, proper_boxes)
def test_iou_equals_torchvisions_where_that_is_a_number(boxes: torch.Tensor, others: torch.Tensor) -> None:
    ours, theirs = box_iou(boxes, others), reference.box_iou(boxes, others)
    torch.testing.assert_close(ours, theirs.nan_to_num(0.0), rtol=1e-5, atol=1e-6)


@given(any_boxes, any_boxes)
def test_iou_is_symmetric_and_bounded(boxes: torch.Tensor, others: torch.Tensor) -> None:
    """Boxes with negative sides included."""
    iou = box_iou(boxes, others)
    assert torch.equal(iou, box_iou(others, boxes).T)
    assert bool(((iou >= 0) & (iou <= 1 + 1e-5)).all())


@given(proper_boxes)
def test_iou_with_itself_is_1_unless_empty(boxes: torch.Tensor) -> None:
    own = box_iou(boxes, boxes).diagonal()
    torch.testing.assert_close(own, (box_area(boxes) > 0).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_iou_of_no_boxes(n: int, m: int) -> None:
    assert box_iou(torch.zeros(n, 4), torch.zeros(m, 4)).shape == (n, m)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_operations_keep_the_type_of_their_boxes(dtype: torch.dtype) -> None:
    boxes = torch.tensor([[0, 0, 4, 4], [2, 2, 6, 6]], dtype=dtype)
    assert box_area(boxes).dtype == dtype
    assert box_iou(boxes, boxes).dtype == dtype
    assert clip_boxes(boxes, (5, 5)).dtype == dtype
    torch.testing.assert_close(box_iou(boxes, boxes)[0, 1].double().item(), 4 / 28, rtol=5e-3, atol=0)


def test_clip_x_at_width_y_at_height() -> None:
    boxes = torch.tensor([[-5.0, -5, 500, 500], [1, 2, 3, 4], [90, 90, 95, 95]])
    assert clip_boxes(boxes, (20, 80)).tolist() == [[0, 0, 80, 20], [1, 2, 3, 4], [80, 20, 80, 20]]


@given(any_boxes, st.tuples(st.integers(1, 120), st.integers(1, 120)))
def test_clip_equals_torchvision(boxes: torch.Tensor, size_hw: tuple[int, int]) -> None:
    """Clipping twice changes nothing more."""
    before = boxes.clone()
    clipped = clip_boxes(boxes, size_hw)
    assert torch.equal(clipped, reference.clip_boxes_to_image(boxes, size_hw))
    assert torch.equal(clip_boxes(clipped, size_hw), clipped)
    assert torch.equal(boxes, before)


def test_clip_lets_gradients_through_where_nothing_is_cut() -> None:
    boxes = torch.tensor([[-5.0, 1, 3, 50]], requires_grad=True)
    clip_boxes(boxes, (20, 80)).sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.tolist() == [[0, 1, 1, 0]]


def test_nonempty_asks_for_more_than_the_smallest_side() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 5], [3, 3, 2, 9], [0, 0, 5, 1], [0, 0, 5, 5]])
    assert nonempty(boxes).tolist() == [True, False, False, True, True]
    assert nonempty(boxes, min_side=1.0).tolist() == [False, False, False, False, True]
    assert nonempty(torch.zeros(0, 4)).shape == (0,)


def test_nonempty_refuses_what_is_not_a_number() -> None:
    assert nonempty(torch.tensor([[0.0, 0, float("nan"), 1]])).tolist() == [False]


@settings(max_examples=20)
@given(proper_boxes)
def test_rows_do_not_depend_on_each_other(boxes: torch.Tensor) -> None:
    for function in (box_area, nonempty, lambda b: clip_boxes(b, (60, 60))):
        together = function(boxes)
        assert all(torch.equal(together[i], function(boxes[i : i + 1])[0]) for i in range(len(boxes)))

import hashlib
import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch

from cutler_pl.errors import InputError
from cutler_pl.visual.colors import instance_color
from cutler_pl.visual.draw import draw_instances, to_image_array


def _image(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _mask(y0: int, x0: int, y1: int, x1: int, size_hw: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(size_hw, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_blend_inside_opaque_contour() -> None:
    image = np.full((60, 80, 3), 100, dtype=np.uint8)
    drawn = draw_instances(image, _mask(10, 20, 30, 50)[None], opacity=0.5)
    color = instance_color(0)
    assert np.array_equal(drawn[10, 20], color)
    assert np.array_equal(drawn[29, 49], color)
    assert np.array_equal(drawn[20, 35], np.rint(0.5 * color + 50).astype(np.uint8))
    outside = ~_mask(9, 19, 31, 51)
    assert (drawn[outside] == 40).all()
    assert (draw_instances(image, _mask(10, 20, 30, 50)[None], brightness=1.0)[outside] == 100).all()


def test_dark_line_around_contour() -> None:
    """The contour is seen on a background of its own color."""
    image = np.full((60, 80, 3), instance_color(0), dtype=np.uint8)
    drawn = draw_instances(image, _mask(10, 20, 30, 50)[None], brightness=1.0)
    assert not drawn[9, 20:50].any()
    assert not drawn[10:30, 50].any()
    assert np.array_equal(drawn[8, 20:50], image[8, 20:50])
    touching = draw_instances(image, _mask(0, 0, 60, 80)[None])
    assert np.array_equal(touching[0], image[0])


def test_contours_show_through_overlaps() -> None:
    """The contour of a large mask is visible inside a small one that lies over its edge."""
    masks = np.stack([_mask(10, 10, 50, 40), _mask(20, 30, 30, 50)])
    drawn = draw_instances(_image(), masks)
    assert np.array_equal(drawn[25, 39], instance_color(0))
    assert np.array_equal(drawn[25, 49], instance_color(1))


def test_leave_inputs_unchanged() -> None:
    image, masks = _image(), _mask(10, 20, 30, 50)[None]
    before, masks_before = image.copy(), masks.copy()
    drawn = draw_instances(image, masks, boxes=np.array([[20.0, 10, 50, 30]]), scores=[0.9])
    assert np.array_equal(image, before)
    assert np.array_equal(masks, masks_before)
    assert not np.shares_memory(drawn, image)


def test_tensors_equal_arrays() -> None:
    image, masks, boxes = (
        _image(),
        np.stack([_mask(5, 5, 40, 40), _mask(20, 30, 50, 70)]),
        [[5, 5, 40, 40], [30, 20, 70, 50]],
    )
    from_arrays = draw_instances(image, masks, boxes=np.array(boxes), scores=np.array([0.5, 0.25]))
    from_tensors = draw_instances(
        torch.as_tensor(image).permute(2, 0, 1),
        torch.as_tensor(masks),
        boxes=torch.tensor(boxes),
        scores=torch.tensor([0.5, 0.25]),
    )
    assert np.array_equal(from_arrays, from_tensors)


def test_draw_small_masks_last() -> None:
    large, small = _mask(0, 0, 60, 80), _mask(20, 20, 30, 30)
    for order, index in (([large, small], 1), ([small, large], 0)):
        drawn = draw_instances(_image(), np.stack(order))
        assert np.array_equal(drawn[20, 20], instance_color(index))


def test_color_follows_index() -> None:
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    drawn = draw_instances(
        image, np.stack([_mask(0, 0, 5, 5), _mask(10, 10, 50, 50), _mask(0, 70, 8, 80)]), opacity=1.0
    )
    assert [tuple(drawn[y, x]) for y, x in ((2, 2), (30, 30), (4, 75))] == [tuple(instance_color(i)) for i in range(3)]


@pytest.mark.parametrize("masks", [None, np.zeros((0, 60, 80), dtype=bool), torch.zeros(0, 60, 80, dtype=torch.bool)])
def test_no_instances_return_image(masks: np.ndarray | torch.Tensor | None) -> None:
    image = _image()
    assert np.array_equal(draw_instances(image, masks), image)
    nothing = draw_instances(image, masks, boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=[])
    assert np.array_equal(nothing, image)


def test_empty_mask_draws_nothing() -> None:
    image = _image()
    assert np.array_equal(draw_instances(image, np.zeros((2, 60, 80), dtype=bool)), image)


def test_box_covers_exact_pixels() -> None:
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    drawn = draw_instances(image, None, boxes=np.array([[10.0, 20, 30, 40]]))
    changed = np.argwhere(drawn.any(axis=2))
    assert changed.min(axis=0).tolist() == [20, 10]
    assert changed.max(axis=0).tolist() == [39, 29]
    assert not drawn[30, 20].any()


def test_skip_degenerate_and_outside_boxes() -> None:
    image = _image()
    boxes = np.array([[10.0, 10, 10, 30], [200.0, 200, 300, 300], [-50.0, -50, -10, -10]])
    assert np.array_equal(draw_instances(image, None, boxes=boxes), image)


def test_scale_lines_and_text() -> None:
    def marked(side: int, **tags: object) -> int:
        image = np.zeros((side, side, 3), dtype=np.uint8)
        boxes = np.array([[0.25, 0.25, 0.75, 0.75]]) * side
        return int(draw_instances(image, None, boxes=boxes, **tags).any(axis=2).sum())

    assert marked(1920) == pytest.approx(9 * marked(640), rel=0.05)
    text_small, text_large = (marked(s, labels=["object"]) - marked(s) for s in (640, 1920))
    assert 7 < text_large / text_small < 11


@pytest.mark.parametrize("corner", [(0, 0), (75, 55), (-20, -20), (500, 500)])
def test_label_stays_inside_image(corner: tuple[int, int]) -> None:
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    x, y = corner
    drawn = draw_instances(image, None, boxes=np.array([[x, y, x + 1, y + 1]]), scores=[0.5])
    assert drawn.any(axis=2).sum() > 50


def test_label_without_box_above_mask() -> None:
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    masks = _mask(100, 120, 180, 190, (200, 200))[None]
    plain, tagged = draw_instances(image, masks), draw_instances(image, masks, scores=[0.5])
    ys, xs = np.nonzero((plain != tagged).any(axis=2))
    assert 70 < ys.min() <= ys.max() <= 100
    assert xs.min() >= 120


def test_overlapping_labels_move_apart() -> None:
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    boxes = np.array([[50.0, 100, 150, 180], [52.0, 102, 152, 182]])
    drawn = draw_instances(image, None, boxes=boxes, labels=["a person", "a person"], brightness=1.0)
    filled = [int((drawn == instance_color(index)).all(axis=2).sum()) for index in (0, 1)]
    assert min(filled) > 0.6 * max(filled)


def test_refuse_masks_of_other_size() -> None:
    with pytest.raises(InputError, match=r"masks of \(60, 80\) do not fit an image of \(30, 40\)"):
        inspect.unwrap(draw_instances)(_image(30, 40), np.zeros((1, 60, 80), dtype=bool))  # without the shape hook


def test_refuse_different_counts() -> None:
    with pytest.raises(InputError, match="2 masks, 3 scores"):
        draw_instances(_image(), np.zeros((2, 60, 80), dtype=bool), scores=[0.1, 0.2, 0.3])


def test_same_input_same_bytes() -> None:
    masks = np.stack([_mask(5, 5, 40, 40), _mask(20, 30, 50, 70)])
    digests = {
        hashlib.sha256(draw_instances(_image(), masks, scores=[0.5, 0.2]).tobytes()).hexdigest() for _ in range(3)
    }
    assert len(digests) == 1


def test_image_array_is_channels_last_copy() -> None:
    image = torch.arange(24, dtype=torch.uint8).reshape(3, 2, 4)
    copied = to_image_array(image)
    copied[0, 0] = 99
    assert copied.shape == (2, 4, 3)
    assert image[0, 0, 0] == 0


def test_supervision_is_imported_for_labels_only() -> None:
    code = "import sys, cutler_pl.visual.draw; assert 'supervision' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cutler_pl.coco import rle

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_decode_gives_back_what_was_encoded(mask: np.ndarray) -> None:
    encoded = rle.encode(mask)
    assert encoded["size"] == list(mask.shape)
    assert isinstance(encoded["counts"], str)
    np.testing.assert_array_equal(rle.decode(encoded), mask)
    assert rle.area(encoded) == mask.sum()


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_box_is_the_extent_of_the_mask(mask: np.ndarray) -> None:
    rows, columns = np.nonzero(mask)
    expected = [0.0] * 4
    if len(rows):
        x, y = columns.min(), rows.min()
        expected = [float(v) for v in (x, y, columns.max() + 1 - x, rows.max() + 1 - y)]
    assert rle.bbox(rle.encode(mask)) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_iou_agrees_with_pixels(height: int, width: int, data: st.DataObject) -> None:
    first, second = (data.draw(hnp.arrays(bool, (height, width))) for _ in range(2))
    union = (first | second).sum()
    expected = (first & second).sum() / union if union else 0.0
    assert rle.iou([rle.encode(first)], [rle.encode(second)])[0, 0] == pytest.approx(expected, abs=1e-12)


def test_uint8_masks_are_encoded_like_bool_ones() -> None:
    mask = np.zeros((5, 7), dtype=np.uint8)
    mask[1:3, 2:6] = 255
    assert rle.encode(mask) == rle.encode(mask > 0)


def test_all_mask_forms_give_one_rle() -> None:
    mask = np.zeros((6, 9), dtype=bool)
    mask[2:5, 3:7] = True
    compressed = rle.encode(mask)
    lengths = [3 * 6 + 2, 3, 3, 3, 3, 3, 3, 3, 1 + 2 * 6]
    assert rle.to_rle({"size": [6, 9], "counts": lengths}, 6, 9) == compressed
    assert rle.to_rle([[3, 2, 7, 2, 7, 5, 3, 5]], 6, 9) == compressed
    assert rle.to_rle(compressed, 6, 9) == compressed
    assert rle.to_rle({"size": (6, 9), "counts": compressed["counts"].encode()}, 6, 9) == compressed


def test_parts_of_one_object_are_united() -> None:
    parts = rle.to_rle([[0, 0, 2, 0, 2, 2, 0, 2], [5, 5, 8, 5, 8, 8, 5, 8]], 10, 10)
    assert rle.area(parts) == 4 + 9


def test_no_polygon_is_an_empty_mask() -> None:
    assert rle.area(rle.to_rle([], 4, 5)) == 0


def test_iou_of_nothing_is_an_empty_table() -> None:
    assert rle.iou([], [rle.encode(np.ones((3, 3), dtype=bool))]).shape == (0, 1)
    assert rle.iou([rle.encode(np.ones((3, 3), dtype=bool))], []).shape == (1, 0)


def test_iou_of_two_empty_masks_is_zero() -> None:
    empty = rle.encode(np.zeros((3, 3), dtype=bool))
    assert rle.iou([empty], [empty]).tolist() == [[0.0]]


def test_iou_refuses_masks_of_different_sizes() -> None:
    with pytest.raises(ValueError, match="different sizes"):
        rle.iou([rle.encode(np.ones((3, 4), dtype=bool))], [rle.encode(np.ones((4, 3), dtype=bool))])


@settings(max_examples=40, deadline=None)
@given(st.lists(MASKS, max_size=5))
def test_encoded_masks_are_consistent(masks: list[np.ndarray]) -> None:
    assert rle.are_consistent([rle.encode(mask) for mask in masks]).tolist() == [True] * len(masks)


@settings(max_examples=40, deadline=None)
@given(st.lists(MASKS, max_size=5))
def test_scan_measures_areas_and_tight_boxes(masks: list[np.ndarray]) -> None:
    rles = [rle.encode(mask) for mask in masks]
    scan = rle.scan([mask["counts"] for mask in rles], rle.sizes_hw(rles))
    assert scan.areas.tolist() == [rle.area(mask) for mask in rles]
    sides = np.concatenate([scan.boxes[:, :2], scan.boxes[:, 2:] - scan.boxes[:, :2]], axis=1)
    assert sides.tolist() == [rle.bbox(mask) for mask in rles]


def test_large_counts_and_differences_are_consistent() -> None:
    mask = np.zeros((3000, 2000), dtype=bool)
    mask[700:2900, 300:1900] = True
    mask[:, 1000] = False
    assert rle.are_consistent([rle.encode(mask)]).tolist() == [True]


@pytest.mark.parametrize("spoil", ["", "é", " ", "0", "{0}1", "{0}o", "o{0}", "{1}", "{2}"])
def test_find_broken_counts(spoil: str) -> None:
    """Invalid counts do not affect the masks beside them."""
    mask = np.zeros((20, 30), dtype=bool)
    mask[4:17, 5:21] = True
    fine = rle.encode(mask)
    counts = spoil.format(fine["counts"], fine["counts"][1:], fine["counts"][:-1])
    broken = {"size": [20, 30], "counts": counts}
    assert rle.are_consistent([fine, broken, fine]).tolist() == [True, False, True]

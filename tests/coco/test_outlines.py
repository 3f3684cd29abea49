"""Polygons of masks, filled by pycocotools and by a rule of the test's own."""

import numpy as np
import pytest
from hypothesis import given
from jaxtyping import Bool
from mask_strategies import masks
from polygons import fill

from cutler_pl.coco import rle
from cutler_pl.coco.outlines import crops, rings

Mask = Bool[np.ndarray, "height width"]


def ring_lists(mask: Mask, *, joined: bool = False) -> list[np.ndarray]:
    (crop,) = crops([rle.encode(mask)])
    return [] if crop is None else rings(crop, joined=joined)


def drawn(*rows: str) -> Mask:
    return np.array([[character == "#" for character in row] for row in rows])


def test_pixel_is_a_square() -> None:
    (ring,) = ring_lists(drawn("...", "..#"))
    assert ring.tolist() == [[2, 1], [3, 1], [3, 2], [2, 2]]


def test_hole_is_bridged() -> None:
    (ring,) = ring_lists(drawn("###", "#.#", "###"))
    assert len(ring) == 4 + 4 + 2
    np.testing.assert_array_equal(fill(ring, (3, 3)), drawn("###", "#.#", "###"))


def test_parts_have_rings_of_their_own() -> None:
    mask = drawn("##..#", "##.#.", "....#")
    assert len(ring_lists(mask)) == 4
    assert len(ring_lists(mask, joined=True)) == 1


def test_empty_mask_has_no_ring() -> None:
    assert ring_lists(np.zeros((3, 4), dtype=bool)) == []


def test_whole_image_is_one_rectangle() -> None:
    (ring,) = ring_lists(np.ones((480, 640), dtype=bool))
    assert ring.tolist() == [[0, 0], [640, 0], [640, 480], [0, 480]]


@given(masks())
def test_rings_give_the_mask_back(mask: Mask) -> None:
    found = ring_lists(mask)
    union = np.zeros_like(mask)
    for ring in found:
        part = fill(ring, mask.shape)
        assert not (union & part).any()
        union |= part
    np.testing.assert_array_equal(union, mask)
    polygons = [ring.reshape(-1).tolist() for ring in found]
    np.testing.assert_array_equal(rle.decode(rle.to_rle(polygons, *mask.shape)), mask)


@given(masks())
def test_joined_ring_gives_the_mask_back(mask: Mask) -> None:
    found = ring_lists(mask, joined=True)
    assert len(found) == int(mask.any())
    for ring in found:
        np.testing.assert_array_equal(fill(ring, mask.shape), mask)


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="do not add up"):
        crops([{"size": [3, 3], "counts": "05"}])

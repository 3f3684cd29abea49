import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.coco.mask_pixels import draw_masks
from cutler_pl.coco.schema import RLE

SIDES = st.tuples(st.integers(1, 30), st.integers(1, 30))


def draw(rles: list[RLE], size_hw: tuple[int, int], *, flip: bool = False) -> tuple[np.ndarray, np.ndarray]:
    out = np.zeros((len(rles), *size_hw), dtype=np.uint8)
    is_drawn = draw_masks(rles, out, flip=flip)
    assert not out[is_drawn.sum() :].any()
    return out[: is_drawn.sum()] > 0, is_drawn


@given(old=SIDES, new=SIDES, share=st.sampled_from([0.0, 0.1, 0.5, 0.97, 1.0]), flip=st.booleans(), seed=st.integers(0))
def test_equal_to_decoding_then_resizing(
    old: tuple[int, int], new: tuple[int, int], share: float, flip: bool, seed: int
) -> None:
    masks = np.random.default_rng(seed).random((3, *old)) < share
    masks[1] = np.random.default_rng(seed).random(old[1]) < share  # whole columns, which runs join
    expected = np.stack([
        np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(new[::-1], Image.Resampling.NEAREST)) > 0
        for mask in masks
    ])  # fmt: skip
    expected = expected[..., ::-1] if flip else expected
    drawn, is_drawn = draw([rle.encode(mask) for mask in masks], new, flip=flip)
    assert is_drawn.tolist() == expected.any(axis=(1, 2)).tolist()
    assert np.array_equal(drawn, expected[is_drawn])


def test_masks_of_different_sizes() -> None:
    masks = [np.ones((4, 6), dtype=bool), np.zeros((3, 3), dtype=bool), np.eye(2, dtype=bool)]
    drawn, is_drawn = draw([rle.encode(mask) for mask in masks], (2, 2))
    assert is_drawn.tolist() == [True, False, True]
    assert drawn.tolist() == [[[True, True], [True, True]], [[True, False], [False, True]]]
    counts = {"size": [4, 6], "counts": str(rle.encode(masks[0])["counts"]).encode()}
    assert draw([counts], (2, 2))[0].all()  # type: ignore[list-item]  # as pycocotools gives them


@pytest.mark.parametrize("counts", ["", "3", "0", "l0", "0m0", "ooooooooooo", "0 ", "é", "15oN"])
def test_wrong_counts_are_refused(counts: str) -> None:
    """Neither memory behind the mask is written to nor does the loop go on forever."""
    with pytest.raises(ValueError, match="do not add up to their size 4×5"):
        draw([{"size": [4, 5], "counts": counts}], (8, 10))

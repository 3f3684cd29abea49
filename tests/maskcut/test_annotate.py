import numpy as np
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.maskcut.annotate import annotate


def test_masks_are_resized_bicubically_and_split_at_half() -> None:
    mask = np.zeros((12, 12), bool)
    mask[3:9, 2:7] = True
    (annotation,), vanished = annotate(mask[None], (30, 50))
    grey = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize((50, 30)))
    np.testing.assert_array_equal(rle.decode(annotation["segmentation"]), grey > 127)
    assert vanished == 0
    assert annotation["area"] == (grey > 127).sum()
    ys, xs = np.nonzero(grey > 127)
    assert annotation["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]


def test_a_mask_of_the_whole_photo_stays_whole() -> None:
    (annotation,), _ = annotate(np.ones((1, 8, 8), bool), (5, 7))
    assert (annotation["area"], annotation["bbox"]) == (35, [0.0, 0.0, 7.0, 5.0])


def test_a_spot_that_shrinks_below_half_grey_is_kept() -> None:
    mask = np.zeros((64, 64), bool)
    mask[32, 32] = True
    (annotation,), vanished = annotate(mask[None], (16, 16))
    assert 1 <= annotation["area"] <= 4
    assert vanished == 0


def test_a_spot_that_shrinks_to_nothing_is_counted() -> None:
    mask = np.zeros((480, 480), bool)
    mask[200, 200] = True
    assert annotate(np.stack([mask, np.zeros_like(mask)]), (8, 8)) == ([], 1)

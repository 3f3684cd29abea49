"""Shapes and sureness of masks, by values computed by hand."""

import numpy as np

from cutler_pl.coco import rle
from cutler_pl.pseudo_masks.quality.shapes import measure, sureness


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((10, 20), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_measure_shapes() -> None:
    two_pieces = box(2, 4, 4, 8) | box(6, 4, 8, 8)
    whole_columns = box(0, 5, 10, 10)
    codes = [rle.encode(mask) for mask in (box(2, 4, 7, 8), two_pieces, box(0, 0, 5, 4), whole_columns)]
    expected = [
        [20 / 200, 0, 1.0, 1.0],
        [16 / 200, 0, 2.0, 16 / 24],  # two runs in each of four columns, half of the rows between them
        [20 / 200, 2, 1.0, 1.0],
        [50 / 200, 2, 1 / 5, 1.0],  # one run goes through all five columns
    ]
    np.testing.assert_allclose(measure(codes), expected)


def test_sureness_is_score_away_from_sides() -> None:
    shapes = np.array([[0.1, 0, 1, 1], [0.5, 2, 2, 1]])
    records = [{"score": 0.8}, {"score": 0.6}]
    np.testing.assert_allclose(sureness(records, shapes), [0.8, 0.3])
    np.testing.assert_allclose(sureness([{}, {"score": 0.6}], shapes), [0.9, 0.5 / 2 / 2])

"""A map of scores fitted on half of the images."""

import numpy as np
import pytest
from pseudo_masks.calibration.test_choice import record

from cutler_pl.coco.parts import ShardRecord
from cutler_pl.errors import InputError
from cutler_pl.evaluation.calibration import ScoreMap
from cutler_pl.pseudo_masks.calibration.scores import corners, fit_scores


def scenes(count: int) -> tuple[list[ShardRecord], dict[str, object]]:
    """Images with a right mask of score 0.4 and a wrong one of score 0.2."""
    records = [record(n, [(2, 10, 2, 10), (12, 19, 13, 19)], [0.4, 0.2]) for n in range(count)]
    images = [{"id": n, "file_name": f"{n}.png", "height": 20, "width": 20} for n in range(count)]
    annotations = [{**records[n]["annotations"][0], "id": n, "image_id": n, "iscrowd": 0} for n in range(count)]
    crowd = {**records[0]["annotations"][1], "id": count, "image_id": 0, "iscrowd": 1}
    return records, {"images": images, "annotations": [*annotations, crowd]}


def test_fit_and_measure_on_halves() -> None:
    fitted = fit_scores(*scenes(20))
    assert fitted.points == [(0.2, 0.0), (0.4, 1.0)]
    assert fitted.masks == (20, 20)
    assert fitted.before.expected_error == pytest.approx((0.6 + 0.2) / 2)
    assert fitted.after.expected_error == pytest.approx(0)
    assert fitted.is_better


def test_say_how_many_images_are_needed() -> None:
    records, truth = scenes(20)
    records[3] = record(3, [], [])
    with pytest.raises(InputError, match="needed are 20 images with masks, and 19 have some"):
        fit_scores(records, truth)


def test_keep_corners_of_map() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    mapped = ScoreMap(scores, np.array([0.0, 0.0, 0.0, 0.5, 0.5, 1.0]))
    points = corners(mapped)
    assert points == [(0.1, 0.0), (0.3, 0.0), (0.4, 0.5), (0.5, 0.5), (0.6, 1.0)]
    tried = np.linspace(0, 1, 41)
    assert np.interp(tried, *zip(*points, strict=True)) == pytest.approx(mapped(tried))
    assert corners(ScoreMap(scores[:1], scores[:1])) == [(0.1, 0.1)]

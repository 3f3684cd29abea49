"""Values of τ, criteria and choices by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from cutler_pl.coco import rle
from cutler_pl.coco.parts import ShardRecord
from cutler_pl.errors import ConfigError
from cutler_pl.evaluation import evaluate_coco
from cutler_pl.pseudo_masks.calibration.choice import choose
from cutler_pl.pseudo_masks.calibration.criteria import (
    ApCriterion,
    Jackknife,
    QualityCriterion,
    found_again,
    jackknife,
    strain,
)
from cutler_pl.pseudo_masks.calibration.values import Search
from cutler_pl.pseudo_masks.quality.options import QualityThresholds
from cutler_pl.pseudo_masks.quality.verdict import RunSettings, Sign


def record(number: int, boxes: Sequence[tuple[int, int, int, int]], scores: Sequence[float]) -> ShardRecord:
    """Masks that fill boxes (top, bottom, left, right) of an image of 20 × 20 pixels."""
    annotations = []
    for (top, bottom, left, right), score in zip(boxes, scores, strict=True):
        mask = np.zeros((20, 20), dtype=bool)
        mask[top:bottom, left:right] = True
        code = rle.encode(mask)
        annotations.append({"segmentation": code, "bbox": rle.bbox(code), "area": rle.area(code), "score": score})
    return ShardRecord(file=f"{number}.png", height=20, width=20, annotations=annotations)  # type: ignore[typeddict-item]


def test_values_around_present() -> None:
    low = Search("maskcut.tau", 0.2)
    assert low.values == [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.6]
    assert low.at(0.25) == 0.25
    assert low.near(0.2) == 0.25
    several = Search("generator.taus", [0.8, 0.4])
    assert several.values == [-0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15]
    assert several.at(0.05) == [0.85, 0.45]
    assert several.text(-0.2) == "[0.6, 0.2]"
    assert several.near(0.0) == 0.05


def test_given_values_hold_present() -> None:
    assert Search("maskcut.tau", 0.15, [0.3, 0.1]).values == [0.1, 0.15, 0.3]
    assert Search("generator.taus", [0.5, 0.8], [-0.1]).values == [-0.1, 0.0]
    with pytest.raises(ConfigError, match=r"values=: 0\.2 gives generator\.taus=\[0\.7, 1\]"):
        Search("generator.taus", [0.5, 0.8], [0.2])


@pytest.mark.parametrize(
    ("value", "expected"), [(0.3, 1), (0.5, 2), (0.4, 1.5), (0.2, 0.5), (0.0, 0), (0.9, 3), (None, 0)]
)
def test_strain_between_thresholds(value: float | None, expected: float) -> None:
    """1 at the first threshold, 2 at the second, whichever side is worse."""
    assert strain(Sign("", value, doubt=0.3, outside=0.5, higher_is_worse=True)) == pytest.approx(expected)
    turned = None if value is None else 1 - value
    assert strain(Sign("", turned, doubt=0.7, outside=0.5, higher_is_worse=False)) == pytest.approx(expected)


def test_standard_error_of_mean() -> None:
    """Leaving out one of four numbers at a time gives the usual standard error of their mean."""
    numbers = np.array([1.0, 2.0, 4.0, 9.0])
    measured = jackknife([lambda images: float(numbers[list(images)].mean()), lambda images: 0.0], 4)
    difference, error = measured.difference(0, 1)
    assert difference == 4
    assert error == pytest.approx(numbers.std(ddof=1) / 2)


@pytest.mark.parametrize(
    ("values", "spread", "chosen", "expected"),
    [
        ([10, 20, 12], 0.5, 0.2, "maskcut.tau=0.2 is taken: 10.00 above maskcut.tau=0.15"),
        ([10, 20, 12], 9.0, 0.15, "cannot tell maskcut.tau=0.2 from maskcut.tau=0.15: 10.00 above it"),
        ([10, 2, 1], 0.5, 0.15, "the present value maskcut.tau=0.15 stays"),
        ([10, 10, 1], 0.5, 0.15, "the present value maskcut.tau=0.15 stays"),
        ([10, 2, 30], 0.5, 0.3, "maskcut.tau=0.3 is the last value tried"),
    ],
)
def test_choose_what_is_clear(values: list[float], spread: float, chosen: float, expected: str) -> None:
    search = Search("maskcut.tau", 0.15, [0.2, 0.3])
    rng = np.random.default_rng(0)
    without = np.array(values) + spread * rng.normal(size=(10, 3))
    choice = choose(search, Jackknife(np.array(values, dtype=float), without))
    assert choice.value == chosen
    assert choice.is_sure == (chosen != 0.15)
    assert expected in " ".join(choice.sentences)


def test_ap_of_some_images() -> None:
    boxes = [(2, 10, 2, 10), (5, 18, 4, 12), (1, 6, 3, 17)]
    records = [record(n, [box, (12, 19, 13, 19)], [0.9, 0.8]) for n, box in enumerate(boxes)]
    truth = {
        "images": [{"id": n + 1, "file_name": f"{n}.png", "height": 20, "width": 20} for n in range(3)],
        "annotations": [
            {**records[n]["annotations"][0], "id": n + 1, "image_id": n + 1, "category_id": 4, "iscrowd": 0}
            for n in range(2)
        ],
        "categories": [{"id": 4, "name": "cat"}],
    }
    criterion = ApCriterion(records, truth, "AP50")
    assert criterion([0]) == pytest.approx(100)
    assert criterion([2]) == 0
    found = [{**one, "image_id": n + 1, "category_id": 4} for n in range(3) for one in records[n]["annotations"]]
    expected = evaluate_coco(truth, found, iou_types=("segm",))["segm"]["AP50"]
    assert criterion([0, 1, 2]) == pytest.approx(expected)


def test_doubt_of_empty_and_fragmented_masks() -> None:
    """Whole boxes away from the border leave no doubt but the share of images without a mask."""
    good = [record(n, [(2, 10, 2, 10)], [0.9]) for n in range(4)]
    none = [record(n, [], []) for n in range(4)]

    def doubt(records: list[ShardRecord], second: list[ShardRecord]) -> QualityCriterion:
        matched = [found_again(*pair) for pair in zip(records, second, strict=True)]
        return QualityCriterion(records, matched, QualityThresholds(), RunSettings())

    everything = range(4)
    assert doubt(good, good)(everything) == pytest.approx(-0.25)
    assert doubt(good, none)(everything) == pytest.approx(-0.25 - 3)  # none is found again
    assert doubt(none, good)(everything) == -18
    assert doubt(good, good).verdict(everything).verdict == "works"
    assert found_again(good[0], record(0, [(2, 10, 2, 10), (12, 18, 2, 8)], [1, 1])) == (1, 1)

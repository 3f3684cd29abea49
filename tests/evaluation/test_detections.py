"""Detections read as columns are those that are read record by record."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutler_pl.coco import load_predictions, rle
from cutler_pl.errors import AnnotationError
from cutler_pl.evaluation import detections
from cutler_pl.evaluation.detections import load_detections

TRUTH: Any = {
    "images": [{"id": i, "file_name": f"{i}.jpg", "height": 30, "width": 40} for i in (3, 8)],
    "annotations": [],
    "categories": [{"id": 1, "name": "fg"}],
}


def result(image_id: int, score: float, x: int, *, mask: bool = True) -> dict[str, Any]:
    pixels = np.zeros((30, 40), dtype=bool)
    pixels[4:9, x : x + 7] = True
    record = {"image_id": image_id, "category_id": 1, "score": score, "bbox": [x, 4.0, 7.0, 5.5]}
    return record | ({"segmentation": rle.encode(pixels)} if mask else {})


RESULTS = [result(8, 0.5, 2), result(3, 1, 5, mask=False), result(8, 0.75, 30), result(3, 0.125, 0)]


def load(source: Any) -> tuple[list[Any], list[str]]:
    found, rejected = load_detections(source, TRUTH, on_error="skip", any_category=False)
    return [record for i in (3, 8) for record in found.best_of_image(i, 99)], rejected


@pytest.fixture
def no_slow_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("read record by record")

    monkeypatch.setattr(detections, "load_predictions", fail)


@pytest.mark.usefixtures("no_slow_path")
@pytest.mark.parametrize("piece", [1, 200, 10**6])
@pytest.mark.parametrize("separators", [(",", ":"), (" ,\n ", ": ")])
def test_file_is_read_in_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, separators: tuple[str, str]
) -> None:
    monkeypatch.setattr(detections, "_CHUNK_BYTES", piece)
    (tmp_path / "found.json").write_text(json.dumps(RESULTS, separators=separators))
    best_first = [RESULTS[i] for i in (1, 3, 2, 0)]
    assert load(tmp_path / "found.json") == load(RESULTS) == (best_first, [])


@pytest.mark.usefixtures("no_slow_path")
def test_columns_measure_masks() -> None:
    found, _ = load_detections(RESULTS, TRUTH, on_error="raise", any_category=False)
    assert found.mask_areas.tolist() == [35, 0, 35, 35]
    assert found.mask_boxes[2].tolist() == [30, 4, 37, 9]
    assert len(load_detections([], TRUTH, on_error="raise", any_category=False)[0]) == 0


ERRORS: list[dict[str, Any]] = [
    {"image_id": 4}, {"image_id": 3.0}, {"image_id": True}, {"category_id": 2}, {"category_id": "1"},
    {"score": None}, {"score": float("nan")}, {"score": True}, {"score": "0.5"},
    {"bbox": [1, 2, 3]}, {"bbox": [1, 2, -3, 4]}, {"bbox": [99, 2, 3, 4]}, {"bbox": "1234"}, {"bbox": [1, 2, 3, None]},
    {"segmentation": {"size": [30, 41], "counts": "n42"}}, {"segmentation": {"size": [0, 0], "counts": ""}},
    {"segmentation": {"size": [30, 40], "counts": "zz"}}, {"segmentation": {}}, {"segmentation": 7},
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_errors_are_those_of_load_predictions(error: dict[str, Any]) -> None:
    results = [RESULTS[0], RESULTS[2] | error]
    expected = load_predictions(results, TRUTH, on_error="skip")
    found, rejected = load_detections(results, TRUTH, on_error="skip", any_category=False)
    assert rejected == expected.dropped != []
    assert len(found) == len(expected.results) == 1
    with pytest.raises(AnnotationError):
        load_detections(results, TRUTH, on_error="raise", any_category=False)


def test_uneven_boxes_are_not_shifted() -> None:
    results = [RESULTS[0] | {"bbox": [1, 2, 3]}, RESULTS[2] | {"bbox": [1, 2, 3, 4, 5]}]
    assert len(load_detections(results, TRUTH, on_error="skip", any_category=False)[1]) == 2


def test_other_masks_become_run_lengths() -> None:
    polygon = RESULTS[0] | {"segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]}
    counts = RESULTS[2] | {"segmentation": {"size": [30, 40], "counts": [30, 60, 1110]}}
    found, rejected = load_detections([polygon, counts], TRUTH, on_error="raise", any_category=False)
    assert (found.mask_areas.tolist(), rejected) == ([100, 60], [])

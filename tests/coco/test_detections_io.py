import json
from pathlib import Path

import pytest

from cutler_pl.coco import load_coco, load_predictions, save_coco
from cutler_pl.errors import AnnotationError

from .coco_records import HEIGHT, WIDTH, annotation, box_mask, coco, detection


def test_detections_come_back_with_boxes_and_compressed_masks(tmp_path: Path) -> None:
    truth = load_coco(coco()).coco
    polygon = detection(2, segmentation=[[2, 3, 10, 3, 10, 9, 2, 9]])
    del polygon["bbox"]
    save_coco(tmp_path / "results.json", [detection(), polygon, {**detection(), "segmentation": None}])
    loaded = load_predictions(tmp_path / "results.json", truth)
    assert loaded.dropped == []
    assert loaded.results[0] == detection()
    assert loaded.results[1] == detection(2)
    assert "segmentation" not in loaded.results[2]


def test_raw_pseudo_masks_are_detections_of_score_one() -> None:
    content = coco(annotation(1), annotation(2, 2, score=0.25))
    results = load_predictions(content, load_coco(content).coco).results
    assert [result["score"] for result in results] == [1.0, 0.25]


INVALID_DETECTIONS = {
    "is for the unknown image 9": detection(9),
    "has the unknown category 3": detection(category_id=3),
    "has the score nan": detection(score=float("nan")),
    "has the score inf": detection(score=float("inf")),
    "has the score None": {k: v for k, v in detection().items() if k != "score"},
    "has the box [1, 2]": detection(bbox=[1, 2]),
    "of negative size": detection(bbox=[1, 2, 3, -4]),
    "outside its image of 20×30 pixels": detection(bbox=[40, 2, 3, 4]),
    "has a mask of 30×20 pixels, but image 1 has 20×30": detection(segmentation=box_mask(2, 3, 8, 6, (30, 20))),
    "has run lengths that do not add up": detection(segmentation={"size": [HEIGHT, WIDTH], "counts": "zz"}),
    "has the box None": {k: v for k, v in detection().items() if k not in ("bbox", "segmentation")},
    "is a list, not an object": [1, 2],
}


@pytest.mark.parametrize("sentence", INVALID_DETECTIONS)
def test_raise_or_list_invalid_detection(sentence: str, tmp_path: Path) -> None:
    truth = load_coco(coco()).coco
    given = tmp_path / "results.json"
    given.write_text(json.dumps([detection(), INVALID_DETECTIONS[sentence], detection(2)]))
    with pytest.raises(AnnotationError) as error:
        load_predictions(given, truth)
    assert sentence in str(error.value)
    assert str(error.value).startswith(f"{given}: ")
    assert "detection" in str(error.value)
    loaded = load_predictions(given, truth, on_error="skip")
    assert [result["image_id"] for result in loaded.results] == [1, 2]
    assert len(loaded.dropped) == 1
    assert sentence in loaded.dropped[0]


def test_any_category_is_accepted_where_asked_for() -> None:
    truth = load_coco(coco()).coco
    assert len(load_predictions([detection(category_id=3)], truth, any_category=True).results) == 1


def test_accept_empty_list_only() -> None:
    """An empty list of detections is accepted, an object without annotations is not."""
    truth = load_coco(coco()).coco
    assert load_predictions([], truth).results == []
    with pytest.raises(AnnotationError, match="expected a list of detections or a COCO file, found none"):
        load_predictions({"images": []}, truth)

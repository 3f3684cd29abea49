import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutler_pl.coco import load_coco, rle, save_coco
from cutler_pl.coco.validation import InvalidRecords
from cutler_pl.errors import AnnotationError, ConfigError
from cutler_pl.self_training import merge, merge_annotations, select

HEIGHT, WIDTH = 24, 36


def mask(x: int, y: int, width: int, height: int, size_hw: tuple[int, int] = (HEIGHT, WIDTH)) -> dict[str, Any]:
    pixels = np.zeros(size_hw, dtype=bool)
    pixels[y : y + height, x : x + width] = True
    return rle.encode(pixels)


def prediction(x: int, y: int, width: int, height: int, score: float = 0.9, image_id: int = 1) -> dict[str, Any]:
    box = [x + 0.25, y + 0.25, width - 0.125, height - 0.125]
    segmentation = mask(x, y, width, height)
    return {"image_id": image_id, "category_id": 1, "bbox": box, "score": score, "segmentation": segmentation}


def annotation(number: int, x: int, y: int, width: int, height: int, image_id: int = 1) -> dict[str, Any]:
    box = [float(x), float(y), float(width), float(height)]
    record = {"id": number, "image_id": image_id, "category_id": 1, "bbox": box, "area": width * height}
    return record | {"iscrowd": 0, "segmentation": mask(x, y, width, height), "note": "kept"}


def coco(*annotations: dict[str, Any], images: int = 2) -> dict[str, Any]:
    records = [{"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in range(1, images + 1)]
    return {"info": {"x": 1}, "images": records, "annotations": [*annotations], "categories": [{"id": 1, "name": "fg"}]}


def facts(merged: dict[str, Any]) -> set[tuple[Any, ...]]:
    return {(a["image_id"], json.dumps(a["segmentation"]), a.get("score")) for a in merged["annotations"]}


def test_replace_overlapped_annotations_only() -> None:
    """Overlapped annotations are replaced, the others are the same records."""
    before = coco(annotation(5, 0, 0, 10, 10), annotation(7, 20, 10, 8, 8), annotation(9, 1, 1, 6, 6, image_id=2))
    merged = merge_annotations(before, [prediction(1, 0, 10, 10), prediction(2, 2, 4, 4, score=0.69)], 0.7)
    assert [a["id"] for a in merged["annotations"]] == [7, 9, 10]
    assert merged["annotations"][:2] == before["annotations"][1:]
    assert {key: merged[key] for key in ("info", "images", "categories")} == {
        key: before[key] for key in ("info", "images", "categories")
    }


def test_new_annotations_follow_their_mask() -> None:
    """New annotations have the box, area and size of their mask."""
    merged = merge_annotations(coco(), [prediction(3, 4, 7, 5, score=0.8)], 0.7)
    assert merged["annotations"] == [
        {
            "image_id": 1,
            "category_id": 1,
            "bbox": [3.0, 4.0, 7.0, 5.0],
            "score": 0.8,
            "segmentation": mask(3, 4, 7, 5),
            "id": 1,
            "area": 35,
            "iscrowd": 0,
            "width": WIDTH,
            "height": HEIGHT,
        }
    ]


def test_an_overlap_of_exactly_one_half_replaces() -> None:
    before = coco(annotation(1, 0, 0, 10, 10))
    assert [a["id"] for a in merge_annotations(before, [prediction(0, 0, 10, 5)], 0.7)["annotations"]] == [2]
    assert [a["id"] for a in merge_annotations(before, [prediction(0, 0, 9, 5)], 0.7)["annotations"]] == [1, 2]


def test_a_score_of_exactly_the_threshold_is_kept() -> None:
    predictions = [prediction(0, 0, 5, 5, score) for score in (0.7, 0.6999999, 0.71)]
    assert [p["score"] for p in select(predictions, 0.7)] == [0.7, 0.71]


def test_leave_out_masks_without_area() -> None:
    before = coco(annotation(1, 0, 0, 10, 10), annotation(2, 0, 0, 0, 0))
    merged = merge(before, [prediction(0, 0, 0, 0), prediction(20, 10, 5, 5)], 0.7)
    assert [a["id"] for a in merged.coco["annotations"]] == [1, 3]
    assert (merged.added, merged.replaced, merged.empty, merged.dropped) == (1, 0, 2, [])


@pytest.mark.parametrize("segmentation", ["polygon", "uncompressed", "box"])
def test_every_form_of_a_previous_mask_is_compared(segmentation: str) -> None:
    record = annotation(1, 2, 3, 10, 8)
    if segmentation == "polygon":
        record["segmentation"] = [[2, 3, 12, 3, 12, 11, 2, 11]]
    elif segmentation == "uncompressed":
        flat = rle.decode(record["segmentation"]).ravel(order="F")
        edges = np.flatnonzero(np.diff(flat.astype(int))) + 1
        lengths = np.diff([0, *edges.tolist(), flat.size]).tolist()
        record["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": lengths}
    else:
        del record["segmentation"]
    gone = merge_annotations(coco(record), [prediction(2, 3, 10, 8)], 0.7)["annotations"]
    assert [a["id"] for a in gone] == [2]
    stays = merge_annotations(coco(record), [prediction(20, 3, 10, 8)], 0.7)["annotations"]
    assert stays[0] is record


def test_fix_swapped_sizes_by_any_mask() -> None:
    """Swapped sizes are corrected by the masks of annotations or of predictions."""
    before = coco(annotation(1, 0, 0, 10, 10))
    for image in before["images"]:
        image.update(height=WIDTH, width=HEIGHT)
    merged = merge_annotations(before, [prediction(1, 1, 4, 4, image_id=2)], 0.7)
    assert [(image["height"], image["width"]) for image in merged["images"]] == [(HEIGHT, WIDTH)] * 2
    bare = coco()
    bare["images"][1].update(height=WIDTH, width=HEIGHT)
    merged = merge_annotations(bare, [prediction(1, 1, 4, 4, image_id=2)], 0.7)
    assert [(image["height"], image["width"]) for image in merged["images"]] == [(HEIGHT, WIDTH)] * 2


INVALID = {
    "is for the unknown image 99": prediction(0, 0, 5, 5, image_id=99),
    "image 1) has a mask of 36×24 pixels, but image 1 has 24×36": prediction(0, 0, 5, 5)
    | {"segmentation": mask(0, 0, 5, 5, (WIDTH, HEIGHT))},
    "has the unknown category 4": prediction(0, 0, 5, 5) | {"category_id": 4},
    "has the score nan": prediction(0, 0, 5, 5, score=float("nan")),
    "has the score None": {k: v for k, v in prediction(0, 0, 5, 5).items() if k != "score"},
    "(image 1) has no mask": {k: v for k, v in prediction(0, 0, 5, 5).items() if k != "segmentation"},
    "has run lengths that do not add up": prediction(0, 0, 5, 5)
    | {"segmentation": {"size": [HEIGHT, WIDTH], "counts": "x"}},
    "has run lengths of the size None": prediction(0, 0, 5, 5) | {"segmentation": {"counts": "x"}},
}


@pytest.mark.parametrize("sentence", INVALID)
def test_raise_or_list_invalid_prediction(sentence: str, tmp_path: Path) -> None:
    before = coco(annotation(1, 0, 0, 10, 10))
    predictions = tmp_path / "predictions.json"
    predictions.write_text(json.dumps([prediction(20, 10, 5, 5), INVALID[sentence]]))
    with pytest.raises(AnnotationError) as error:
        merge_annotations(before, predictions, 0.7)
    assert sentence in str(error.value)
    assert "predictions.json" in str(error.value)
    merged = merge(before, predictions, 0.7, on_error="skip")
    assert [a["id"] for a in merged.coco["annotations"]] == [1, 2]
    assert (merged.added, merged.replaced, len(merged.dropped)) == (1, 0, 1)
    assert sentence in merged.dropped[0]


def test_errors_below_the_threshold_do_not_matter() -> None:
    invalid = INVALID["is for the unknown image 99"] | {"score": 0.1}
    assert merge_annotations(coco(), [invalid], 0.7)["annotations"] == []


def test_select_lists_scores_that_are_no_numbers() -> None:
    invalid = InvalidRecords("x", "skip")
    assert select([{"score": "high"}, {"score": 0.8}], 0.7, invalid=invalid) == [{"score": 0.8}]
    assert invalid.reasons == ["detection 0 has the score 'high', not a finite number"]
    with pytest.raises(ConfigError, match="the score threshold is nan"):
        select([], float("nan"))


def test_match_predicted_images_by_name() -> None:
    """Predictions with images of their own, as MaskCut writes them, are matched by file name."""
    before = coco(annotation(1, 0, 0, 10, 10, image_id=2))
    found = coco(annotation(1, 0, 0, 10, 9))
    found["images"] = [found["images"][1] | {"id": 1, "file_name": "val/2.jpg"}]
    merged = merge(before, found, 0.7)
    assert [(a["id"], a["image_id"]) for a in merged.coco["annotations"]] == [(2, 2)]
    assert (merged.added, merged.replaced) == (1, 1)


def test_reject_file_without_predictions(tmp_path: Path) -> None:
    save_coco(tmp_path / "predictions.json", {"images": []})
    with pytest.raises(AnnotationError, match=r"predictions\.json: expected a list of detections or a COCO file"):
        merge_annotations(coco(), tmp_path / "predictions.json", 0.7)


BOXES = st.tuples(st.integers(0, 20), st.integers(0, 12), st.integers(1, 16), st.integers(1, 12))
PREDICTIONS = st.lists(st.tuples(BOXES, st.sampled_from([0.5, 0.7, 0.95]), st.integers(1, 3)), max_size=6)
ANNOTATIONS = st.lists(st.tuples(BOXES, st.integers(1, 3)), max_size=6)


def _build(annotations: Any, predictions: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    before = coco(*(annotation(n, *box, image_id=i) for n, (box, i) in enumerate(annotations, 1)), images=3)
    return before, [prediction(*box, score=score, image_id=i) for box, score, i in predictions]


@settings(max_examples=60, deadline=None)
@given(ANNOTATIONS, PREDICTIONS)
def test_merge_is_idempotent_keeps_inputs_and_rule(annotations: Any, predictions: Any) -> None:
    before, found = _build(annotations, predictions)
    untouched = copy.deepcopy((before, found))
    merged = merge_annotations(before, found, 0.7)
    assert (before, found) == untouched
    assert facts(merge_annotations(merged, found, 0.7)) == facts(merged)
    assert load_coco(merged).dropped == []  # unique ids, masks and boxes in order
    chosen = [p for p in found if p["score"] >= 0.7]
    for record in before["annotations"]:
        rivals = [p["segmentation"] for p in chosen if p["image_id"] == record["image_id"]]
        overlapped = bool(rivals) and rle.iou([record["segmentation"]], rivals).max() >= 0.5
        assert (record in merged["annotations"]) != overlapped
    assert len(merged["annotations"]) - len(chosen) == sum(
        record in merged["annotations"] for record in before["annotations"]
    )


@settings(max_examples=20, deadline=None)
@given(ANNOTATIONS)
def test_merging_nothing_returns_the_same(annotations: Any) -> None:
    before, _ = _build(annotations, [])
    assert merge_annotations(before, [], 0.7) == before


def test_only_masks_of_the_same_image_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def counting_iou(masks: list[Any], others: list[Any]) -> np.ndarray:
        compared.append(len(masks) * len(others))
        return np.zeros((len(masks), len(others)))

    monkeypatch.setattr(rle, "iou", counting_iou)
    before = coco(*(annotation(i, 0, 0, 9, 9, image_id=i) for i in range(1, 41)), images=60)
    merge_annotations(before, [prediction(1, 1, 9, 9, image_id=i) for i in range(21, 61)], 0.7)
    assert compared == [1] * 20


@pytest.mark.golden
def test_reproduce_original_merge_without_defects(golden_dir: Path) -> None:
    folder = golden_dir / "detector"
    before = json.loads((folder / "selftrain_prev_ann.json").read_text())
    expected = json.loads((folder / "selftrain_expected.json").read_text())
    merged = merge(before, folder / "selftrain_predictions.json", 0.7, on_error="skip")
    # The original keeps the prediction of an unknown image, and in image 9 replaces an empty mask by an empty one; of
    # image 10 both drop the prediction, we say so.
    empty = [a for a in expected["annotations"] if rle.area(rle.to_rle(a["segmentation"], 0, 0)) == 0]
    assert [(a["image_id"], a["score"]) for a in empty] == [(9, 0.9)]
    assert facts(merged.coco) == {fact for fact in facts(expected) - facts({"annotations": empty}) if fact[0] != 999}
    assert len(merged.coco["annotations"]) == len(expected["annotations"]) - 2
    assert merged.empty == 2
    assert merged.dropped == [
        "detection 3 is for the unknown image 999",
        "detection 8 (image 10) has a mask of 75×67 pixels, but image 10 has 67×75 (height×width)",
    ]
    sizes = {image["id"]: [image["height"], image["width"]] for image in merged.coco["images"]}
    assert sizes == {image["id"]: [image["width"], image["height"]] for image in before["images"]}
    by_id = {record["id"]: record for record in before["annotations"]}
    for record in merged.coco["annotations"]:
        if "score" not in record:
            assert record == by_id[record["id"]]
            continue
        assert record["bbox"] == rle.bbox(record["segmentation"])
        assert record["area"] == rle.area(record["segmentation"])
        assert [record["height"], record["width"]] == record["segmentation"]["size"] == sizes[record["image_id"]]


@pytest.mark.golden
def test_the_original_s_silent_losses_are_errors(golden_dir: Path) -> None:
    folder = golden_dir / "detector"
    with pytest.raises(AnnotationError, match=r"selftrain_predictions\.json.*unknown image 999"):
        merge_annotations(folder / "selftrain_prev_ann.json", folder / "selftrain_predictions.json", 0.7)

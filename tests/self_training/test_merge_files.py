"""The merge of files gives what the merge in memory gives, whatever the order of the records."""

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutler_pl.coco import grouped_file, rle, sorted_records
from cutler_pl.coco.sorted_records import Groups, SortedRecords
from cutler_pl.errors import AnnotationError
from cutler_pl.self_training import merge, merge_files

from .test_merge import ANNOTATIONS, HEIGHT, INVALID, PREDICTIONS, WIDTH, _build, annotation, coco, mask, prediction


def both(before: Any, found: Any, folder: Path, threshold: float = 0.7) -> tuple[Any, Any, Any, Any]:
    """Content and counts of the merge in memory and of files, invalid records left out."""
    folder.mkdir(exist_ok=True)
    (folder / "before.json").write_text(json.dumps(before))
    (folder / "found.json").write_text(json.dumps(found))
    names = str(folder / "before.json"), str(folder / "found.json")
    expected = merge(*names, threshold, on_error="skip")
    counts = merge_files(*names, folder / "next.json", threshold, on_error="skip")
    return expected.coco, json.loads((folder / "next.json").read_text()), expected, counts


def assert_equal(before: Any, found: Any, folder: Path) -> None:
    expected, merged, wanted, counts = both(before, found, folder)
    assert merged == expected
    for field in ("added", "predictions", "replaced", "annotations", "empty", "total"):
        assert getattr(counts, field) == getattr(wanted, field), field
    assert sorted(counts.dropped) == sorted(wanted.dropped)


@settings(max_examples=40, deadline=None)
@given(ANNOTATIONS, PREDICTIONS, st.integers(1, 3), st.randoms())
def test_equal_the_merge_in_memory(
    tmp_path_factory: pytest.TempPathFactory, annotations: Any, predictions: Any, size: int, chance: random.Random
) -> None:
    before, found = _build(annotations, predictions)
    chance.shuffle(before["annotations"])
    chance.shuffle(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouped_file, "_IMAGES", size)
        patch.setattr(sorted_records, "_RUN_BYTES", 900)
        assert_equal(before, found, tmp_path_factory.mktemp("merge"))


@pytest.mark.parametrize("sentence", INVALID)
def test_invalid_predictions_as_in_memory(sentence: str, tmp_path: Path) -> None:
    before = coco(annotation(1, 0, 0, 10, 10))
    found = [prediction(20, 10, 5, 5), INVALID[sentence]]
    assert_equal(before, found, tmp_path)
    with pytest.raises(AnnotationError) as caught:
        merge_files(tmp_path / "before.json", tmp_path / "found.json", tmp_path / "raised.json", 0.7)
    assert sentence in str(caught.value)
    assert "found.json" in str(caught.value)
    assert not (tmp_path / "raised.json").exists()


def test_invalid_previous_records_as_in_memory(tmp_path: Path) -> None:
    good = annotation(1, 0, 0, 10, 10)
    before = coco(good, good, annotation(3, 0, 0, 4, 4, image_id=9), {"id": 4}, good | {"id": 5, "category_id": 7})
    before["annotations"].append(good | {"id": 6, "segmentation": mask(0, 0, 5, 5, (HEIGHT, WIDTH + 1))})
    before["images"] += [before["images"][0] | {"file_name": "again.jpg"}, {"id": 8}]
    before["categories"].append({"id": 1, "name": "again"})
    assert_equal(before, [prediction(0, 0, 9, 9), prediction(1, 1, 4, 4, image_id=2)], tmp_path)


@pytest.mark.parametrize("empty", ["images", "annotations", "both"])
def test_nothing_to_merge(empty: str, tmp_path: Path) -> None:
    before = coco(*([] if empty in ("annotations", "both") else [annotation(1, 0, 0, 5, 5)]))
    if empty in ("images", "both"):
        before["images"] = []
    before["licenses"] = []
    assert_equal(before, [prediction(0, 0, 9, 9)], tmp_path)


@pytest.mark.parametrize("own_mask", [True, False])
def test_swapped_sizes_as_in_memory(own_mask: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes follow from all images: here, those of the first group tell of the others."""
    monkeypatch.setattr(grouped_file, "_IMAGES", 1)
    before = coco(*([annotation(1, 0, 0, 10, 10)] if own_mask else []), images=3)
    for image in before["images"]:
        image.update(height=WIDTH, width=HEIGHT)
    assert_equal(before, [prediction(1, 1, 4, 4, image_id=2)], tmp_path)


def test_annotations_before_images(tmp_path: Path) -> None:
    before = coco(annotation(1, 0, 0, 10, 10), annotation(2, 0, 0, 5, 5, image_id=2))
    assert_equal(dict(reversed(before.items())), [prediction(0, 0, 9, 9)], tmp_path)


def test_predictions_with_images_of_their_own(tmp_path: Path) -> None:
    found = coco(annotation(1, 0, 0, 10, 9))
    found["images"] = [found["images"][1] | {"id": 1, "file_name": "val/2.jpg"}]
    assert_equal(coco(annotation(1, 0, 0, 10, 10, image_id=2)), found, tmp_path)


def test_decode_no_mask_away_from_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    iou = rle.iou

    def recording_iou(masks: list[Any], others: list[Any]) -> np.ndarray:
        compared.append((len(masks), len(others)))
        return iou(masks, others)

    monkeypatch.setattr(rle, "iou", recording_iou)
    before = coco(annotation(1, 0, 0, 5, 5), annotation(2, 20, 10, 8, 8), annotation(3, 0, 0, 5, 5, image_id=2))
    found = [prediction(5, 5, 4, 4), prediction(20, 10, 8, 8), prediction(10, 10, 4, 4, image_id=2)]
    assert [a["id"] for a in merge(before, found, 0.7).coco["annotations"]] == [1, 3, 4, 5, 6]
    assert compared == [(1, 1)]


@given(st.lists(st.tuples(st.integers(-5, 5), st.text(max_size=3)), max_size=30), st.integers(1, 4))
def test_records_by_key_then_as_added(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[int, str]], size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, SortedRecords(tmp_path_factory.mktemp("sorted")) as found:
        patch.setattr(sorted_records, "_RUN_BYTES", 600)
        for key, value in records:
            found.add(key, {"value": value})
        expected = [(key, {"value": value}) for key, value in sorted(records, key=lambda record: record[0])]
        assert len(found) == len(records)
        assert list(found) == list(found) == expected
        groups = Groups(found, size)
        taken = [entry for group in range(-5 // size, 5 // size + 1) for entry in groups.take(group)]
        assert taken == expected
        assert list(found.drain()) == expected


def test_draining_frees_each_run_once_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_records, "_RUN_BYTES", 600)
    with SortedRecords(tmp_path) as found:
        for key in range(20):
            found.add(key, "x" * 300)
        runs = list(found._runs)
        assert len(runs) > 5
        open_runs = [sum(not run.closed for run in runs) for _ in found.drain()]
    assert open_runs[0] == len(runs)
    assert open_runs[-1] <= 2


def test_memory_does_not_grow_with_annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_records, "_RUN_BYTES", 1 << 16)
    monkeypatch.setattr("cutler_pl.coco.stream._CHUNK_CHARACTERS", 1 << 16)
    monkeypatch.setattr(grouped_file, "_IMAGES", 4)
    peaks = []
    for count in (100, 400):
        before = coco(*(annotation(i, 0, 0, 9, 9, image_id=i) for i in range(1, count)), images=count)
        for record in before["annotations"]:
            record["note"] = "x" * 5000
        (tmp_path / "before.json").write_text(json.dumps(before))
        found = [prediction(20, 10, 8, 8, image_id=i) | {"note": "x" * 5000} for i in range(1, count)]
        (tmp_path / "found.json").write_text(json.dumps(found))
        del before, found
        tracemalloc.start()
        merge_files(tmp_path / "before.json", tmp_path / "found.json", tmp_path / "next.json", 0.7)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]

import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutler_pl.coco import load_coco, rle
from cutler_pl.coco.index import open_index
from cutler_pl.coco.packed_strings import PackedStrings
from cutler_pl.errors import AnnotationError, DatasetNotFoundError

from .small_coco import POLYGON, annotation, mask, small_coco, write


def test_the_index_holds_what_the_file_says(tmp_path: Path) -> None:
    index = open_index(write(tmp_path / "x.json", small_coco()))

    assert len(index) == 3
    assert list(index.file_names) == ["b/zwei.jpg", "a/ünö.jpg", "leer.jpg"]
    assert index.image_ids.tolist() == [50, 7, 9]
    assert index.size_hw(2) == (30, 20)
    assert index.categories == {3: "dog", 8: "cat"}
    assert list(index.categories) == [3, 8]
    assert index.count_objects().tolist() == [2, 1, 0]
    assert index.count_without_mask() == 1

    first, second, empty = (index.objects(i) for i in range(3))
    assert first.segmentations == [POLYGON, None]
    assert first.category_ids.tolist() == [8, 8]
    assert second.is_crowd.tolist() == [False, True]
    assert second.boxes_xywh.tolist() == [[1, 1, 4, 3]] * 2
    assert second.areas.tolist() == [12, 12]
    assert np.array_equal(rle.decode(second.segmentations[0]), mask(1, 4, 1, 5))
    assert rle.area(second.segmentations[1]) == 6
    assert empty.boxes_xywh.shape == (0, 4)
    assert empty.segmentations == []


def test_scores_are_indexed(tmp_path: Path) -> None:
    """In the order of the images; without a score it is 1."""
    coco = small_coco()
    for record, score in zip(coco["annotations"][:3], (0.25, 0, 1), strict=True):
        record["score"] = score
    index = open_index(write(tmp_path / "x.json", coco))
    assert [index.objects(i).scores.tolist() for i in range(3)] == [[0, 1], [0.25, 1], []]


def test_index_empty_file(tmp_path: Path) -> None:
    index = open_index(write(tmp_path / "x.json", {"images": [], "annotations": [], "categories": []}))
    assert len(index) == 0
    assert index.count_objects().tolist() == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(owners=st.lists(st.integers(0, 5), max_size=20), ids=st.permutations(range(6)))
def test_any_order_of_annotations_is_grouped_by_image(tmp_path: Path, owners: list[int], ids: list[int]) -> None:
    coco = small_coco()
    coco["images"] = [{"id": i, "file_name": f"{i}.jpg", "height": 8, "width": 12} for i in ids]
    coco["annotations"] = [annotation(n, o, None, area=float(n)) for n, o in enumerate(owners)]
    path = write(tmp_path / "x.json", coco)
    os.utime(path, ns=(0, time.time_ns()))
    index = open_index(path)
    for i, image_id in enumerate(ids):
        assert index.objects(i).areas.tolist() == [n for n, owner in enumerate(owners) if owner == image_id]


def test_annotations_without_area_are_dropped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    coco = small_coco()
    coco["annotations"] += [
        annotation(11, 9, POLYGON, bbox=[3, 3, 0, 5]),
        annotation(12, 9, rle.encode(mask(0, 0, 0, 0, (30, 20)))),
        annotation(13, 9, [[2.0, 2.0, 2.0, 2.0, 2.0, 2.0]]),
        annotation(14, 9, []),
    ]
    index = open_index(write(tmp_path / "x.json", coco))
    assert index.count_objects().tolist() == [2, 1, 0]
    assert index.num_dropped == 4
    assert "left out 4 without area" in caplog.text


def test_exchanged_width_and_height_are_put_right(tmp_path: Path) -> None:
    coco = small_coco()
    coco["images"][1] |= {"height": 12, "width": 8}
    assert open_index(write(tmp_path / "x.json", coco)).size_hw(1) == (8, 12)


def test_polygons_of_swapped_images(tmp_path: Path) -> None:
    """Polygons are rasterised at the corrected size of their image."""
    coco = small_coco()
    coco["images"][1] |= {"height": 12, "width": 8}
    beyond = [[9.0, 1.0, 11.0, 1.0, 11.0, 3.0, 9.0, 3.0]]
    coco["annotations"].append(annotation(9, 7, beyond, bbox=[9.0, 1.0, 2.0, 2.0]))
    assert open_index(write(tmp_path / "x.json", coco)).count_objects().tolist() == [2, 2, 0]


def test_annotations_may_come_before_their_images(tmp_path: Path) -> None:
    coco = small_coco()
    first = open_index(write(tmp_path / "a.json", coco))
    second = open_index(write(tmp_path / "b.json", {"annotations": coco["annotations"], **coco}))
    for i in range(3):
        assert first.objects(i).segmentations == second.objects(i).segmentations
        assert first.objects(i).boxes_xywh.tolist() == second.objects(i).boxes_xywh.tolist()


INVALID = {
    r"image id \d+ occurs more than once": {"images": small_coco()["images"] * 2},
    "annotation id 1 occurs more than once": {"annotations": small_coco()["annotations"] * 2},
    "category id 8 occurs more than once": {"categories": small_coco()["categories"] * 2},
    "annotation 1 has the unknown category 3": {"categories": small_coco()["categories"][:1]},
    r"annotation 5 \(image 9\) has a mask of 8×12 pixels, but image 9 has 30×20": {
        "annotations": [annotation(5, 9, rle.encode(mask(1, 4, 1, 5)))]
    },
    "annotation 5 has the box None": {"annotations": [annotation(5, 9, None, bbox=None)]},
    "annotation 5 has the score 1.5, not a number from 0 to 1": {"annotations": [annotation(5, 9, None, score=1.5)]},
    "annotation 5 has the score -0.1, not": {"annotations": [annotation(5, 9, None, score=-0.1)]},
    "annotation 5 has the score nan, not": {"annotations": [annotation(5, 9, None, score=float("nan"))]},
    "annotation 5 has the score 'high', not": {"annotations": [annotation(5, 9, None, score="high")]},
    r"annotation 5 \(image 9\) has run lengths that do not add up": {
        "annotations": [annotation(5, 9, {"size": [30, 20], "counts": "zz"})]
    },
}


@pytest.mark.parametrize("sentence", INVALID)
def test_invalid_records_end_the_build(tmp_path: Path, sentence: str) -> None:
    path = write(tmp_path / "x.json", small_coco() | INVALID[sentence])
    with pytest.raises(AnnotationError, match=sentence):
        open_index(path)
    with pytest.raises(AnnotationError, match=sentence):
        load_coco(path)


def test_an_unknown_image_is_named(tmp_path: Path) -> None:
    coco = small_coco()
    coco["annotations"].append(annotation(11, 4711, POLYGON))
    path = write(tmp_path / "x.json", coco)
    with pytest.raises(AnnotationError, match=r"x\.json.*4711"):
        open_index(path)
    with pytest.raises(AnnotationError, match="4711"):  # nothing half done was taken for an index
        open_index(path)


def test_name_missing_or_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"nowhere\.json"):
        open_index(tmp_path / "nowhere.json")
    (tmp_path / "x.json").write_text("<html>")
    with pytest.raises(AnnotationError, match=r"x\.json.*not a COCO JSON"):
        open_index(tmp_path / "x.json")


def test_packed_strings_behave_like_a_list() -> None:
    strings = ["", "a", "äö", "日本", "not utf-8: \udcff", "z" * 300]
    packed = PackedStrings.pack(strings)
    assert list(packed) == strings
    assert packed[1:3] == ["a", "äö"]
    assert packed.index("日本") == 3
    assert len(PackedStrings.pack([])) == 0
    with pytest.raises(IndexError):
        packed[6]


def test_index_names_that_are_not_utf8(tmp_path: Path) -> None:
    coco = small_coco()
    coco["images"][0]["file_name"] = os.fsdecode(b"\xff\xfe.jpg")
    assert open_index(write(tmp_path / "x.json", coco)).file_names[0] == os.fsdecode(b"\xff\xfe.jpg")


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["coco_mini/annotations/instances.json", "uvo_mini/DERIVED_rle_cls_agnostic_from_coco.json"]
)
def test_real_annotations_come_back_unchanged(data_dir: Path, tmp_path: Path, name: str) -> None:
    path = data_dir / name
    index = open_index(path, index_dir=tmp_path)
    coco = load_coco(path).coco
    for i, image in enumerate(coco["images"]):
        expected = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        objects = index.objects(i)
        assert index.file_names[i] == image["file_name"]
        assert objects.boxes_xywh.tolist() == [a["bbox"] for a in expected]
        assert objects.is_crowd.tolist() == [bool(a["iscrowd"]) for a in expected]
        for ours, theirs in zip(objects.segmentations, expected, strict=True):
            segmentation = theirs["segmentation"]
            size = image["height"], image["width"]
            assert ours == (segmentation if isinstance(segmentation, list) else rle.to_rle(segmentation, *size))

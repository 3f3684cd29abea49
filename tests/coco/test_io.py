import copy
import json
import math
from pathlib import Path

import pytest

from cutler_pl.coco import load_coco, save_coco
from cutler_pl.coco.io import read_json
from cutler_pl.errors import AnnotationError, DatasetNotFoundError

from .coco_records import HEIGHT, WIDTH, annotation, box_mask, coco, detection


def test_a_sound_file_comes_back_unchanged(tmp_path: Path) -> None:
    content = coco(annotation(1), annotation(2, 2, segmentation=[[1, 1, 5, 1, 5, 5]]), info={"year": 2023})
    save_coco(tmp_path / "a.json", content)
    checked = load_coco(tmp_path / "a.json")
    assert checked.coco == content
    assert (checked.swapped, checked.dropped) == (0, [])


def test_the_given_content_is_not_changed() -> None:
    content = coco(annotation(1, iscrowd=0), {k: v for k, v in annotation(2).items() if k != "iscrowd"})
    content["images"][0].update(height=WIDTH, width=HEIGHT)
    before = copy.deepcopy(content)
    load_coco(content)
    assert content == before


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"no such annotation file: .*gone\.json"):
        load_coco(tmp_path / "gone.json")


@pytest.mark.parametrize("content", ["not json", "{", "", "\x00\xff", "[" * 100_000])
def test_what_is_not_json_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(AnnotationError, match=r"a\.json: not a JSON file"):
        load_coco(path)


@pytest.mark.parametrize("missing", ["images", "annotations", "categories"])
def test_missing_list_is_named(missing: str) -> None:
    content = coco()
    del content[missing]
    with pytest.raises(AnnotationError, match=f'the list "{missing}"'):
        load_coco(content)


def test_a_results_list_is_no_annotation_file(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps([detection()]))
    with pytest.raises(AnnotationError, match="expected a COCO object with images and annotations, found a list"):
        load_coco(tmp_path / "results.json")


INVALID_ANNOTATIONS = {
    "annotation 2 is for the unknown image 9": annotation(2, 9),
    "annotation 2 has the unknown category 7": annotation(2, category_id=7),
    "annotation id 1 occurs more than once": annotation(1, 2),
    "no integer id, but None": {k: v for k, v in annotation(2).items() if k != "id"},
    "annotation 2 has no integer image_id, but '1'": annotation(2, image_id="1"),
    "annotation 2 has the box None": annotation(2, bbox=None),
    "annotation 2 has the box [1, 2, 3]": annotation(2, bbox=[1, 2, 3]),
    "annotation 2 has the box [1, 2, nan, 4]": annotation(2, bbox=[1, 2, float("nan"), 4]),
    "annotation 2 has the box [1, 2, -3, 4] of negative size": annotation(2, bbox=[1, 2, -3, 4]),
    "annotation 2 has iscrowd 'no'": annotation(2, iscrowd="no"),
    "annotation 2 has the area None": annotation(2, area=None),
    "annotation 2 has a polygon that is not 3 or more": annotation(2, segmentation=[[1, 2, 3, 4]]),
    "a polygon that is not 3 or more finite points": annotation(2, segmentation=[[1, 2, 3, 4, 5, float("inf")]]),
    "annotation 2 has a segmentation that is a str": annotation(2, segmentation="mask"),
    "annotation 2 has run lengths that do not add up to its size 20×30": annotation(
        2, segmentation={"size": [20, 30], "counts": [1, 2, 3]}
    ),
    "annotation 2 (image 1) has run lengths that do not add up to its size 20×30": annotation(
        2, segmentation={"size": [20, 30], "counts": "garbage"}
    ),
    "annotation 2 has run lengths of the size [20]": annotation(2, segmentation={"size": [20], "counts": "0"}),
    "annotation 2 (image 1) has a mask of 21×30 pixels, but image 1 has 20×30": annotation(
        2, segmentation=box_mask(2, 3, 8, 6, (21, 30))
    ),
    "an annotation record is a int, not an object": 5,
}


@pytest.mark.parametrize("sentence", INVALID_ANNOTATIONS)
def test_raise_or_list_invalid_annotation(sentence: str, tmp_path: Path) -> None:
    content = coco(annotation(1), INVALID_ANNOTATIONS[sentence], annotation(3, 2))
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationError) as error:
        load_coco(path)
    assert sentence in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "on_error=skip" in str(error.value)
    checked = load_coco(path, on_error="skip")
    assert [record["id"] for record in checked.coco["annotations"]] == [1, 3]
    assert len(checked.dropped) == 1
    assert sentence in checked.dropped[0]


INVALID_IMAGES = {
    "image id 1 occurs more than once": {"id": 1, "file_name": "c.jpg", "height": HEIGHT, "width": WIDTH},
    "image 3 has no positive integer height, but None": {"id": 3, "file_name": "c.jpg", "width": WIDTH},
    "image 3 has no positive integer width, but 0": {"id": 3, "file_name": "c.jpg", "height": HEIGHT, "width": 0},
    "image 3 has neither file_name nor coco_url": {"id": 3, "height": HEIGHT, "width": WIDTH},
    "no integer id, but 'x'": {"id": "x", "file_name": "c.jpg", "height": HEIGHT, "width": WIDTH},
}


@pytest.mark.parametrize("sentence", INVALID_IMAGES)
def test_raise_or_list_invalid_image(sentence: str) -> None:
    content = coco()
    content["images"].append(INVALID_IMAGES[sentence])
    with pytest.raises(AnnotationError) as error:
        load_coco(content)
    assert sentence in str(error.value)
    checked = load_coco(content, on_error="skip")
    assert [image["id"] for image in checked.coco["images"]] == [1, 2]
    assert len(checked.dropped) == 1


def test_invalid_category_raises() -> None:
    with pytest.raises(AnnotationError, match="category id 1 occurs more than once"):
        load_coco(coco(categories=[{"id": 1, "name": "fg"}, {"id": 1, "name": "bg"}]))
    with pytest.raises(AnnotationError, match="category 1 needs an integer id and a name"):
        load_coco(coco(categories=[{"id": 1}]))


@pytest.mark.parametrize("bbox", [[5, 5, 0, 4], [5, 5, 4, 0], [30, 5, 4, 4], [-4, 5, 4, 4]])
def test_drop_boxes_without_area(bbox: list[int]) -> None:
    """Boxes without area inside their image are dropped and listed, whatever `on_error` is."""
    content = coco(annotation(1), annotation(2, bbox=bbox))
    for on_error in ("raise", "skip"):
        checked = load_coco(content, on_error=on_error)
        assert [record["id"] for record in checked.coco["annotations"]] == [1]
        assert checked.dropped == [f"annotation 2 (image 1) has no area inside its image: {bbox!r}"]
    assert len(load_coco(content, keep_empty_boxes=True).coco["annotations"]) == 2


def test_fix_and_count_swapped_sizes() -> None:
    content = coco(annotation(1), annotation(2, 2))
    for image in content["images"]:
        image.update(height=WIDTH, width=HEIGHT)
    checked = load_coco(content)
    assert checked.swapped == 2
    assert [(image["height"], image["width"]) for image in checked.coco["images"]] == [(HEIGHT, WIDTH)] * 2


def test_swap_unannotated_images_of_swapped_file() -> None:
    """If all sizes that can be judged are swapped, so are those of images without annotations."""
    content = coco(annotation(1))
    for image in content["images"]:
        image.update(height=WIDTH, width=HEIGHT)
    assert load_coco(content).swapped == 2
    mixed = coco(annotation(1), annotation(2, 2))
    mixed["images"][0].update(height=WIDTH, width=HEIGHT)
    mixed["images"].append({"id": 3, "file_name": "c.jpg", "height": 40, "width": 50})
    checked = load_coco(mixed)
    assert checked.swapped == 1
    assert checked.coco["images"][2] == mixed["images"][2]


def test_polygons_say_nothing_about_sizes() -> None:
    content = coco(annotation(1, segmentation=[[1, 1, 5, 1, 5, 5]]))
    content["images"][0].update(height=WIDTH, width=HEIGHT)
    assert load_coco(content).swapped == 0


def test_missing_fields_of_lvis_are_filled_in() -> None:
    bare = {k: v for k, v in annotation(1).items() if k not in ("iscrowd", "area")}
    boxed = {k: v for k, v in bare.items() if k != "segmentation"} | {"id": 2, "bbox": [1, 1, 3, 5]}
    content = coco(bare, boxed)
    content["images"][0] = {
        "id": 1,
        "height": HEIGHT,
        "width": WIDTH,
        "coco_url": "http://images.cocodataset.org/val2017/000000000139.jpg",
    }
    checked = load_coco(content).coco
    assert checked["images"][0]["file_name"] == "val2017/000000000139.jpg"
    assert [(a["iscrowd"], a["area"]) for a in checked["annotations"]] == [(0, 48.0), (0, 15.0)]


def test_a_file_without_annotations_is_fine() -> None:
    assert load_coco(coco() | {"annotations": []}).coco["annotations"] == []


def test_saving_refuses_nan_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save_coco(path, coco())
    before = path.read_bytes()
    with pytest.raises(AnnotationError, match=r"a\.json: not written"):
        save_coco(path, [detection(score=float("nan"))])
    assert path.read_bytes() == before
    save_coco(path, coco())
    assert path.read_bytes() == before


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    [
        "coco_mini/annotations/instances.json",
        "lvis_mini/lvis_v0.5_val_subset.json",
        "lvis_mini/DERIVED_v1_style_no_file_name.json",
        "uvo_mini/DERIVED_rle_cls_agnostic_from_coco.json",
    ],
)
def test_real_files_are_read_without_loss(data_dir: Path, name: str) -> None:
    checked = load_coco(data_dir / name)
    assert len(checked.coco["annotations"]) == len(json.loads((data_dir / name).read_text())["annotations"]) > 0
    assert (checked.swapped, checked.dropped) == (0, [])
    assert all(image["file_name"] for image in checked.coco["images"])


@pytest.mark.golden
def test_fix_sizes_of_original_pseudo_masks(golden_dir: Path) -> None:
    checked = load_coco(golden_dir / "detector" / "selftrain_prev_ann.json")
    assert checked.swapped == len(checked.coco["images"]) == 11
    assert checked.dropped == ["annotation 13 (image 9) has no area inside its image: [0.0, 0.0, 0.0, 0.0]"]


def test_read_json_beyond_the_standard(tmp_path: Path) -> None:
    """NaN, long integers and lone surrogates, which other programs write, are read and validated."""
    path = tmp_path / "predictions.json"
    path.write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": NaN}]')
    read, where = read_json(path)
    assert math.isnan(read[0]["score"])
    assert where == str(path)
    path.write_bytes(b"\xef\xbb\xbf[123456789012345678901234567890]")
    assert read_json(path)[0] == [123456789012345678901234567890]

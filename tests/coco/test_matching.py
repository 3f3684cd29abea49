import json
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.coco import load_coco, load_predictions, rle
from cutler_pl.coco.matching import match_images
from cutler_pl.coco.validation import InvalidRecords
from cutler_pl.errors import AnnotationError
from cutler_pl.evaluation import evaluate_coco


def images(*names: str, first: int = 1, size_hw: tuple[int, int] = (20, 30)) -> list[Any]:
    height, width = size_hw
    return [{"id": i, "file_name": name, "height": height, "width": width} for i, name in enumerate(names, first)]


def match(source: list[Any], target: list[Any]) -> dict[int, int]:
    """Matches, of which there must be one for each image of the source."""
    return match_images(source, target, InvalidRecords("x", "raise"))


def errors(source: list[Any], target: list[Any]) -> list[str]:
    invalid = InvalidRecords("x", "skip")
    match_images(source, target, invalid)
    return invalid.reasons


def test_match_equal_names_first() -> None:
    """A name that is there as written is taken, although it is an ending of another one as well."""
    assert match(images("a.jpg", "b.jpg"), images("x/b.jpg", "b.jpg", "a.jpg", first=70)) == {1: 72, 2: 71}


def test_match_longest_common_ending() -> None:
    target = images("train/x/a.jpg", "train/y/a.jpg", "train/b.jpg", first=70)
    assert match(images("y/a.jpg", "val/x/a.jpg", "b.jpg"), target) == {1: 71, 2: 70, 3: 72}


def test_match_whole_path_parts_only() -> None:
    assert errors(images("a.jpg"), images("aa.jpg")) == ["a.jpg is unknown"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (["a.jpg"], ["x/a.jpg", "y/a.jpg"]),
        (["a.jpg"], ["a.jpg", "a.jpg"]),
        (["a.jpg", "z/a.jpg"], ["a.jpg"]),
        (["x/a.jpg", "y/a.jpg"], ["a.jpg"]),
        (["w/y/a.jpg"], ["v/y/a.jpg", "u/y/a.jpg", "a.jpg"]),
    ],
)
def test_ambiguous_ending_is_no_match(source: list[str], target: list[str]) -> None:
    found = errors(images(*source), images(*target))
    assert found
    assert all(error.endswith("matches several images") for error in found)


def test_sizes_must_agree() -> None:
    target = images("a.jpg", "x/b.jpg", size_hw=(30, 20))
    assert errors(images("b.jpg"), target) == ["b.jpg has 20×30 pixels, x/b.jpg 30×20 (height×width)"]


def test_error_has_counts_and_three_examples() -> None:
    source = images("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
    with pytest.raises(AnnotationError, match=r"x: 4 of 5 images are not matched by file name: .*; …; ") as error:
        match(source, images("e.jpg", "x/b.jpg", "y/b.jpg"))
    shown = "a.jpg is unknown; b.jpg matches several images; c.jpg is unknown"
    assert shown in str(error.value)
    assert "d.jpg" not in str(error.value)
    assert "on_error=skip" in str(error.value)


def coco(names: list[str], owners: list[int], **fields: Any) -> dict[str, Any]:
    """A file with a box mask for each owner."""
    mask = {"size": [20, 30], "counts": [0, 100, 500]}
    annotations = [
        {"id": i, "image_id": owner, "category_id": 1, "bbox": [0, 0, 5, 20], "segmentation": mask}
        for i, owner in enumerate(owners, 1)
    ]
    return {"images": images(*names), "annotations": annotations, "categories": [{"id": 1, "name": "fg"}], **fields}


def test_results_take_the_ids_of_their_images() -> None:
    truth = load_coco(coco(["val/b.jpg", "val/a.jpg"], [1])).coco
    results = load_predictions(coco(["a.jpg", "b.jpg"], [1, 1, 2]), truth).results
    assert [result["image_id"] for result in results] == [2, 2, 1]


def test_skip_lists_images_and_leaves_out_their_results() -> None:
    truth = load_coco(coco(["a.jpg"], [1])).coco
    loaded = load_predictions(coco(["a.jpg", "b.jpg"], [1, 2, 2, 9]), truth, on_error="skip")
    assert [result["image_id"] for result in loaded.results] == [1]
    assert loaded.dropped == ["annotation 4 is for the unknown image 9", "b.jpg is unknown"]


def test_swapped_sizes_of_source_are_corrected() -> None:
    """The original's files have width and height of images swapped; their masks tell."""
    truth = load_coco(coco(["a.jpg"], [1])).coco
    swapped = coco(["a.jpg"], [1], images=images("a.jpg", size_hw=(30, 20)))
    assert len(load_predictions(swapped, truth).results) == 1


def test_results_without_images_keep_their_ids() -> None:
    truth = load_coco(coco(["b.jpg", "a.jpg"], [1])).coco
    source = coco([], [2])
    del source["images"]
    assert load_predictions(source, truth).results[0]["image_id"] == 2


def test_match_names_that_are_not_utf8(tmp_path: Path) -> None:
    truth = load_coco(coco(["val/a\udcff.jpg"], [1])).coco
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco(["b.jpg", "a\udcff.jpg"], [2], images=images("a\udcff.jpg", first=2))))
    assert load_predictions(path, truth).results[0]["image_id"] == 1


@pytest.mark.real_data
def test_evaluate_folder_numbered_from_one(data_dir: Path) -> None:
    """Annotations whose images are numbered by their place in the folder are as good as the ground truth itself."""
    truth = load_coco(data_dir / "coco_mini/annotations/instances_cls_agnostic.json").coco
    names = sorted(image["file_name"] for image in truth["images"])
    numbers = {image["id"]: names.index(image["file_name"]) + 1 for image in truth["images"]}
    own = {
        "images": [image | {"id": numbers[image["id"]]} for image in truth["images"]],
        "annotations": [
            {"image_id": numbers[a["image_id"]], "category_id": a["category_id"], "bbox": a["bbox"]}
            | {"segmentation": rle.to_rle(a["segmentation"], *truth_size(truth, a["image_id"]))}
            for a in truth["annotations"]
        ],
    }
    assert evaluate_coco(truth, own)["bbox"]["AR100"] == pytest.approx(100.0)


def truth_size(truth: Any, image_id: int) -> tuple[int, int]:
    image = next(image for image in truth["images"] if image["id"] == image_id)
    return image["height"], image["width"]

"""What ground truth is refused before anything is searched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.errors import AnnotationError
from cutler_pl.pseudo_masks.calibration.truth import check_masks, check_sizes, read_truth

MASK = [[0.0, 0.0, 4.0, 0.0, 4.0, 4.0]]


def coco(names: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": name, "height": 10, "width": 12} for i, name in enumerate(names)],
        "annotations": [{"id": 7, "image_id": 0, "segmentation": MASK, **changes}],
    }


def test_images_stand_once_and_objects_have_masks() -> None:
    check_masks(coco(["a.png", "b.png"]), source="gt.json")
    with pytest.raises(AnnotationError, match=r"^gt\.json: the image a\.png stands 2 times"):
        check_masks(coco(["a.png", "a.png"]), source="gt.json")
    with pytest.raises(AnnotationError, match=r"^gt\.json: 1 objects have no mask, such as annotation 7"):
        check_masks(coco(["a.png"], segmentation=None), source="gt.json")


def test_images_have_the_sizes_of_the_annotations(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    write_image("a.png", (10, 12))
    check_sizes(tmp_path, coco(["a.png", "not looked at.png"]), ["a.png"], source="gt.json")
    write_image("a.png", (20, 24))
    with pytest.raises(AnnotationError, match=r"^gt\.json: says that a\.png has 12×10 pixels .*, and it has 24×20"):
        check_sizes(tmp_path, coco(["a.png"]), ["a.png"], source="gt.json")


def test_some_object_is_in_an_image_that_is_there(tmp_path: Path) -> None:
    content = coco(["a.png", "b.png"], bbox=[0, 0, 4, 4], area=8.0, category_id=1, iscrowd=0)
    file = tmp_path / "gt.json"
    file.write_text(json.dumps({**content, "categories": [{"id": 1, "name": "fg"}]}))
    assert [image["file_name"] for image in read_truth(file, "images", ["a.png", "c.png"])["images"]] == ["a.png"]
    with pytest.raises(AnnotationError, match="none of its images in images has an object"):
        read_truth(file, "images", ["b.png"])
    with pytest.raises(AnnotationError, match="none of its 2 images is in images"):
        read_truth(file, "images", ["c.png"])

"""What all formats have in common: what is read, what is refused, and how files appear."""

import json
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.coco import rle
from cutler_pl.datasets.formats import FORMATS
from cutler_pl.errors import AnnotationError, ConfigError, CutlerError, DatasetNotFoundError, ImageReadError

from .conftest import SIZE, Labels


def refused(labels: Labels, error: type[CutlerError], format: str = "coco", **options: Any) -> str:
    with pytest.raises(error) as caught:
        labels.export(format, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tree(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_predictions_are_read_with_their_images(labels: Labels) -> None:
    content = json.loads(labels.annotations.read_text())
    results = [
        {key: record[key] for key in record if key not in ("id", "area", "iscrowd")}
        for record in content["annotations"]
    ]
    whole = tree(labels.export("yolo").parent)
    labels.annotations.write_text(json.dumps(results))
    assert "images.json" in refused(labels, DatasetNotFoundError)
    labels.annotations.with_name("images.json").write_text(json.dumps({**content, "annotations": []}))
    assert tree(labels.export("yolo", overwrite=True).parent) == whole


@pytest.mark.parametrize("format", list(FORMATS))
def test_size_of_another_image_is_refused(labels: Labels, format: str) -> None:
    labels.change(lambda coco: coco["images"][1].update(height=SIZE[0] + 1))
    said = refused(labels, AnnotationError, format)
    assert "b.jpg: the image has 24×36 pixels upright, but 25×36 (height×width) in" in said
    assert not list((labels.annotations.parent / "out").iterdir())


@pytest.mark.parametrize("name", ["", " \n", "cat"])
def test_class_without_name_of_its_own(labels: Labels, name: str) -> None:
    labels.change(lambda coco: [category.update(name=name) for category in coco["categories"][:2]])
    assert "name" in refused(labels, AnnotationError)


def test_missing_image_is_refused(labels: Labels) -> None:
    (labels.images / "a.png").unlink()
    assert "a.png" in refused(labels, ImageReadError)


def test_name_outside_the_folder_is_refused(labels: Labels) -> None:
    labels.change(lambda coco: coco["images"][0].update(file_name="../labels.json"))
    assert "leads out of the image folder" in refused(labels, AnnotationError)


def test_mask_of_another_size_is_refused(labels: Labels) -> None:
    """CVAT skips such a mask in silence (cvat#8432)."""
    labels.change(lambda coco: coco["annotations"][0].update(segmentation=rle.encode(labels.masks["hole"][1:])))
    assert "has a mask of 23×36 pixels" in refused(labels, AnnotationError)
    path = labels.export("coco", on_error="skip")
    assert len(json.loads(path.read_text())["annotations"]) == 4


def test_objects_without_pixels_are_left_out(labels: Labels, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    empty = {"size": list(SIZE), "counts": [SIZE[0] * SIZE[1]]}
    labels.change(lambda coco: coco["annotations"][0].update(segmentation=empty))
    labels.change(lambda coco: coco["annotations"][1].update(segmentation=None, bbox=[3, 4, 0, 5]))
    for format in FORMATS:
        labels.export(format, overwrite=True)
        assert "3 objects of 2 images; left out: 1 masks without a pixel; 1 boxes without area" in caplog.text
        caplog.clear()


def test_output_of_another_run_stays(labels: Labels) -> None:
    output = labels.export("yolo").parent
    before = tree(output)
    assert "is there already" in refused(labels, ConfigError, "yolo")
    (labels.images / "a.png").write_bytes(b"")
    refused(labels, ImageReadError, "yolo", overwrite=True)
    assert {name: content for name, content in tree(output).items() if "a.png" not in name} == {
        name: content for name, content in before.items() if "a.png" not in name
    }


def test_overwritten_labels_are_gone(labels: Labels) -> None:
    output = labels.export("yolo").parent
    labels.change(lambda coco: coco["images"].pop())
    labels.export("yolo", overwrite=True)
    assert sorted(tree(output)) == ["data.yaml", "images/a.png", "labels/a.txt"]


def test_input_is_not_replaced(labels: Labels) -> None:
    exported = labels._replace(annotations=labels.export("coco"))
    with pytest.raises(ConfigError, match="replace its own annotations="):
        exported.export("coco", output=".", overwrite=True)


@pytest.mark.parametrize("format", list(FORMATS))
def test_absolute_names_become_relative(labels: Labels, format: str) -> None:
    """An image named by its whole path gets a label file in the output, not beside itself."""
    output = labels.export(format).parent
    whole = tree(output)
    labels.change(lambda coco: coco["images"][0].update(file_name=f"{labels.images}/sub folder/../a.png"))
    before = tree(labels.images)
    labels.export(format, overwrite=True)
    assert tree(output) == whole
    assert tree(labels.images) == before

"""YOLO segmentation, read back as Ultralytics documents it: class, then points relative to the image."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from polygons import fill

from cutler_pl.datasets.formats import ExportOptions
from cutler_pl.errors import AnnotationError, OutputWriteError

from .conftest import NAMES, SIZE, Labels


def read(path: Path) -> list[tuple[int, np.ndarray]]:
    """Class and points of each line."""
    found = []
    for line in path.read_text().splitlines():
        number, *numbers = line.split(" ")
        points = np.array([float(text) for text in numbers]).reshape(-1, 2)
        assert len(points) >= 3
        assert points.min() >= 0
        assert points.max() <= 1
        found.append((int(number), points * SIZE[::-1]))
    return found


def test_lines_give_the_masks_back(labels: Labels) -> None:
    """One ring per object, whatever holes and parts it has."""
    folder = labels.export("yolo").parent
    found = read(folder / "labels" / "a.txt")
    assert [number for number, _ in found] == [0, 1, 2, 3, 4]
    for (_, points), mask in zip(found, labels.masks.values(), strict=True):
        np.testing.assert_array_equal(fill(points, SIZE), mask)


def test_class_names_are_kept(labels: Labels) -> None:
    data = yaml.safe_load(labels.export("yolo").read_text())
    assert data["names"] == dict(enumerate(NAMES))
    assert data["nc"] == len(NAMES)
    assert "path" not in data  # relative to the file


def test_images_lie_beside_their_labels(labels: Labels) -> None:
    """An image's labels are looked for where its path has `labels` for `images`."""
    folder = labels.export("yolo").parent
    for name in ("a.png", "sub folder/b.jpg"):
        image = folder / "images" / name
        assert image.is_symlink()
        assert image.read_bytes() == (labels.images / name).read_bytes()
        assert (folder / "labels" / name).with_suffix(".txt").is_file()
    assert (folder / "labels" / "sub folder" / "b.txt").read_text() == ""


def test_images_are_copied_or_left(labels: Labels) -> None:
    folder = labels.export("yolo", options=ExportOptions(image_files="copy")).parent
    assert not (folder / "images" / "a.png").is_symlink()
    assert (folder / "images" / "a.png").read_bytes() == (labels.images / "a.png").read_bytes()
    labels.export("yolo", options=ExportOptions(image_files="none"), overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == ["data.yaml", "images", "labels"]


def test_file_system_without_links(labels: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(OutputWriteError, match="image_files=copy"):
        labels.export("yolo")


def test_images_in_place_are_not_linked(labels: Labels) -> None:
    """A folder `images` in the output is left as it is."""
    before = sorted(labels.images.rglob("*"))
    data = labels.export("yolo", output=".")
    assert sorted(labels.images.rglob("*")) == before
    assert (data.parent / "labels" / "a.txt").is_file()


def test_box_is_a_ring_of_four_points(labels: Labels) -> None:
    """A data set with lines of both kinds loses its rings in Ultralytics."""
    labels.change(lambda coco: coco["annotations"][0].pop("segmentation"))
    labels.change(lambda coco: coco["annotations"][0].update(bbox=[-3, 4.5, 10, 6]))
    (_, points), *_ = read(labels.export("yolo").parent / "labels" / "a.txt")
    np.testing.assert_allclose(points, [[0, 4.5], [7, 4.5], [7, 10.5], [0, 10.5]], rtol=1e-6)


def test_crowds_are_left_out(labels: Labels, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    labels.change(lambda coco: coco["annotations"][1].update(iscrowd=1))
    assert [number for number, _ in read(labels.export("yolo").parent / "labels" / "a.txt")] == [0, 2, 3, 4]
    assert "4 objects of 2 images; left out: 1 crowd regions" in caplog.text


def test_images_of_one_label_file_are_refused(labels: Labels) -> None:
    (labels.images / "a.jpg").write_bytes((labels.images / "sub folder/b.jpg").read_bytes())
    labels.change(lambda coco: coco["images"][1].update(file_name="a.jpg"))
    with pytest.raises(AnnotationError, match=r"a\.png and a\.jpg would have the same label file a; rename one"):
        labels.export("yolo")

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutler_pl.coco import rle
from cutler_pl.datasets.converters import ImageRecord, ObjectRecord, Record, SkippedRecord, Source
from cutler_pl.datasets.converters.coco20k import read_ids
from cutler_pl.datasets.converters.coco_json import Selection, read_coco
from cutler_pl.datasets.converters.lvis import lvis_selection
from cutler_pl.errors import AnnotationError, DatasetNotFoundError

POLYGON = [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0]]


def image(number: int, name: str = "a.jpg", **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "height": 48, "width": 64, **more}


def annotation(number: int, image_id: int, **more: Any) -> dict[str, Any]:
    record = {"bbox": [1, 1, 8, 8], "area": 30.5, "iscrowd": 0, "segmentation": POLYGON, "category_id": 5}
    return {"id": number, "image_id": image_id, **record, **more}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(images: list[Any], annotations: list[Any], categories: list[Any] | None = None) -> Path:
        path = tmp_path / "source.json"
        found = {"annotations": annotations, "images": images, "categories": categories or [{"id": 5, "name": "cat"}]}
        path.write_text(json.dumps(found))
        return path

    return write


def read(source: Path, **options: Any) -> list[Record]:
    selection = options.pop("selection", None)
    return list(read_coco(Source(source, **{"images": None, **options}), selection=selection))


def test_records_are_unchanged(write: Callable[..., Path]) -> None:
    source = write([image(9)], [annotation(70, 9), annotation(71, 9, iscrowd=1)])
    assert read(source) == [
        ImageRecord(9, "a.jpg", 48, 64),
        ObjectRecord(9, [1, 1, 8, 8], 30.5, False, POLYGON, 70),
        ObjectRecord(9, [1, 1, 8, 8], 30.5, True, POLYGON, 71),
    ]


@pytest.mark.parametrize(("marked", "crowds"), [("keep", [False]), ("drop", [])])
def test_crowds_can_count_or_go(write: Callable[..., Path], marked: str, crowds: list[bool]) -> None:
    records = read(write([image(9)], [annotation(71, 9, iscrowd=1)]), marked=marked)
    assert [record.crowd for record in records if isinstance(record, ObjectRecord)] == crowds


def test_fill_area_from_mask(write: Callable[..., Path]) -> None:
    mask = np.zeros((48, 64), dtype=bool)
    mask[2:5, 3:7] = True
    bare = annotation(1, 9, segmentation=rle.encode(mask))
    del bare["area"], bare["iscrowd"]
    found = read(write([image(9)], [bare]))[1]
    assert isinstance(found, ObjectRecord)
    assert (found.area, found.crowd) == (12.0, False)


def test_list_invalid_records(write: Callable[..., Path]) -> None:
    wrong_size = rle.encode(np.ones((4, 4), dtype=bool))
    source = write(
        [image(1), image(1), {"id": 2}, image(3, "")],
        [
            annotation(1, 1),
            annotation(1, 1),
            annotation(2, 8),
            annotation(3, 1, bbox=[1, 2, 3]),
            annotation(4, 1, bbox=[5, 5, 0, 9]),
            annotation(5, 1, segmentation=wrong_size),
            annotation(6, 1, segmentation={"size": [48, 64], "counts": "abc"}),
            annotation(7, 1, area=None, bbox=[70, 5, 3, 9]),
        ],
    )
    records = read(source)
    assert [record.id for record in records if isinstance(record, ObjectRecord)] == [1]
    assert [record.reason for record in records if isinstance(record, SkippedRecord)] == [
        "image id occurs more than once",
        "image record breaks the format",
        "image record breaks the format",
        "annotation id occurs more than once",
        "its image is not in the file",
        "annotation breaks the format",
        "box without area inside its image",
        "mask does not fit its image",
        "mask does not fit its image",
        "annotation breaks the format",
    ]


def test_find_images_below_fewer_folders(
    tmp_path: Path, write: Callable[..., Path], write_image: Callable[..., Path]
) -> None:
    write_image("val/patch1/a.jpg", (48, 64))
    write_image("val/patch1/b.jpg", (48, 63))
    (tmp_path / "val" / "c.jpg").write_bytes(b"no image")
    names = ["images/v1/patch1/a.jpg", "images/v1/patch1/b.jpg", "c.jpg", "images/d.jpg"]
    source = write([image(n, name) for n, name in enumerate(names)], [annotation(n, n) for n in range(4)])
    records = read(source, images=tmp_path / "val")
    assert records[0] == ImageRecord(0, "patch1/a.jpg", 48, 64)
    assert [(record.kind, record.reason) for record in records if isinstance(record, SkippedRecord)] == [
        ("image", "image size mismatch"),
        ("image", "image not readable"),
        ("image", "image missing"),
        ("object", "its image: image size mismatch"),
        ("object", "its image: image not readable"),
        ("object", "its image: image missing"),
    ]


def test_coco20k_takes_the_listed_images(tmp_path: Path, write: Callable[..., Path]) -> None:
    lists = tmp_path / "coco_20k_filenames.txt"
    lists.write_text("train2014/COCO_train2014_000000000009.jpg\r\n\n000000000012.jpg\n77\n")
    source = write([image(9), image(10, "b.jpg"), image(12, "c.jpg")], [annotation(1, 9), annotation(2, 10)])
    assert read_ids(lists) == {9, 12, 77}
    records = read(source, selection=Selection(images=read_ids(lists)))
    assert [record.id for record in records if isinstance(record, ImageRecord)] == [9, 12]
    assert [(r.kind, r.reason, r.is_error) for r in records if isinstance(r, SkippedRecord)] == [
        ("image", "not on the id list", False),
        ("image", "on the id list, not in the file", True),
        ("object", "its image: not on the id list", False),
    ]


def test_lists_that_are_none_are_refused(tmp_path: Path) -> None:
    lists = tmp_path / "list.txt"
    with pytest.raises(DatasetNotFoundError, match=r"list\.txt: no such list of images"):
        read_ids(lists)
    lists.write_text("<html>\n")
    with pytest.raises(AnnotationError, match=r"list\.txt, line 1: '<html>' names no COCO image"):
        read_ids(lists)
    lists.write_text("\n")
    with pytest.raises(AnnotationError, match="the list is empty"):
        read_ids(lists)


def test_lvis_file_names_from_coco_url(write: Callable[..., Path]) -> None:
    address = "http://images.cocodataset.org/val2017/000000266409.jpg"
    version_1 = {"id": 1, "coco_url": address, "height": 48, "width": 64}
    version_05 = image(2, "COCO_val2014_000000266409.jpg", coco_url=address)
    source = write([version_1, version_05, image(3, "c.jpg")], [])
    images = read(source, selection=lvis_selection(source, None))
    assert [image.file_name for image in images if isinstance(image, ImageRecord)] == [
        "val2017/000000266409.jpg",
        "val2017/000000266409.jpg",
        "c.jpg",
    ]


def test_select_coco_categories_of_lvis(tmp_path: Path, write: Callable[..., Path]) -> None:
    categories = [{"id": 5, "name": "cat", "synset": "cat.n.01"}, {"id": 6, "name": "acorn", "synset": "acorn.n.01"}]
    source = write([image(1)], [annotation(1, 1), annotation(2, 1, category_id=6)], categories)
    synsets = tmp_path / "coco_to_synset.json"
    with pytest.raises(DatasetNotFoundError, match=r"give synsets=<coco_to_synset\.json"):
        lvis_selection(source, synsets)
    synsets.write_text("[1]")
    with pytest.raises(AnnotationError, match=r"not the coco_to_synset\.json of lvis-api"):
        lvis_selection(source, synsets)
    synsets.write_text(json.dumps({"cat": {"coco_cat_id": 17, "synset": "cat.n.01"}}))
    records = read(source, selection=lvis_selection(source, synsets))
    assert records[1:] == [
        ObjectRecord(1, [1, 1, 8, 8], 30.5, False, POLYGON, 1),
        SkippedRecord("object", "category not wanted", "", is_error=False),
    ]

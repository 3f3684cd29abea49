import json
from pathlib import Path

import pytest

from cutler_pl.coco import load_coco
from cutler_pl.datasets.converters import ImageRecord, ObjectRecord, Record, SkippedRecord, write_records
from cutler_pl.errors import TooManyFailuresError

GOOD: list[Record] = [
    ImageRecord(1, "a.jpg", 48, 64),
    ObjectRecord(1, [1.0, 2.0, 3.0, 4.0], 12.0),
    ObjectRecord(1, [1.0, 2.0, 3.0, 4.0], 12.0, crowd=True),
    ImageRecord(2, "b.jpg", 48, 64),
    SkippedRecord("object", "marked difficult", "b.xml, object 1", is_error=False),
    SkippedRecord("object", "not wanted", "", is_error=False),
]


def write(tmp_path: Path, records: list[Record], *, max_failure_rate: float = 0.0) -> object:
    out, skipped = tmp_path / "out.json", tmp_path / "report" / "skipped.jsonl"
    return write_records(records, out, skipped=skipped, info={"description": "test"}, max_failure_rate=max_failure_rate)


def test_write_class_agnostic_coco(tmp_path: Path) -> None:
    report = write(tmp_path, GOOD)
    coco = load_coco(tmp_path / "out.json").coco
    assert coco["categories"] == [{"id": 1, "name": "fg", "supercategory": "fg"}]
    assert [(a["id"], a["category_id"], a["iscrowd"]) for a in coco["annotations"]] == [(1, 1, 0), (2, 1, 1)]
    assert [image["file_name"] for image in coco["images"]] == ["a.jpg", "b.jpg"]
    assert (report.images, report.annotations, report.ignored, report.empty) == (2, 2, 1, 1)  # type: ignore[attr-defined]
    listed = [json.loads(line) for line in (tmp_path / "report" / "skipped.jsonl").read_text().splitlines()]
    assert [line["item"] for line in listed] == ["b.xml, object 1"]


def test_too_many_errors_keep_old_file(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("old")
    records = [*GOOD, SkippedRecord("image", "image missing", "c.jpg")]
    sentence = r"33\.3% of the images are missing or invalid, more than max_failure_rate=0\.2 \(images: image missing"
    with pytest.raises(TooManyFailuresError, match=sentence):
        write(tmp_path, records, max_failure_rate=0.2)
    assert (tmp_path / "out.json").read_text() == "old"
    assert "c.jpg" in (tmp_path / "report" / "refused.jsonl").read_text()  # the list of the old file stays its own
    write(tmp_path, records, max_failure_rate=0.4)
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["skipped.jsonl"]
    assert len(load_coco(tmp_path / "out.json").coco["images"]) == 2


def test_refuse_file_without_annotations(tmp_path: Path) -> None:
    with pytest.raises(TooManyFailuresError, match="no annotation is left; check the paths"):
        write(tmp_path, [], max_failure_rate=1.0)

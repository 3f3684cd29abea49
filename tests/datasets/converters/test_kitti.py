import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cutler_pl.coco import load_coco
from cutler_pl.datasets.converters import ImageRecord, ObjectRecord, Record, SkippedRecord, Source, write_records
from cutler_pl.datasets.converters.kitti import read_kitti

CAR = "Car 0.00 0 1.85 10.25 12.50 30.25 20.00 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"
DONT_CARE = "DontCare -1 -1 -10 3.5 4 8 9 -1 -1 -1 -1000 -1000 -1000 -10"


@pytest.fixture
def read(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., list[Record]]:
    def read(*lines: str, marked: str = "ignore") -> list[Record]:
        (tmp_path / "label_2").mkdir()
        (tmp_path / "label_2" / "000001.txt").write_text("\n".join(lines) + "\n")
        write_image("image_2/000001.png", (30, 40))
        return list(
            read_kitti(Source(tmp_path / "label_2", tmp_path / "image_2", "JPEGImages/", marked))  # type: ignore[arg-type]
        )

    return read


def test_corners_count_from_zero(read: Callable[..., list[Record]]) -> None:
    assert read(CAR, CAR.replace("Car", "Misc")) == [
        ImageRecord(1, "JPEGImages/000001.png", 30, 40),
        ObjectRecord(1, [10.25, 12.5, 20.0, 7.5], 150.0),
        ObjectRecord(1, [10.25, 12.5, 20.0, 7.5], 150.0),
    ]


@pytest.mark.parametrize(("marked", "crowds"), [("ignore", [True]), ("keep", [False]), ("drop", [])])
def test_dont_care_regions_are_ignored(read: Callable[..., list[Record]], marked: str, crowds: list[bool]) -> None:
    records = read(DONT_CARE, marked=marked)
    assert [record.crowd for record in records if isinstance(record, ObjectRecord)] == crowds
    assert len(records) == 2, "dropped ones are listed"


def test_broken_lines_are_listed_with_their_number(read: Callable[..., list[Record]]) -> None:
    records = read(CAR, "", "Car 0 0 0 1 2 3", CAR.replace("10.25", "ten"), CAR.replace("30.25", "nan"))
    skipped = [record for record in records if isinstance(record, SkippedRecord)]
    assert [record.reason for record in skipped] == [
        "line is not a label of 15 columns",
        "line is not a label of 15 columns",
        "box without area inside its image",
    ]
    assert "000001.txt, line 3: 'Car 0 0 0 1 2 3'" in skipped[0].item


def test_list_missing_and_damaged_images(tmp_path: Path, read: Callable[..., list[Record]]) -> None:
    read(CAR)
    (tmp_path / "label_2" / "000002.txt").write_text(CAR)
    (tmp_path / "image_2" / "000001.png").write_bytes(b"no image")
    records = list(read_kitti(Source(tmp_path / "label_2", tmp_path / "image_2")))
    assert [record.reason for record in records if isinstance(record, SkippedRecord)] == [
        "image not readable",
        "image missing",
    ]


def test_file_names_need_not_be_utf8(tmp_path: Path, read: Callable[..., list[Record]]) -> None:
    """From the label file's name to the COCO file and back."""
    read(CAR)
    stem = os.fsdecode(b"caf\xe9")
    (tmp_path / "label_2/000001.txt").rename(tmp_path / f"label_2/{stem}.txt")
    (tmp_path / "image_2/000001.png").rename(tmp_path / f"image_2/{stem}.png")
    (tmp_path / "label_2" / os.fsdecode(b"gone\xe9.txt")).write_text(CAR)
    output = tmp_path / "out.json"
    records = read_kitti(Source(tmp_path / "label_2", tmp_path / "image_2"))
    report = write_records(records, output, skipped=tmp_path / "skipped.jsonl", info={}, max_failure_rate=1.0)
    assert load_coco(output).coco["images"][0]["file_name"] == report.first == f"{stem}.png"
    assert report.skipped == {("image", "image missing", True): 1}

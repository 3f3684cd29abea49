from collections.abc import Callable
from pathlib import Path

import pytest

from cutler_pl.datasets.converters import ImageRecord, ObjectRecord, Record, SkippedRecord, Source
from cutler_pl.datasets.converters.openimages import read_openimages
from cutler_pl.errors import AnnotationError

HEAD = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"


def row(image: str, corners: str, *, group: str = "0") -> str:
    return f"{image},xclick,/m/01g317,1,{corners},0,0,{group},0,0"


@pytest.fixture
def read(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., list[Record]]:
    write_image("validation/a.jpg", (50, 100))
    write_image("validation/b.jpg", (40, 80))

    def read(*lines: str, marked: str = "ignore") -> list[Record]:
        (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
        records = read_openimages(Source(tmp_path / "boxes.csv", tmp_path / "validation", "", marked))  # type: ignore[arg-type]
        return list(records)

    return read


def test_relative_coordinates_become_pixels(read: Callable[..., list[Record]]) -> None:
    assert read(HEAD, row("a", "0.1,0.3,0.5,1")) == [
        ImageRecord(1, "a.jpg", 50, 100),
        ObjectRecord(1, [10, 25, 20, 25], 500),
    ]


def test_rows_of_image_need_not_be_adjacent(read: Callable[..., list[Record]]) -> None:
    records = read(HEAD, row("b", "0,1,0,1"), row("a", "0,0.5,0,1"), row("b", "0,0.5,0,0.5"))
    assert [(type(record).__name__, record[0], record[1]) for record in records] == [
        ("ImageRecord", 1, "b.jpg"),
        ("ObjectRecord", 1, [0, 0, 80, 40]),
        ("ObjectRecord", 1, [0, 0, 40, 20]),
        ("ImageRecord", 2, "a.jpg"),
        ("ObjectRecord", 2, [0, 0, 50, 50]),
    ]


def test_columns_are_found_by_name(read: Callable[..., list[Record]]) -> None:
    assert read("YMax,YMin,XMax,XMin,ImageID", "1,0.5,0.3,0.1,a")[1] == ObjectRecord(1, [10, 25, 20, 25], 500)


@pytest.mark.parametrize(("marked", "crowds"), [("ignore", [True, False]), ("keep", [False, False]), ("drop", [False])])
def test_groups_are_ignored(read: Callable[..., list[Record]], marked: str, crowds: list[bool]) -> None:
    records = read(HEAD, row("a", "0,1,0,1", group="1"), row("a", "0,1,0,1"), marked=marked)
    assert [record.crowd for record in records if isinstance(record, ObjectRecord)] == crowds


def test_list_broken_rows_and_missing_images(read: Callable[..., list[Record]]) -> None:
    records = read(
        HEAD,
        "a,xclick,0.1",
        row("a", "x,1,0,1"),
        row("a", "0,1.5,0,1"),
        row("a", "0.5,0.5,0,1"),
        "",
        row("gone", "0,1,0,1"),
    )
    skipped = [record for record in records if isinstance(record, SkippedRecord)]
    assert [(record.kind, record.reason) for record in skipped] == [
        ("object", "row is not a box"),
        ("object", "row is not a box"),
        ("object", "row is not a box"),
        ("object", "box without area inside its image"),
        ("image", "image missing"),
        ("object", "its image: image missing"),
    ]
    assert "boxes.csv, row 2: 3 columns instead of 13" in skipped[0].item


def test_another_table_is_refused(read: Callable[..., list[Record]]) -> None:
    with pytest.raises(AnnotationError, match="no column XMin YMin XMax YMax"):
        read("ImageID,Source,LabelName,Confidence", "a,verification,/m/0,1")
    with pytest.raises(AnnotationError, match="no column ImageID"):
        read("")


def test_a_table_without_rows_gives_nothing(read: Callable[..., list[Record]]) -> None:
    assert read(HEAD) == []

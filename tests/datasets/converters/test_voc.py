import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cutler_pl.datasets.converters import ImageRecord, ObjectRecord, Record, SkippedRecord, Source
from cutler_pl.datasets.converters.voc import read_voc
from cutler_pl.errors import DatasetNotFoundError


def box(
    x0: float, y0: float, x1: float, y1: float, *, difficult: str = "<difficult>0</difficult>", more: str = ""
) -> str:
    corners = f"<xmax>{x1}</xmax><ymin>{y0}</ymin><xmin>{x0}</xmin><ymax>{y1}</ymax>"
    return f"<object><name>cat</name>{difficult}{more}<bndbox>{corners}</bndbox></object>"


@pytest.fixture
def write(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., None]:
    """`write(stem, objects, size_hw=…, image=…)`: an XML file of VOC's form and its image, named in train.txt."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)

    def write(stem: str, *objects: str, size: str | None = None, image: str | None = ".jpg") -> None:
        size = "<size><width>64</width><height>48</height><depth>3</depth></size>" if size is None else size
        text = f"<annotation><filename>{stem}</filename>{size}{''.join(objects)}</annotation>"
        (tmp_path / "Annotations" / f"{stem}.xml").write_text(text)
        if image is not None:
            write_image(f"JPEGImages/{stem}{image}", (48, 64))
        with (tmp_path / "ImageSets" / "Main" / "train.txt").open("a") as file:
            file.write(f"{stem} 1\r\n")

    return write


def read(folder: Path, *splits: str, images: bool = True, marked: str = "keep") -> list[Record]:
    source = Source(folder / "Annotations", folder / "JPEGImages" if images else None, "JPEGImages/", marked)
    return list(read_voc(source, splits=splits or ("train",)))  # type: ignore[arg-type]


def test_corners_count_from_one(tmp_path: Path, write: Callable[..., None]) -> None:
    write("a", box(1, 1, 64, 48), box(11, 21, 11, 22.5), image=".png")
    assert read(tmp_path) == [
        ImageRecord(1, "JPEGImages/a.png", 48, 64),
        ObjectRecord(1, [0, 0, 64, 48], 3072),
        ObjectRecord(1, [10, 20, 1, 2.5], 2.5),
    ]


def test_boxes_of_body_parts_are_no_objects(tmp_path: Path, write: Callable[..., None]) -> None:
    part = "<part><name>head</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    write("a", box(1, 1, 10, 10, more=part))
    assert [record.bbox for record in read(tmp_path) if isinstance(record, ObjectRecord)] == [[0, 0, 10, 10]]


@pytest.mark.parametrize(("marked", "crowd"), [("keep", False), ("ignore", True)])
def test_difficult_objects_kept_or_ignored(
    tmp_path: Path, write: Callable[..., None], marked: str, crowd: bool
) -> None:
    write("a", box(1, 1, 10, 10, difficult="<difficult>1</difficult>"), box(1, 1, 9, 9, difficult=""))
    assert [record.crowd for record in read(tmp_path, marked=marked) if isinstance(record, ObjectRecord)] == [
        crowd,
        False,
    ]


def test_drop_difficult_objects(tmp_path: Path, write: Callable[..., None]) -> None:
    write("a", box(1, 1, 10, 10, difficult="<difficult>1</difficult>"))
    dropped = read(tmp_path, marked="drop")[1]
    assert isinstance(dropped, SkippedRecord)
    assert (dropped.reason, dropped.is_error) == ("marked difficult", False)


def test_clip_boxes_and_list_empty_ones(tmp_path: Path, write: Callable[..., None]) -> None:
    write("a", box(60, 40, 70, 90), box(70, 1, 90, 9), box(9, 9, 3, 12), box("x", 1, 2, 3), "<object/>")  # type: ignore[arg-type]
    _, cut, *skipped = read(tmp_path)
    assert cut == ObjectRecord(1, [59, 39, 5, 9], 45)
    assert [record.reason for record in skipped if isinstance(record, SkippedRecord)] == [
        "box without area inside its image",
        "box without area inside its image",
        "box is not four numbers",
        "box is not four numbers",
    ]
    assert "a.xml, object 4: could not convert" in skipped[2].item  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "size", ["", "<size><width>0</width><height>0</height></size>", "<size><width>x</width></size>"]
)
def test_missing_size_from_image(tmp_path: Path, write: Callable[..., None], size: str) -> None:
    write("a", box(1, 1, 2, 2), size=size)
    assert read(tmp_path)[0] == ImageRecord(1, "JPEGImages/a.jpg", 48, 64)
    without = read(tmp_path, images=False)
    assert [record.reason for record in without if isinstance(record, SkippedRecord)] == ["no image size"]


def test_size_from_xml_without_images(tmp_path: Path, write: Callable[..., None]) -> None:
    write("a", box(1, 1, 2, 2), image=None)
    assert read(tmp_path, images=False)[0] == ImageRecord(1, "JPEGImages/a.jpg", 48, 64)


def test_list_unusable_images(tmp_path: Path, write: Callable[..., None]) -> None:
    write("gone", box(1, 1, 2, 2), image=None)
    write("other", size="<size><width>63</width><height>48</height></size>")
    write("broken")
    (tmp_path / "Annotations" / "broken.xml").write_text("<annotation><size>")
    write("page")
    (tmp_path / "Annotations" / "page.xml").write_text("<html/>")
    write("damaged")
    (tmp_path / "JPEGImages" / "damaged.jpg").write_bytes(b"\xff\xd8no image")
    with (tmp_path / "ImageSets" / "Main" / "train.txt").open("a") as file:
        file.write("\nnever\nfine\nfine\n")
    write("fine", box(1, 1, 2, 2))
    records = read(tmp_path)
    assert [(record.reason, record.is_error) for record in records if isinstance(record, SkippedRecord)] == [
        ("image missing", True),
        ("image size mismatch", True),
        ("annotation file is not XML", True),
        ("annotation file of another form", True),
        ("image not readable", True),
        ("no annotation file", True),
        ("named in more than one list", False),
        ("named in more than one list", False),
    ]
    assert [record.file_name for record in records if isinstance(record, ImageRecord)] == ["JPEGImages/fine.jpg"]


def test_read_all_without_lists(tmp_path: Path, write: Callable[..., None]) -> None:
    write("b")
    write("a")
    (tmp_path / "ImageSets" / "Main" / "train.txt").unlink()
    assert [record.file_name for record in read(tmp_path, "all")] == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]  # type: ignore[union-attr]


def test_missing_list_is_named(tmp_path: Path, write: Callable[..., None]) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"test\.txt: no such list; unpack .* 'splits=\[all\]'"):
        read(tmp_path, "test")


def test_file_names_need_not_be_utf8(tmp_path: Path, write: Callable[..., None]) -> None:
    stem = os.fsdecode(b"caf\xe9")
    write("a", box(1, 1, 2, 2))
    (tmp_path / "Annotations/a.xml").rename(tmp_path / f"Annotations/{stem}.xml")
    (tmp_path / "JPEGImages/a.jpg").rename(tmp_path / f"JPEGImages/{stem}.jpg")
    (tmp_path / "ImageSets/Main/train.txt").write_bytes(b"caf\xe9\n")
    assert read(tmp_path)[0] == ImageRecord(1, f"JPEGImages/{stem}.jpg", 48, 64)

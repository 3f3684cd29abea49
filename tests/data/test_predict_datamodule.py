from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cutler_pl.data import PredictDataModule
from cutler_pl.errors import DatasetNotFoundError


def metas_of(data: PredictDataModule) -> list[tuple[int, str, int, int]]:
    return [tuple(meta) for _, metas in data.predict_dataloader() for meta in metas]


def test_number_images_by_sorted_path(write_image: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("my images (1), new/b/2.jpg", "my images (1), new/a.png", "my images (1), new/b/10.jpg"):
        write_image(name, (20, 30))
    (tmp_path / "my images (1), new" / "notes.txt").write_text("no image")
    data = PredictDataModule(tmp_path / "my images (1), new", num_workers=0)
    assert metas_of(data) == [(1, "a.png", 20, 30), (2, "b/10.jpg", 20, 30), (3, "b/2.jpg", 20, 30)]


def test_a_single_file_and_a_list_work(write_image: Callable[..., Path], tmp_path: Path) -> None:
    image = write_image("b/x.png", (20, 30))
    write_image("a.png", (24, 20))
    assert metas_of(PredictDataModule(image, num_workers=0)) == [(1, "x.png", 20, 30)]
    (tmp_path / "list.txt").write_text("b/x.png\na.png\n")
    assert metas_of(PredictDataModule(tmp_path / "list.txt", num_workers=0)) == [
        (1, "a.png", 24, 20),
        (2, "b/x.png", 20, 30),
    ]


def test_unreadable_files_keep_their_number(write_image: Callable[..., Path], tmp_path: Path) -> None:
    write_image("a.png", (20, 30))
    (tmp_path / "b.jpg").write_bytes(write_image("c.jpg", (200, 300)).read_bytes()[:2000])
    (tmp_path / "d.png").write_bytes(b"")
    write_image("e.png", (1, 1))
    write_image("f.png", (20, 30), mode="RGBA")
    write_image("g.png", (20, 30), mode="L")
    write_image("h.jpg", (20, 30), mode="CMYK")
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image("i.jpg", (20, 30), exif=exif)
    data = PredictDataModule(tmp_path, num_workers=0)
    data.check()
    assert [(meta[0], meta[1]) for meta in metas_of(data)] == [
        (1, "a.png"), (3, "c.jpg"), (6, "f.png"), (7, "g.png"), (8, "h.jpg"), (9, "i.jpg"),
    ]  # fmt: skip
    assert metas_of(data)[-1][2:] == (30, 20)
    assert list(data.failures) == ["b.jpg", "d.png", "e.png"]


def test_a_missing_or_empty_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="nowhere"):
        PredictDataModule(tmp_path / "nowhere").check()
    with pytest.raises(DatasetNotFoundError, match="holds no image"):
        PredictDataModule(tmp_path).check()

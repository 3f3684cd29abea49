"""Finding the images of a file, a folder or a list file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cutler_pl.errors import DatasetNotFoundError
from cutler_pl.images import list_images, read_image


def test_list_folder_recursively_and_sorted(write_image: Callable[..., Path], tmp_path: Path) -> None:
    names = ["b.JPG", "a.png", "z/y/x.jpeg", "my images (1), new/1, 2.jpg", "[x].webp", "B.bmp"]
    for name in names:
        write_image(name, (4, 4))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "image.jpg.part").write_text("x")
    (tmp_path / "folder.jpg").mkdir()
    assert list_images(tmp_path) == (tmp_path, sorted(names))


def test_hidden_files_and_folders_are_left_out(write_image: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a.jpg", "._a.jpg", ".thumbnails/a.jpg", "b/.cache/c.png", ".jpg"):
        write_image("x.jpg", (4, 4)).rename(tmp_path / "moved")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "moved").rename(tmp_path / name)
    assert list_images(tmp_path)[1] == ["a.jpg"]


def test_hidden_folder_given_by_name_is_searched(write_image: Callable[..., Path], tmp_path: Path) -> None:
    write_image(".hidden/a.jpg", (4, 4))
    assert list_images(tmp_path / ".hidden")[1] == ["a.jpg"]


def test_list_linked_folders_once(write_image: Callable[..., Path], tmp_path: Path) -> None:
    write_image("elsewhere/a.jpg", (4, 4))
    root = tmp_path / "root"
    root.mkdir()
    (root / "one").symlink_to(tmp_path / "elsewhere")
    (root / "two").symlink_to(tmp_path / "elsewhere")
    (root / "up").symlink_to(root)
    assert list_images(root)[1] == ["one/a.jpg"]


def test_list_single_image(write_image: Callable[..., Path]) -> None:
    path = write_image("my images (1), new/a.jpg", (4, 4))
    assert list_images(path) == (path.parent, ["a.jpg"])
    assert list_images(str(path)) == (path.parent, ["a.jpg"])


def test_list_file_is_relative_to_itself(tmp_path: Path) -> None:
    listing = tmp_path / "images.txt"
    listing.write_text("\ufeffb/2, x.jpg\r\n\n  a.jpg \nb/2, x.jpg\n", encoding="utf-8")
    assert list_images(listing) == (tmp_path, ["a.jpg", "b/2, x.jpg"])


def test_list_file_need_not_be_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (3, 2)).save(tmp_path / name)
    listing = tmp_path / "images.txt"
    listing.write_bytes(b"caf\xe9.png\n")
    root, names = list_images(listing)
    assert read_image(root / names[0]).shape == (2, 3, 3)


@pytest.mark.parametrize("name", ["absent", "absent.jpg", "absent.txt"])
def test_error_names_missing_source(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetNotFoundError, match=rf"{name}: no such file or folder; give an image"):
        list_images(tmp_path / name)


def test_refuse_folder_and_list_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DatasetNotFoundError, match=r"the folder holds no image; expected files ending in \.bmp"):
        list_images(tmp_path)
    (tmp_path / "images.txt").write_text("\n \n")
    with pytest.raises(DatasetNotFoundError, match=r"images\.txt: the list names no image"):
        list_images(tmp_path / "images.txt")


def test_refuse_unreadable_folder(
    write_image: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image("a.jpg", (4, 4))
    write_image("locked/b.jpg", (4, 4))
    scandir = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DatasetNotFoundError, match=r"locked: the folder cannot be read \(Permission denied\)"):
        list_images(tmp_path)


def test_list_with_nul_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_bytes(b"a.jpg\nb\0.jpg\n")
    with pytest.raises(DatasetNotFoundError, match=r"all\.txt, line 2: .* NUL"):
        list_images(tmp_path / "all.txt")

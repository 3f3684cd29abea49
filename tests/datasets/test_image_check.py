import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.coco.failures import read_failures
from cutler_pl.datasets.image_check import check_image_folder
from cutler_pl.errors import DatasetNotFoundError

Write = Callable[..., Path]


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "images.json").read_text())
    return found


def test_counts_and_lists(tmp_path: Path, write_image: Write) -> None:
    """Copies are found by their pixels, also in another format; what cannot be read is listed."""
    write_image("set/a.png", (40, 60), seed=1)
    write_image("set/sub/copy.bmp", (40, 60), seed=1)
    write_image("set/b.png", (20, 90), seed=2)
    (tmp_path / "set" / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    (tmp_path / "set" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    before = sorted(tmp_path.rglob("*"))
    check_image_folder(tmp_path / "set", tmp_path / "out")
    found = summary(tmp_path / "out")
    assert (found["found"], found["readable"]) == (5, 3)
    assert found["copies"] == {"sub/copy.bmp": "a.png"}
    assert found["sizes"] == {"height": [20, 40, 40], "width": [60, 60, 90]}
    assert (
        found["unreadable"] == sorted(read_failures(tmp_path / "out" / "failures.jsonl")) == ["broken.jpg", "gone.png"]
    )
    assert [path for path in sorted(tmp_path.rglob("*")) if "out" not in path.parts] == before


def test_one_image_is_refused(tmp_path: Path, write_image: Write) -> None:
    write_image("set/a.png")
    with pytest.raises(DatasetNotFoundError, match=r"holds one readable image, .* cutler maskcut"):
        check_image_folder(tmp_path / "set", tmp_path / "out")


def test_copies_of_one_image_are_refused(tmp_path: Path, write_image: Write) -> None:
    first = write_image("set/a.png")
    for name in ("b.png", "c.png"):
        shutil.copy(first, tmp_path / "set" / name)
    with pytest.raises(DatasetNotFoundError, match=r"holds 3 copies of one image, .* add more"):
        check_image_folder(tmp_path / "set", tmp_path / "out")


def test_unreadable_images_alone_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("a.jpg", "b.png"):
        (tmp_path / "set" / name).write_bytes(b"")
    with pytest.raises(DatasetNotFoundError, match=r"none of its 2 image files can be read; the first: .*a\.jpg"):
        check_image_folder(tmp_path / "set", tmp_path / "out")


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DatasetNotFoundError, match="the folder holds no image"):
        check_image_folder(tmp_path / "set", tmp_path / "out")

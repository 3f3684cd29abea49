import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cutler_pl.images import read_image
from cutler_pl.reports.dataset import write_contact_sheet


@pytest.fixture
def annotations(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    for name in "ab":
        write_image(f"images/{name}.png", (48, 64))
    (tmp_path / "images" / "c.png").write_bytes((tmp_path / "images" / "a.png").read_bytes()[:400])
    images = [{"id": i, "file_name": f"train/{name}.png", "height": 48, "width": 64} for i, name in enumerate("abc")]
    objects = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": i % 2}
        for i in range(3)
    ]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": objects, "categories": [{"id": 1, "name": "fg"}]}))
    return path


def test_sheet_leaves_out_unreadable_images(
    annotations: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_contact_sheet(tmp_path / "sheet.jpg", annotations, tmp_path / "images", prefix="train/", image_ids=[0, 1, 2])
    write_contact_sheet(tmp_path / "two.jpg", annotations, tmp_path / "images", prefix="train/", image_ids=[1, 0])
    assert read_image(tmp_path / "sheet.jpg").shape == read_image(tmp_path / "two.jpg").shape
    assert "c.png" in caplog.text


def test_no_readable_image_no_sheet(annotations: Path, tmp_path: Path) -> None:
    write_contact_sheet(tmp_path / "sheet.jpg", annotations, tmp_path / "images", prefix="train/", image_ids=[2])
    assert not (tmp_path / "sheet.jpg").exists()

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cutler_pl.datasets.quickstart import SAMPLES, write_quickstart_data, write_sample_images
from cutler_pl.datasets.scenes import SceneParams
from cutler_pl.errors import DatasetNotFoundError
from cutler_pl.images import read_image_size

SMALL = SceneParams(height=48, width=48)


def test_bundled_images_are_shrunk(tmp_path: Path) -> None:
    paths = write_sample_images(tmp_path, max_side=100)
    assert [p.stem for p in paths] == list(SAMPLES)
    assert all(max(read_image_size(p)) == 100 for p in paths)


def test_copy_own_images_and_list_failures(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    write_image("my images (1), new/a.jpg", (60, 90))
    write_image("my images (1), new/sub/a.jpg", (60, 90))
    (tmp_path / "my images (1), new" / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    write_quickstart_data(
        out,
        train_scenes=2,
        test_scenes=1,
        scene=SMALL,
        images=tmp_path / "my images (1), new",
        max_images=9,
        max_side=50,
        seed=0,
    )
    train = sorted(p.relative_to(out / "train").as_posix() for p in (out / "train").rglob("*.png"))
    assert train == ["images/a.jpg.png", "images/sub/a.jpg.png", "scenes/scene_00000.png", "scenes/scene_00001.png"]
    failures = [json.loads(line) for line in (out / "train" / "failures.jsonl").read_text().splitlines()]
    assert [failure["file"] for failure in failures] == ["broken.png"]
    assert len(json.loads((out / "test" / "annotations.json").read_text())["images"]) == 1


def test_max_images_are_spread_evenly(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    for i in range(7):
        write_image(f"images/{i}.png", (20, 20))
    write_quickstart_data(
        tmp_path / "out",
        train_scenes=1,
        test_scenes=1,
        scene=SMALL,
        images=tmp_path / "images",
        max_images=3,
        max_side=480,
        seed=0,
    )
    assert [p.name for p in sorted((tmp_path / "out/train/images").iterdir())] == [
        "0.png.png",
        "2.png.png",
        "4.png.png",
    ]


def test_folder_of_unreadable_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    with pytest.raises(DatasetNotFoundError, match="none of its 1 image files"):
        write_quickstart_data(
            tmp_path / "out",
            train_scenes=1,
            test_scenes=1,
            scene=SMALL,
            images=tmp_path / "images",
            max_images=9,
            max_side=480,
            seed=0,
        )

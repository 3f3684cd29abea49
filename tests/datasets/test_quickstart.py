import json
from pathlib import Path

from cutler_pl.datasets.quickstart import SAMPLES, write_quickstart_data, write_sample_images
from cutler_pl.datasets.scenes import SceneParams
from cutler_pl.images import read_image_size

SMALL = SceneParams(height=48, width=48)


def test_bundled_images_are_shrunk(tmp_path: Path) -> None:
    paths = write_sample_images(tmp_path, max_side=100)
    assert [p.stem for p in paths] == list(SAMPLES)
    assert all(max(read_image_size(p)) == 100 for p in paths)


def test_scenes_and_images_are_laid_out(tmp_path: Path) -> None:
    write_quickstart_data(tmp_path, train_scenes=2, test_scenes=1, scene=SMALL, max_side=50, seed=0)
    train = sorted(path.relative_to(tmp_path / "train").as_posix() for path in (tmp_path / "train").rglob("*.png"))
    assert train == [*(f"images/{name}.png" for name in SAMPLES), "scenes/scene_00000.png", "scenes/scene_00001.png"]
    assert len(json.loads((tmp_path / "test" / "annotations.json").read_text())["images"]) == 1

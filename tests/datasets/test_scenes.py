import json
from pathlib import Path

import numpy as np
import pytest

from cutler_pl.coco import rle
from cutler_pl.datasets.scenes import SceneParams, generate_scene, write_scenes
from cutler_pl.errors import ConfigError
from cutler_pl.images import read_image_size

SMALL = SceneParams(height=72, width=96)


def test_pixels_depend_on_seed() -> None:
    first, again, other = (generate_scene(SMALL, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert (first.image != other.image).any()


@pytest.mark.parametrize("seed", range(10))
def test_objects_are_disjoint_and_visible(seed: int) -> None:
    scene = generate_scene(SMALL, seed=seed)
    assert scene.image.shape == (72, 96, 3)
    assert 1 <= len(scene.masks) <= 5
    assert scene.masks.sum(axis=0).max() == 1
    assert scene.masks.reshape(len(scene.masks), -1).sum(axis=1).min() > 20


def test_objects_differ_from_their_surroundings() -> None:
    scene = generate_scene(SceneParams(height=120, width=120, min_objects=1, max_objects=1), seed=5)
    inside = scene.image[scene.masks[0]].mean(axis=0)
    outside = scene.image[~scene.masks[0]].mean(axis=0)
    assert np.linalg.norm(inside - outside) > 20


def test_written_scenes_are_a_valid_coco_set(tmp_path: Path) -> None:
    write_scenes(tmp_path / "images", 3, SMALL, seed=1)
    coco = json.loads((tmp_path / "annotations.json").read_text())
    assert [i["file_name"] for i in coco["images"]] == sorted(p.name for p in (tmp_path / "images").iterdir())
    for annotation in coco["annotations"]:
        mask = rle.decode(annotation["segmentation"])
        rows, columns = np.nonzero(mask)
        extent = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation["bbox"] == extent
        assert annotation["area"] == mask.sum()
    assert read_image_size(tmp_path / "images" / "scene_00000.png") == (72, 96)


@pytest.mark.parametrize("wrong", [{"min_objects": 0}, {"min_objects": 6}, {"min_radius": 0.3, "max_radius": 0.2}])
def test_impossible_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        SceneParams(**wrong)

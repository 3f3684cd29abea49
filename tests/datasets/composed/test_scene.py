import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.datasets.composed.files import write_composed_scenes
from cutler_pl.datasets.composed.scene import compose_scene
from cutler_pl.datasets.scenes import SceneParams

SMALL = SceneParams(height=96, width=128, min_objects=1, max_objects=5, min_radius=0.1, max_radius=0.45)


def test_pixels_depend_on_seed() -> None:
    first, again, other = (compose_scene(SMALL, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert first.image.shape != other.image.shape or (first.image != other.image).any()


@pytest.mark.parametrize("seed", range(8))
def test_objects_are_disjoint_and_visible(seed: int) -> None:
    scene = compose_scene(SMALL, seed=seed)
    assert scene.image.shape in ((96, 128, 3), (128, 96, 3))
    assert 1 <= len(scene.masks) <= 5
    assert scene.masks.sum(axis=0).max() == 1
    assert scene.masks.reshape(len(scene.masks), -1).sum(axis=1).min() >= 10
    assert np.ptp(scene.image) > 30


def test_files_hold_the_scenes(tmp_path: Path) -> None:
    write_composed_scenes(tmp_path, count=3, scene=SMALL, seed=1)
    coco = json.loads((tmp_path / "composed.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == sorted(p.name for p in (tmp_path / "images").iterdir())
    for image in coco["images"]:
        with Image.open(tmp_path / "images" / image["file_name"]) as opened:
            assert opened.size == (image["width"], image["height"])
    sizes = {image["id"]: (image["height"], image["width"]) for image in coco["images"]}
    for annotation in coco["annotations"]:
        mask = rle.decode(annotation["segmentation"])
        assert mask.shape == sizes[annotation["image_id"]]
        assert annotation["area"] == mask.sum()
    assert {annotation["image_id"] for annotation in coco["annotations"]} == set(sizes)

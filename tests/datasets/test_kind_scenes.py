import json
from pathlib import Path

import numpy as np
from scipy import ndimage

from cutler_pl.datasets.kind_scenes import KindParams, generate_kind_scene, write_kind_scenes
from cutler_pl.datasets.scenes import SceneParams

SMALL = SceneParams(height=96, width=96, min_objects=2, max_objects=4)


def test_pixels_depend_on_seed() -> None:
    first, again, other = (generate_kind_scene(SMALL, KindParams(), seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.scene.image, again.scene.image)
    assert first.kinds == again.kinds
    assert (first.scene.image != other.scene.image).any()


def test_objects_of_a_kind_have_its_color() -> None:
    colors: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}
    for seed in range(20):
        drawn = generate_kind_scene(SMALL, KindParams(count=3), seed=seed)
        for mask, kind in zip(drawn.scene.masks, drawn.kinds, strict=True):
            colors[kind].append(drawn.scene.image[mask].mean(0))
    centres = {kind: np.mean(values, axis=0) for kind, values in colors.items()}
    for kind, values in colors.items():
        nearest = [min(centres, key=lambda other: np.linalg.norm(value - centres[other])) for value in values]
        assert np.mean(np.array(nearest) == kind) > 0.9


def test_touching_objects_are_one_component_of_one_kind() -> None:
    params = SceneParams(height=96, width=96, min_objects=2, max_objects=2, min_radius=0.12, max_radius=0.15)
    for seed in range(10):
        drawn = generate_kind_scene(params, KindParams(touching=1.0), seed=seed)
        assert len(set(drawn.kinds)) == 1
        assert ndimage.label(drawn.scene.masks.any(0))[1] == 1


def test_written_scenes_name_their_kinds(tmp_path: Path) -> None:
    write_kind_scenes(tmp_path / "images", 3, SMALL, KindParams(count=2), seed=1)
    coco = json.loads((tmp_path / "annotations.json").read_text())
    assert [category["name"] for category in coco["categories"]] == ["kind 1", "kind 2"]
    assert {annotation["category_id"] for annotation in coco["annotations"]} <= {1, 2}
    assert len(coco["images"]) == 3

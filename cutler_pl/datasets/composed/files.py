"""Composed scenes as files: JPEG images without labels, and apart from them the masks known from composing them."""

from pathlib import Path

import numpy as np
from PIL import Image

from cutler_pl.datasets.composed.scene import compose_scene
from cutler_pl.datasets.scenes import SceneParams, Scenes, scene_annotation
from cutler_pl.runtime.files import atomic_write, write_json
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import check_arguments

log = get_logger(__name__)


@check_arguments("recipe.stages.data.call.")
def write_composed_scenes(folder: str | Path, *, count: Scenes, scene: SceneParams, seed: int) -> None:
    """Write `<folder>/images/*.jpg` and, with one category and ids from 1, `<folder>/composed.json`.

    The JPEG quality is drawn for each image, so that a detector does not learn from artefacts that one quality has.

    Args:
        folder: Output folder.
        count: Number of scenes.
        scene: Sizes and numbers of objects.
        seed: Scenes of different seeds have nothing in common.
    """
    folder = Path(folder)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for index in range(count):
        own_seed = seed * 1_000_003 + index
        drawn = compose_scene(scene, seed=own_seed)
        quality = int(np.random.default_rng(own_seed).integers(60, 91))
        name = f"scene_{index:05d}.jpg"
        with atomic_write(folder / "images" / name) as temporary:
            Image.fromarray(drawn.image).save(temporary, format="JPEG", quality=quality)
        height, width = drawn.image.shape[:2]
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for mask in drawn.masks:
            annotations.append(scene_annotation(mask, len(annotations) + 1, image_id=index + 1))
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]}
    write_json(folder / "composed.json", coco)
    log.info("%d scenes with %d objects written to %s", len(images), len(annotations), folder)

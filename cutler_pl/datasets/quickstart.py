"""The data of the quickstart: generated scenes to measure on, and real images to look at.

<folder>/train/scenes/*.png  <folder>/train/images/*.png      training images, without labels
<folder>/test/images/*.png   <folder>/test/annotations.json   held-out scenes with ground truth
"""

from pathlib import Path
from typing import Annotated

import skimage.data
from PIL import Image

from cutler_pl.datasets.scenes import SceneParams, Scenes, write_scenes
from cutler_pl.runtime.files import atomic_write
from cutler_pl.runtime.ranges import Integer, check_arguments

SAMPLES = ("astronaut", "camera", "cat", "clock", "coffee", "coins", "hubble_deep_field", "moon", "rocket")
"""The public-domain images that scikit-image ships inside its wheel."""


@check_arguments("recipe.stages.data.call.")
def write_quickstart_data(
    folder: str | Path,
    *,
    train_scenes: Scenes,
    test_scenes: Scenes,
    scene: SceneParams,
    max_side: Annotated[int, Integer(16, 65_535)],
    seed: int,
) -> None:
    """Write scenes and images.

    Args:
        folder: Output folder.
        train_scenes: Number of scenes to learn from.
        test_scenes: Number of held-out scenes.
        scene: Sizes and numbers of objects.
        max_side: Largest side of an image in pixels; larger ones are shrunk.
    """
    folder = Path(folder)
    write_scenes(folder / "train" / "scenes", train_scenes, scene, seed=2 * seed, with_annotations=False)
    write_scenes(folder / "test" / "images", test_scenes, scene, seed=2 * seed + 1)
    write_sample_images(folder / "train" / "images", max_side=max_side)


def write_sample_images(folder: Path, *, max_side: int) -> list[Path]:
    """Write the bundled images as PNG files, each side at most `max_side` pixels; return the files, sorted by name."""
    paths = [folder / f"{name}.png" for name in SAMPLES]
    for path in paths:
        image = Image.fromarray(getattr(skimage.data, path.stem)())
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        with atomic_write(path) as temporary:
            image.save(temporary, format="PNG")
    return paths

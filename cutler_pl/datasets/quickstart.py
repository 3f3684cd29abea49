"""The data of the quickstart: generated scenes to measure on, and real images to look at.

<folder>/train/scenes/*.png  <folder>/train/images/*          training images, without labels
<folder>/test/images/*.png   <folder>/test/annotations.json   held-out scenes with ground truth
"""

from pathlib import Path
from typing import Annotated

import skimage.data
from PIL import Image

from cutler_pl.coco.failures import FAILURES_NAME, write_failures
from cutler_pl.datasets.scenes import SceneParams, Scenes, write_scenes
from cutler_pl.errors import DatasetNotFoundError, ImageReadError
from cutler_pl.images import list_images, read_image
from cutler_pl.runtime.files import atomic_write
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import Count, Integer, check_arguments

SAMPLES = ("astronaut", "camera", "cat", "clock", "coffee", "coins", "hubble_deep_field", "moon", "rocket")
"""The public-domain images that scikit-image ships inside its wheel."""

log = get_logger(__name__)


@check_arguments("recipe.stages.data.call.")
def write_quickstart_data(
    folder: str | Path,
    *,
    train_scenes: Scenes,
    test_scenes: Scenes,
    scene: SceneParams,
    images: str | Path | None = None,
    max_images: Count,
    max_side: Annotated[int, Integer(16, 65_535)],
    seed: int,
) -> None:
    """Write scenes and images.

    Args:
        folder: Output folder.
        train_scenes: Number of scenes to learn from.
        test_scenes: Number of held-out scenes.
        scene: Sizes and numbers of objects.
        images: The user's folder of images; None for those bundled with scikit-image.
        max_images: Most images taken from the user's folder, evenly spread over its sorted list.
        max_side: Largest side of an image in pixels; larger ones are shrunk.

    Raises:
        DatasetNotFoundError: The folder is missing or no file in it can be read as an image.
    """
    folder = Path(folder)
    write_scenes(folder / "train" / "scenes", train_scenes, scene, seed=2 * seed, with_annotations=False)
    write_scenes(folder / "test" / "images", test_scenes, scene, seed=2 * seed + 1)
    if images is None:
        write_sample_images(folder / "train" / "images", max_side=max_side)
    else:
        _copy_images(Path(images), folder / "train" / "images", max_images=max_images, max_side=max_side)


def _copy_images(source: Path, target: Path, *, max_images: int, max_side: int) -> None:
    root, names = list_images(source)
    chosen = [names[i * len(names) // max_images] for i in range(max_images)] if len(names) > max_images else names
    failures: dict[str, str] = {}
    for name in chosen:
        try:
            image = Image.fromarray(read_image(root / name))
        except ImageReadError as error:
            failures[name] = str(error)
            log.warning("%s", error)
            continue
        _write_thumbnail(target / f"{name}.png", image, max_side=max_side)
    write_failures(target.parent / FAILURES_NAME, failures)
    log.info("images: %d found, %d taken, %d unreadable", len(names), len(chosen) - len(failures), len(failures))
    if len(failures) == len(chosen):
        raise DatasetNotFoundError(f"{source}: none of its {len(chosen)} image files can be read; see the log above")


def write_sample_images(folder: Path, *, max_side: int) -> list[Path]:
    """Write the bundled images as PNG files, each side at most `max_side` pixels; return the files, sorted by name."""
    paths = [folder / f"{name}.png" for name in SAMPLES]
    for path in paths:
        _write_thumbnail(path, Image.fromarray(getattr(skimage.data, path.stem)()), max_side=max_side)
    return paths


def _write_thumbnail(path: Path, image: Image.Image, *, max_side: int) -> None:
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG")

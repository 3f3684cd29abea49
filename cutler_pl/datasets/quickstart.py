"""The data of the quickstart: generated scenes to measure on, and photos to look at.

<folder>/train/scenes/*.png  <folder>/train/photos/*   what the detector learns from, without any label
<folder>/test/images/*.png   <folder>/test/annotations.json   scenes nobody trains on, with ground truth
"""

from pathlib import Path

from PIL import Image

from cutler_pl.datasets.sample_images import write_sample_photos
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.errors import DatasetNotFoundError, ImageReadError
from cutler_pl.images import list_images, read_image
from cutler_pl.runtime.files import atomic_write, write_json
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


def write_quickstart_data(
    folder: str | Path,
    *,
    train_scenes: int,
    test_scenes: int,
    scene: SceneParams,
    photos: str | Path | None = None,
    max_images: int = 100,
    max_side: int = 480,
    seed: int = 0,
) -> None:
    """Write scenes and photos.

    Args:
        folder: Where to write.
        train_scenes: Number of scenes to learn from; their ground truth is not written.
        test_scenes: Number of other scenes, with ground truth.
        scene: What the scenes look like.
        photos: The user's folder of photos; without one the photos bundled with scikit-image.
        max_images: Most photos that are taken from the user's folder, evenly spread over its sorted list.
        max_side: Photos are shrunk to this many pixels on the longer side.
        seed: Seed of the scenes.

    Raises:
        DatasetNotFoundError: The folder is missing or no file in it can be read as an image.
    """
    folder = Path(folder)
    write_scenes(folder / "train" / "scenes", train_scenes, scene, seed=2 * seed, with_annotations=False)
    write_scenes(folder / "test" / "images", test_scenes, scene, seed=2 * seed + 1)
    if photos is None:
        write_sample_photos(folder / "train" / "photos", max_side=max_side)
    else:
        _copy_photos(Path(photos), folder / "train" / "photos", max_images=max_images, max_side=max_side)


def _copy_photos(source: Path, target: Path, *, max_images: int, max_side: int) -> None:
    root, names = list_images(source)
    chosen = [names[i * len(names) // max_images] for i in range(max_images)] if len(names) > max_images else names
    failures = []
    for name in chosen:
        try:
            photo = Image.fromarray(read_image(root / name))
        except ImageReadError as error:
            failures.append({"file_name": name, "reason": str(error)})
            log.warning("%s", error)
            continue
        photo.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        with atomic_write(target / f"{name}.png") as temporary:
            photo.save(temporary, format="PNG")
    write_json(target.parent / "photo_failures.json", failures, indent=2)
    log.info("photos: %d found, %d taken, %d unreadable", len(names), len(chosen) - len(failures), len(failures))
    if len(failures) == len(chosen):
        raise DatasetNotFoundError(
            f"{source}: none of its {len(chosen)} image files can be read; the reasons are above"
        )

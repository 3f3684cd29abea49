"""The public-domain photos that scikit-image ships inside its wheel: real pictures without any download."""

from pathlib import Path

import skimage.data
from PIL import Image

from cutler_pl.runtime.files import atomic_write

PHOTOS = ("astronaut", "camera", "cat", "clock", "coffee", "coins", "hubble_deep_field", "moon", "rocket")


def write_sample_photos(folder: Path, *, max_side: int = 480) -> list[Path]:
    """Write the bundled photos as PNG files, shrunk where a side is longer than `max_side` pixels.

    Returns:
        The files, sorted by name.
    """
    paths = []
    for name in PHOTOS:
        photo = Image.fromarray(getattr(skimage.data, name)())
        photo.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        path = folder / f"{name}.png"
        with atomic_write(path) as temporary:
            photo.save(temporary, format="PNG")
        paths.append(path)
    return paths

"""The public-domain photographs that scikit-image ships inside its wheel: real images without any download."""

from pathlib import Path

import skimage.data
from PIL import Image

from cutler_pl.runtime.files import atomic_write

SAMPLES = ("astronaut", "camera", "cat", "clock", "coffee", "coins", "hubble_deep_field", "moon", "rocket")


def write_sample_images(folder: Path, *, max_side: int) -> list[Path]:
    """Write the bundled images as PNG files, each side at most `max_side` pixels; return the files, sorted by name."""
    paths = [folder / f"{name}.png" for name in SAMPLES]
    for path in paths:
        write_thumbnail(path, Image.fromarray(getattr(skimage.data, path.stem)()), max_side=max_side)
    return paths


def write_thumbnail(path: Path, image: Image.Image, *, max_side: int) -> None:
    """Write a PNG file, shrunk where a side exceeds `max_side` pixels."""
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG")

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutler_pl.visual.image_files import encode_image, save_image


def _image(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp"])
def test_format_follows_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new folder" / f"a<b>&{suffix}"
    save_image(path, _image())
    with Image.open(path) as image:
        kind, size = image.format, image.size
    assert kind == {".png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG")
    assert size == (80, 60)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_shrink_never_enlarge() -> None:
    shrunk = Image.open(io.BytesIO(encode_image(_image(60, 80), suffix=".png", max_side=40)))
    same = Image.open(io.BytesIO(encode_image(_image(60, 80), suffix=".png", max_side=400)))
    assert shrunk.size == (40, 30)
    assert same.size == (80, 60)

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutler_pl.data.image_io import Failure, Failures, read_oriented
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """A photo stored as 20×30 (height×width) that its EXIF orientation turns upright as 30×20."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "rotated.png"
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_annotations_in_the_upright_frame_get_upright_pixels(rotated: Path) -> None:
    image = read_oriented(rotated, (30, 20))
    assert np.array_equal(image, read_image(rotated))
    assert image.shape == (30, 20, 3)


def test_annotations_drawn_without_rotation_get_the_stored_pixels(rotated: Path) -> None:
    image = read_oriented(rotated, (20, 30))
    assert image.shape == (20, 30, 3)
    assert np.array_equal(np.rot90(image, -1), read_image(rotated))


def test_exchanged_sizes_are_accepted_only_where_no_mask_hangs_on_them(write_image: Callable[..., Path]) -> None:
    path = write_image("a.png", (20, 30))
    assert read_oriented(path, (30, 20), exchangeable=True).shape == (20, 30, 3)
    with pytest.raises(ImageReadError, match=r"a\.png.*20×30.*30×20"):
        read_oriented(path, (30, 20))


def test_another_size_is_refused(write_image: Callable[..., Path]) -> None:
    with pytest.raises(ImageReadError, match="another version"):
        read_oriented(write_image("a.png", (20, 30)), (40, 60), exchangeable=True)


def test_each_bad_file_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    with caplog.at_level(logging.WARNING):
        failures.add([Failure("a.jpg", "a.jpg: broken"), Failure("b.jpg", "b.jpg: gone")])
        failures.add([Failure("a.jpg", "a.jpg: broken")])
    assert failures == [("a.jpg", "a.jpg: broken"), ("b.jpg", "b.jpg: gone")]
    assert caplog.text.count("a.jpg: broken") == 1

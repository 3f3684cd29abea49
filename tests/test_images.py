import json
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.io  # noqa: F401  # whose decoder is used where it is loaded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image, read_image_size, read_oriented

ORIENTATION = 0x0112
# The upright picture, and how a camera held that way stores it (EXIF 2.3: where the 0th row and column lie).
UPRIGHT = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT, 1),
    7: np.rot90(UPRIGHT, 2).T,
    8: np.rot90(UPRIGHT, -1),
}


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("kind", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_all_orientations_come_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    path = tmp_path / f"image.{kind}"
    options = {"lossless": True} if kind == "webp" else {}
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation])).convert("RGB")
    stored.save(path, exif=_exif(orientation), **options)
    assert read_image(path)[..., 0].tolist() == UPRIGHT.tolist()
    assert read_image_size(path) == (2, 3)


@pytest.mark.parametrize("orientation", STORED)
def test_jpeg_orientations_come_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((32, 48), dtype=np.uint8)
    upright[:16, :16], upright[16:, :16] = 250, 120  # whole JPEG blocks, so that compression keeps them apart
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright, 1), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, -1),
    }  # fmt: skip
    path = tmp_path / "image.jpg"
    Image.fromarray(np.ascontiguousarray(turned[orientation])).save(path, exif=_exif(orientation), quality=95)
    pixels = read_image(path)
    assert pixels.shape == (32, 48, 3)
    assert np.abs(pixels[..., 0].astype(int) - upright).max() <= 8
    assert read_image_size(path) == (32, 48)


def test_read_stored_orientation(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.ascontiguousarray(STORED[6])).save(path, exif=_exif(6))
    assert read_image(path, upright=False)[..., 0].tolist() == STORED[6].tolist()
    assert read_image_size(path, upright=False) == (3, 2)


def test_png_orientation_after_pixels(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.ascontiguousarray(STORED[6])).save(path)
    body = _exif(6).tobytes().removeprefix(b"Exif\x00\x00")
    late = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    content = path.read_bytes()
    path.write_bytes(content[:-12] + late + content[-12:])  # before the 12 bytes of IEND
    assert read_image(path)[..., 0].tolist() == UPRIGHT.tolist()
    assert read_image_size(path) == (2, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_invalid_orientation_is_upright(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(UPRIGHT).save(path, exif=_exif(orientation))
    assert read_image(path)[..., 0].tolist() == UPRIGHT.tolist()


@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00garbage, no TIFF header", b"Exif\x00\x00II*\x00\xff\xff\xff\x7f", b"Exif\x00\x00MM"]
)
def test_read_image_with_damaged_exif(tmp_path: Path, exif: bytes) -> None:
    path = tmp_path / "image.jpg"
    Image.new("RGB", (48, 32), (200, 0, 0)).save(path, exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).shape == (32, 48, 3)
        assert read_image_size(path) == (32, 48)


@pytest.mark.parametrize(
    ("mode", "kind", "color", "expected"),
    [
        ("L", "jpg", 128, (128, 128, 128)),
        ("L", "png", 7, (7, 7, 7)),
        ("1", "png", 1, (255, 255, 255)),
        ("LA", "png", (90, 0), (90, 90, 90)),
        ("RGBA", "png", (10, 20, 30, 0), (10, 20, 30)),
        ("RGB", "bmp", (1, 2, 3), (1, 2, 3)),
        ("I;16", "png", 65535, (255, 255, 255)),
        ("I;16", "png", 257, (1, 1, 1)),
        ("I;16", "tif", 32896, (128, 128, 128)),
        ("CMYK", "tif", (0, 255, 255, 0), (255, 0, 0)),
    ],
)
def test_every_pixel_mode_becomes_rgb(
    tmp_path: Path, mode: str, kind: str, color: int | tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    path = tmp_path / f"image.{kind}"
    Image.new(mode, (5, 4), color).save(path)
    pixels = read_image(path)
    assert pixels.shape == (4, 5, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == expected).all()


def test_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    assert np.abs(read_image(path).astype(int) - (255, 0, 0)).max() <= 6


@pytest.mark.parametrize("transparency", [0, b"\x00\x80\xff"])
def test_palette_with_transparency_keeps_its_colors(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8), mode=None).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    path = tmp_path / "image.png"
    image.save(path, transparency=transparency)
    assert read_image(path)[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_16_bit_png_keeps_high_byte(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">6H", 0xFFFF, 0x8000, 0x00FF, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 2)) + chunk(b"IEND", b"")
    path = tmp_path / "image.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert read_image(path)[0, 0].tolist() == [255, 128, 0]


def test_pixels_can_be_written_to(write_image: Callable[..., Path]) -> None:
    pixels = read_image(write_image("image.png"))
    pixels[0, 0] = 1
    assert pixels[0, 0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["my images (1), new/a b.jpg", "[x]/{y}=z.jpg", "a<b>&'\".jpg", "ümläut/日本.jpg"])
def test_names_may_hold_anything(write_image: Callable[..., Path], name: str) -> None:
    assert read_image(write_image(name, (8, 9))).shape == (8, 9, 3)


def test_read_two_by_two_pixels(write_image: Callable[..., Path]) -> None:
    assert read_image(write_image("image.png", (2, 2))).shape == (2, 2, 3)


def test_read_large_image_without_warning(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("L", (6000, 4000)).save(path)
    assert read_image_size(path) == (4000, 6000)
    assert read_image(path).shape == (4000, 6000, 3)


def test_ignore_size_warning_of_pillow(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("1", (10_000, 9_000)).save(path)  # above Pillow's warning, below our limit
    assert read_image_size(path) == (9_000, 10_000)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["jpg", "png", "tif", "webp", "bmp", "ppm"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
    keep=st.floats(0.2, 1.0),
)
def test_damaged_file_reads_or_raises_image_error(
    tmp_path: Path, kind: str, changes: list[tuple[int, int]], keep: float
) -> None:
    path = tmp_path / f"image.{kind}"
    exif = {} if kind in ("bmp", "ppm") else {"exif": _exif(6)}
    Image.fromarray(np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)).save(path, **exif)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content[: max(4, int(keep * len(content)))])
    try:
        expected = read_image(path).shape[:2]
    except ImageReadError as error:
        expected = str(error).split(":")[0]
    if isinstance(expected, tuple):
        assert read_image_size(path) == expected
    else:
        assert expected == str(path)


@pytest.mark.parametrize("size_hw", [(48, 64), (37, 41), (8, 9)])
@pytest.mark.parametrize(
    "save",
    [
        {},
        {"subsampling": 0},
        {"subsampling": 2},
        {"progressive": True},
        {"quality": 30},
        {"keep_rgb": True},
        {"mode": "L"},
    ],
    ids=str,
)
def test_jpeg_decoders_agree(
    write_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, size_hw: tuple[int, int], save: dict[str, Any]
) -> None:
    """Of torchvision, which is used where it is loaded, and of Pillow; both refuse truncated files."""
    path = write_image("image.jpg", size_hw, **save)
    assert "torchvision.io" in sys.modules
    ours = read_image(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(ImageReadError, match=r"(?i)truncated"):
        read_image(path)
    path.write_bytes(whole)
    monkeypatch.delitem(sys.modules, "torchvision.io")
    assert np.array_equal(ours, read_image(path))


@pytest.mark.real_data
def test_real_images_have_annotated_sizes(data_dir: Path) -> None:
    stated = json.loads((data_dir / "coco_mini" / "annotations" / "instances.json").read_text())["images"]
    assert stated
    for record in stated:
        path = data_dir / "coco_mini" / "images" / record["file_name"]
        assert read_image_size(path) == (record["height"], record["width"])
    assert read_image(path).shape == (*read_image_size(path), 3)


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """An image stored as 20×30 (height×width) that its EXIF orientation turns upright as 30×20."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "rotated.png"
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_upright_annotations_get_upright_pixels(rotated: Path) -> None:
    image = read_oriented(rotated, (30, 20))
    assert np.array_equal(image, read_image(rotated))
    assert image.shape == (30, 20, 3)


def test_stored_annotations_get_stored_pixels(rotated: Path) -> None:
    image = read_oriented(rotated, (20, 30))
    assert image.shape == (20, 30, 3)
    assert np.array_equal(np.rot90(image, -1), read_image(rotated))


def test_swapped_sizes_accepted_without_masks(write_image: Callable[..., Path]) -> None:
    path = write_image("a.png", (20, 30))
    assert read_oriented(path, (30, 20), exchangeable=True).shape == (20, 30, 3)
    with pytest.raises(ImageReadError, match=r"a\.png.*20×30.*30×20"):
        read_oriented(path, (30, 20))


def test_first_of_several_jpegs_is_read(tmp_path: Path) -> None:
    """Phones write MPO files under JPEG's name: the image and a smaller one or a depth map."""
    image = Image.new("RGB", (8, 6), "red")
    image.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[image.resize((4, 3))])
    assert read_image(tmp_path / "phone.jpg").shape == (6, 8, 3)

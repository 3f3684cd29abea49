"""Files that are no images, or none that are read."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cutler_pl import images
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image, read_image_size, read_oriented


def _png(width: int, height: int) -> bytes:
    """PNG of a given size whose pixels are missing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 16)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("read", [read_image, read_image_size])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "unknown or damaged format"),
        (b"this is no image at all", "unknown or damaged format"),
        (b"\xff\xd8\xff\xe0", "unknown or damaged format"),
    ],
)
def test_error_names_non_image(tmp_path: Path, read: Callable[[Path], object], content: bytes, reason: str) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match=rf"image\.jpg: not readable as an image \({reason}\); replace or remove"):
        read(path)


@pytest.mark.parametrize("read", [read_image, read_image_size])
def test_error_names_missing_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(ImageReadError, match=r"absent\.jpg: not readable as an image \(no such file\)"):
        read(tmp_path / "absent.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
def test_error_names_truncated_file(write_image: Callable[..., Path], suffix: str) -> None:
    path = write_image(f"image.{suffix}", (200, 200))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageReadError, match=rf"image\.{suffix}: not readable as an image"):
        read_image(path)


def test_truncated_jpeg_has_size(write_image: Callable[..., Path]) -> None:
    path = write_image("image.jpg", (120, 200))
    path.write_bytes(path.read_bytes()[:2000])
    assert read_image_size(path) == (120, 200)


@pytest.mark.parametrize("read", [read_image, read_image_size])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (50, 1)])
def test_refuse_one_row_or_column(
    write_image: Callable[..., Path], read: Callable[[Path], object], size_hw: tuple[int, int]
) -> None:
    with pytest.raises(ImageReadError, match=rf"image\.png: the image is {size_hw[1]}×{size_hw[0]} pixels, too small"):
        read(write_image("image.png", size_hw))


@pytest.mark.parametrize("read", [read_image, read_image_size])
@pytest.mark.parametrize("side", [13_500, 60_000, 2**31 - 1])
def test_decompression_bomb_is_refused_on_its_header(tmp_path: Path, read: Callable[[Path], object], side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_png(side, side))
    with pytest.raises(ImageReadError, match=r"bomb\.png: .*over the limit of .*CUTLER_PL_MAX_IMAGE_PIXELS="):
        read(path)


def test_max_pixels_is_an_argument(write_image: Callable[..., Path]) -> None:
    path = write_image("image.png", (10, 20))
    assert read_image(path, max_pixels=200).shape == (10, 20, 3)
    sentence = "20×10 pixels, over the limit of 199 pixels in all; shrink it, or raise max_pixels"
    with pytest.raises(ImageReadError, match=sentence):
        read_image(path, max_pixels=199)


def test_bug_is_not_an_image_error(write_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Image.Image) -> Image.Image:
        raise AttributeError("a bug of ours")

    monkeypatch.setattr(images, "_to_rgb", broken)
    with pytest.raises(AttributeError, match="a bug of ours"):
        read_image(write_image("image.png"))


def test_another_size_is_refused(write_image: Callable[..., Path]) -> None:
    with pytest.raises(ImageReadError, match="another version"):
        read_oriented(write_image("a.png", (20, 30)), (40, 60), exchangeable=True)


@pytest.mark.parametrize("read", [read_image, read_image_size])
def test_other_formats_are_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """Pillow gives EPS to Ghostscript, which runs what is in it."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(pwned) (w) file closefile\n%%EOF\n"
    (tmp_path / "photo.jpg").write_bytes(eps)
    with pytest.raises(ImageReadError, match=r"photo\.jpg: not readable as an image \(unknown or damaged format\)"):
        read(tmp_path / "photo.jpg")


@pytest.mark.parametrize("read", [read_image, read_image_size])
def test_pipe_is_refused_at_once(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageReadError, match=r"pipe\.jpg: not a regular file"):
        read(tmp_path / "pipe.jpg")
    with pytest.raises(ImageReadError, match="not a regular file"):
        read(tmp_path)

import io
import struct
import threading
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cutler_pl.errors import ImageReadError
from cutler_pl.web.uploads import UploadError, UploadLimits, read_upload

LIMITS = UploadLimits(max_bytes=100_000, max_pixels=10_000)
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><rect width="9" height="9"/></svg>'


def encoded(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds a few pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "WEBP"])
def test_lossless_formats_are_read(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(read_upload(encoded(kind, **options), LIMITS), PIXELS)


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_lossy_formats_are_read(kind: str) -> None:
    assert read_upload(encoded(kind), LIMITS).shape == PIXELS.shape


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_orientation_is_applied(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = read_upload(encoded(kind, exif=exif), LIMITS)
    assert pixels.shape == (30, 20, 3)
    if kind == "PNG":
        np.testing.assert_array_equal(pixels, np.rot90(PIXELS, -1))


@pytest.mark.parametrize(
    ("data", "status", "part"),
    [
        (b"", 400, "empty"),
        (encoded("JPEG")[:200], 400, "not readable"),
        (encoded("PNG")[:-200], 400, "truncated"),
        (b"\x89PNG\r\n\x1a\n", 400, "damaged"),
        (png_header(1, 1), 400, "too small"),
        (png_header(101, 100), 413, "10,000 pixels"),
        (png_header(60_000, 60_000), 413, "is larger"),
        (bytes(100_001), 413, "100,000 bytes"),
        (b"first line of a text\n" * 20, 415, "no image file"),
        (SVG, 415, "no image file"),
        (b"%PDF-1.7\n", 415, "no image file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415, "no image file"),
        (b"../../etc/passwd", 415, "no image file"),
        (b"file:///etc/passwd", 415, "no image file"),
    ],
    ids=range(14),
)
def test_bad_uploads_are_refused(data: bytes, status: int, part: str) -> None:
    with pytest.raises(UploadError, match=part) as caught:
        read_upload(data, LIMITS)
    assert caught.value.status == status
    assert isinstance(caught.value, ImageReadError)
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused_or_read() -> None:
    """No other error leaves the reader, wherever a file ends."""
    for data in (encoded("JPEG"), encoded("GIF"), encoded("WEBP"), encoded("TIFF"), encoded("PPM"), encoded("BMP")):
        for end in range(0, len(data), max(1, len(data) // 40)):
            with suppress(UploadError):
                assert read_upload(data[:end], LIMITS).shape == PIXELS.shape


def test_threads_read_alike() -> None:
    data, found = encoded("PNG"), []
    threads = [threading.Thread(target=lambda: found.append(read_upload(data, LIMITS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(np.array_equal(pixels, PIXELS) for pixels in found)

"""Files that are no images, or that no page should decode, and what is said of each."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

BAD_UPLOADS = {
    "text.jpg": "is no image file of a kind that is read here",
    "script.svg": "is no image file of a kind that is read here",
    "truncated.jpg": "truncated",
    "bomb.png": "over the limit of 40,000,000 pixels",
    "large.jpg": "exceed the maximum allowed size",
}
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>document.title = "taken over"</script></svg>'
)
_LARGE_BYTES = 200_000_000


def write_bad_upload(folder: Path, name: str) -> Path:
    """Write one of them."""
    path = folder / name
    if name == "large.jpg":
        with path.open("wb") as file:
            file.truncate(_LARGE_BYTES)
    else:
        path.write_bytes(bad_upload(name))
    return path


def bad_upload(name: str) -> bytes:
    """The content of one of the small ones."""
    if name == "truncated.jpg":
        file = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file, "JPEG")
        return file.getvalue()[:5000]
    return {"text.jpg": b"no image\n" * 50, "script.svg": _SVG.encode(), "bomb.png": _bomb(60_000)}[name]


def _bomb(side: int) -> bytes:
    """A small PNG file that announces a very large image."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")

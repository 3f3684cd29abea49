"""Write images atomically as JPEG, PNG or WebP; the same pixels give the same bytes."""

from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cutler_pl.runtime.files import write_bytes

_JPEG_QUALITY = 90
_MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
"""Longest side that a format can hold; longer images are shrunk."""


def save_image(path: str | Path, image: UInt8[np.ndarray, "height width 3"], *, max_side: int | None = None) -> None:
    """Write an RGB image in the format of the suffix, shrunk to a longer side of at most `max_side` pixels."""
    write_bytes(path, encode_image(image, suffix=Path(path).suffix, max_side=max_side))


def encode_image(image: UInt8[np.ndarray, "height width 3"], *, suffix: str, max_side: int | None = None) -> bytes:
    """The bytes of an image file whose name ends in `suffix`; see `save_image`."""
    canvas = Image.fromarray(image)
    kind = Image.registered_extensions()[suffix.lower()]
    limit = min(max_side or max(canvas.size), _MAX_SIDE.get(kind, max(canvas.size)))
    if limit < max(canvas.size):
        canvas.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    options = {"quality": _JPEG_QUALITY} if kind in {"JPEG", "WEBP"} else {}
    buffer = BytesIO()
    canvas.save(buffer, format=kind, **options)
    return buffer.getvalue()

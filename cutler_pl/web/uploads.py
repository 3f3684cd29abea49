"""Images that people send: limited in bytes and pixels, read from memory by the project's one reader.

An upload has no name here, so that no path that somebody sends can be opened or written.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from cutler_pl.errors import ImageReadError, ImageTooLargeError
from cutler_pl.images import is_image_format, read_image

FORMATS = "JPEG, PNG, WebP, TIFF, BMP, GIF or PPM"
BAD_REQUEST, TOO_LARGE, UNSUPPORTED_TYPE = 400, 413, 415


@dataclass(frozen=True)
class UploadLimits:
    """The largest image that is accepted.

    Attributes:
        max_bytes: Of the file.
        max_pixels: Width times height, looked up before pixels are decoded.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 40_000_000


class UploadError(ImageReadError):
    """An upload is refused; `status` is HTTP's number for the reason."""

    def __init__(self, sentence: str, *, status: int) -> None:
        super().__init__(sentence)
        self.status = status


def read_upload(data: bytes, limits: UploadLimits) -> UInt8[np.ndarray, "height width 3"]:
    """Pixels of an uploaded image file, upright RGB; the content decides its format.

    Raises:
        UploadError: With status 413 where it has too many bytes or pixels, 415 where it is no image file, 400 where it
            is empty, damaged, truncated or too small.
    """
    if len(data) > limits.max_bytes:
        raise too_many_bytes(limits)
    if not data:
        raise UploadError(f"the upload is empty; send an image file ({FORMATS})", status=BAD_REQUEST)
    if not is_image_format(data):
        raise UploadError(
            f"the upload is no image file of a kind that is read here; send {FORMATS}", status=UNSUPPORTED_TYPE
        )
    try:
        return read_image(data, max_pixels=limits.max_pixels)
    except ImageTooLargeError as error:
        raise UploadError(str(error), status=TOO_LARGE) from error
    except ImageReadError as error:
        raise UploadError(str(error), status=BAD_REQUEST) from error


def too_many_bytes(limits: UploadLimits) -> UploadError:
    """The refusal of a file of too many bytes, as soon as that is known."""
    return UploadError(f"the upload has more than {limits.max_bytes:,} bytes; send a smaller image", status=TOO_LARGE)

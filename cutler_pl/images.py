"""The one image reader: every photo enters the program here, upright, as 8-bit RGB.

EXIF orientation is applied before anything else, so that annotations and pixels share one frame (the original's
MaskCut ignored it while its detector applied it). Sizes are checked on the header, before any pixel is decoded.
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from cutler_pl.errors import DatasetNotFoundError, ImageReadError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
MAX_PIXELS = 180_000_000
MIN_SIDE = 2
_TRANSPOSING_ORIENTATIONS = frozenset({5, 6, 7, 8})


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "height width 3"]:
    """Read one image file as upright RGB.

    Greyscale, palette, CMYK and 16-bit files are converted; an alpha channel is dropped, as the original does.

    Args:
        path: Image file of any format Pillow knows.
        max_pixels: Largest width times height that is decoded.

    Returns:
        Pixels in 0..255, row-major, EXIF orientation applied, writable.

    Raises:
        ImageReadError: The file is missing, empty, truncated, no image, too small or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_size(path, image.size, max_pixels)
                upright = ImageOps.exif_transpose(image)
                return np.array(_to_rgb(upright))
    except ImageReadError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ImageReadError(
            f"{path}: not readable as an image ({_reason(error)}); replace or remove the file"
        ) from error


def read_image_size(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read the upright (height, width) of an image file from its header, without decoding pixels.

    Raises:
        ImageReadError: As `read_image`, as far as the header tells.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_size(path, image.size, max_pixels)
                width, height = image.size
                orientation = image.getexif().get(ExifTags.Base.Orientation)
    except ImageReadError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ImageReadError(
            f"{path}: not readable as an image ({_reason(error)}); replace or remove the file"
        ) from error
    return (width, height) if orientation in _TRANSPOSING_ORIENTATIONS else (height, width)


def list_images(source: str | Path) -> tuple[Path, list[str]]:
    """Find the images of a file, a folder (searched through all its subfolders) or a list file.

    Args:
        source: An image; a folder; or a `.txt` file with one path a line, relative to the list's own folder.

    Returns:
        The root, and the images as paths relative to it in POSIX form, sorted; a relative path is an image's identity.

    Raises:
        DatasetNotFoundError: The source is missing or holds no image.
    """
    source = Path(source)
    if not source.exists():
        raise DatasetNotFoundError(
            f"{source}: no such file or folder; give an image, a folder of images or a .txt list"
        )
    if source.is_dir():
        found = (p for p in source.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        names = sorted(p.relative_to(source).as_posix() for p in found)
        if not names:
            kinds = " ".join(sorted(IMAGE_SUFFIXES))
            raise DatasetNotFoundError(f"{source}: the folder holds no image; expected files ending in {kinds}")
        return source, names
    if source.suffix.lower() == ".txt":
        lines = (line.strip() for line in source.read_text(encoding="utf-8").splitlines())
        names = sorted({line for line in lines if line})
        if not names:
            raise DatasetNotFoundError(f"{source}: the list names no image; expected one path a line")
        return source.parent, names
    return source.parent, [source.name]


def _check_size(path: str | Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if min(width, height) < MIN_SIDE:
        raise ImageReadError(f"{path}: the image is {width}×{height} pixels, too small to hold an object; remove it")
    if width * height > max_pixels:
        raise ImageReadError(
            f"{path}: the image is {width}×{height} pixels, over the limit of {max_pixels:,} in all; shrink it"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greyscale: Pillow's own conversion would clip at 255
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((values.clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "unknown or damaged format" if text.startswith("cannot identify image file") else text

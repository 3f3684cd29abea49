"""The one image reader: every image is read here, upright, as 8-bit RGB.

EXIF orientation is applied first, so that annotations and pixels share one frame (the original's MaskCut ignored it
while its detector applied it). Sizes are checked on the header, before any pixel is decoded.
"""

import os
import stat
import struct
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from cutler_pl.errors import DatasetNotFoundError, ImageReadError, ImageTooLargeError
from cutler_pl.runtime.limits import IMAGE_PIXELS

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What a file may hold, whatever its name says: Pillow runs other programs on some formats, such as EPS."""
MIN_SIDE = 2
_STRIP_PIXELS = 1 << 24
_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF 2.3, table 4: how upright pixels are stored
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
_TRANSPOSING_ORIENTATIONS = frozenset({5, 6, 7, 8})
_DECODING_ERRORS = (OSError, ValueError, TypeError, KeyError, SyntaxError, EOFError, struct.error)


def read_image(
    path: str | Path | bytes, *, upright: bool = True, max_pixels: int | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """Read one image file (of `_FORMATS`) as RGB; an alpha channel is dropped, as in the original.

    Args:
        path: Image file, or the content of one.
        upright: Apply the EXIF orientation; false only for annotations that were drawn without it.
        max_pixels: Largest width times height that is decoded; None for `runtime.limits.IMAGE_PIXELS`.

    Returns:
        Pixels in 0..255, writable.

    Raises:
        ImageReadError: The file is missing, empty, truncated, no image, too small or, `ImageTooLargeError`, too large.
    """
    with _opened(path, max_pixels) as image:
        if (pixels := _decode_jpeg(path, image, upright=upright)) is not None:
            return pixels
        image.load()
        return upright_rgb(image) if upright else _rgb(image, orientation=1)


def is_image_format(content: bytes) -> bool:
    """Whether a file begins as one of `_FORMATS` does, so that it is damaged if it cannot be read."""
    Image.init()
    return any(accepts(content[:16]) is True for _, accepts in map(Image.OPEN.__getitem__, _FORMATS) if accepts)


def upright_rgb(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """Pixels of a loaded image, with its EXIF orientation applied."""
    return _rgb(image, orientation=_orientation(image))


def read_oriented(
    path: Path, size_hw: tuple[int, int], *, exchangeable: bool = False
) -> UInt8[np.ndarray, "height width 3"]:
    """Read an image in the frame of its annotations: upright, or as stored where only that has the annotated size.

    The original's pseudo-masks of images with an EXIF rotation were drawn on pixels as stored.

    Args:
        path: Image file.
        size_hw: Annotated height and width.
        exchangeable: Accept exchanged height and width, which are an error of the annotations if no mask is an RLE.

    Raises:
        ImageReadError: The file is unreadable, or of another size.
    """
    image = read_image(path)
    if image.shape[:2] == size_hw or (exchangeable and image.shape[1::-1] == size_hw):
        return image
    if image.shape[1::-1] == size_hw and (stored := read_image(path, upright=False)).shape[:2] == size_hw:
        return stored
    raise ImageReadError(
        f"{path}: the image has {image.shape[0]}×{image.shape[1]} pixels, but {size_hw[0]}×{size_hw[1]} (height×width) "
        "according to its annotations; they belong to another version of the image"
    )


def read_image_size(path: str | Path, *, upright: bool = True, max_pixels: int | None = None) -> tuple[int, int]:
    """Read the (height, width) that `read_image` would give; TIFF and some PNG files are decoded for it.

    Raises:
        ImageReadError: As `read_image`, as far as was read.
    """
    with _opened(path, max_pixels) as image:
        if image.format == "TIFF":  # Pillow applies the orientation while loading
            image.load()
        orientation = _orientation(image) if upright else 1
        width, height = image.size
    return (width, height) if orientation in _TRANSPOSING_ORIENTATIONS else (height, width)


def list_images(
    source: str | Path,
    *,
    suffixes: Collection[str] = IMAGE_SUFFIXES,
    expected: str = "an image, a folder or a .txt list of them",
) -> tuple[Path, list[str]]:
    """Find the images of a file, a folder with its subfolders (linked ones too, hidden ones not) or a list file.

    Args:
        source: An image; a folder; or a `.txt` file with one path per line, relative to the list's own folder.
        suffixes: Endings of the files of a folder.
        expected: What errors say that the source can be.

    Returns:
        The root, and the images as POSIX paths relative to it, sorted; a relative path is an image's identity.

    Raises:
        DatasetNotFoundError: The source is missing, cannot be read, or holds no image.
    """
    source = Path(source)
    if not source.exists():
        raise DatasetNotFoundError(f"{source}: no such file or folder; give {expected}")
    if source.is_dir():
        names = sorted(_image_names(source, tuple(suffixes)))
        if not names:
            endings = " ".join(sorted(suffixes))
            raise DatasetNotFoundError(f"{source}: the folder holds no image; expected files ending in {endings}")
        return source, names
    if source.suffix.lower() == ".txt":
        text = source.read_text(encoding="utf-8-sig", errors="surrogateescape")  # any bytes may name a file
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise DatasetNotFoundError(f"{source}, line {line}: a path cannot hold the character NUL; remove it")
        names = sorted({line.strip() for line in text.split("\n")} - {""})
        if not names:
            raise DatasetNotFoundError(f"{source}: the list names no image; expected one path per line")
        return source.parent, names
    return source.parent, [source.name]


def check_size(name: str | Path, size: tuple[int, int], max_pixels: int | None = None) -> None:
    """Check the (width, height) of an image before it is decoded; `name` is what to call it.

    Raises:
        ImageReadError: It is too small or too large.
    """
    width, height = size
    if min(width, height) < MIN_SIDE:
        raise ImageReadError(f"{name}: the image is {width}×{height} pixels, too small to hold an object; remove it")
    limit = IMAGE_PIXELS.value() if max_pixels is None else max_pixels
    if width * height > limit:
        raise _too_large(name, f"{width}×{height} pixels", limit, max_pixels)


def _image_names(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise DatasetNotFoundError(
            f"{error.filename}: the folder cannot be read ({error.strerror}); change its permissions or move it away"
        ) from error

    seen = set()
    for path, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(path).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back up, or a second way to the same folder
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(path).relative_to(folder).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        for name in files:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield prefix + name


@contextmanager
def _opened(path: str | Path | bytes, max_pixels: int | None) -> Iterator[Image.Image]:
    """Open an image of accepted kind and size; decoding errors inside the block are reported with the file name."""
    name = "the upload" if isinstance(path, bytes) else path
    limit = IMAGE_PIXELS.value() if max_pixels is None else max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings on metadata name no file and need no action
            if not isinstance(path, bytes):
                _check_regular(path)
            _raise_pillows_limit(limit)
            with Image.open(BytesIO(path) if isinstance(path, bytes) else path, formats=_FORMATS) as image:
                check_size(name, image.size, max_pixels)
                yield image
    except ImageReadError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name, "larger", limit, max_pixels) from error
    except _DECODING_ERRORS as error:
        raise ImageReadError(
            f"{name}: not readable as an image ({_reason(error)}); replace or remove the file"
        ) from error


def _decode_jpeg(
    path: str | Path | bytes, image: Image.Image, *, upright: bool
) -> UInt8[np.ndarray, "height width 3"] | None:
    """Pixels by torchvision's decoder: the same as Pillow's, without its copies; None for what Pillow is to read.

    It is used where torchvision is loaded already, which takes a second.
    """
    if "torchvision.io" not in sys.modules or image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    if upright and _orientation(image) != 1:
        return None
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = np.fromfile(path, np.uint8) if not isinstance(path, bytes) else np.frombuffer(bytearray(path), np.uint8)
    try:
        decoded = decode_jpeg(torch.from_numpy(encoded), mode=ImageReadMode.RGB)
    except (RuntimeError, AttributeError):  # damaged, which Pillow reads or explains; torchvision without its decoder
        return None
    pixels: UInt8[np.ndarray, "height width 3"] = decoded.permute(1, 2, 0).numpy()
    return pixels if pixels.shape[1::-1] == image.size else None


def _raise_pillows_limit(limit: int) -> None:
    """Pillow refuses above twice a number of the whole process, which must not be below the limit of this reader."""
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, -(-limit // 2))


def _too_large(name: str | Path, found: str, limit: int, max_pixels: int | None) -> ImageTooLargeError:
    way_out = "raise max_pixels" if max_pixels is not None else IMAGE_PIXELS.way_out()
    return ImageTooLargeError(
        f"{name}: the image is {found}, over the limit of {limit:,} pixels in all; shrink it, or {way_out}"
    )


def _check_regular(path: str | Path) -> None:
    """Reading a pipe would wait forever, and reading a device may never end."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise ImageReadError(f"{path}: not a regular file; give the path of an image file")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1, upright, where it is missing or damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODING_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _rgb(image: Image.Image, *, orientation: int) -> UInt8[np.ndarray, "height width 3"]:
    """Upright pixels of a loaded image; of a large one in strips, since each conversion takes memory of its own."""
    width, height = image.size
    exchanged = orientation in _TRANSPOSING_ORIENTATIONS
    upright = np.empty((width, height, 3) if exchanged else (height, width, 3), dtype=np.uint8)
    stored = _STORED[orientation](upright) if orientation in _STORED else upright
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image if rows >= height else image.crop((0, top, width, bottom))
        stored[top:bottom] = np.asarray(_to_rgb(strip))
    return upright


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greyscale: Pillow's own conversion would clip at 255
        values = np.asarray(image)
        return Image.fromarray((values.clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "unknown or damaged format" if text.startswith("cannot identify image file") else text

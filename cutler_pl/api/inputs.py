"""Whatever people hold an image in, as the 8-bit RGB that models take."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from cutler_pl.errors import DatasetNotFoundError, ImageReadError, InputError
from cutler_pl.images import check_size, list_images, read_image, upright_rgb
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import COUNT, check

ImageInput = str | Path | Image.Image | np.ndarray | Tensor
"""A path, a PIL image, a uint8 array (H, W, 3), or a tensor (3, H, W), uint8 or float in 0..1, on any device."""
Pixels = UInt8[np.ndarray, "height width 3"]
T = TypeVar("T")

log = get_logger(__name__)


def predict_inputs(
    images: ImageInput | Sequence[ImageInput],
    predict: Callable[[list[Pixels], list[Path | None]], list[T]],
    *,
    batch_size: int,
) -> T | list[T] | Iterator[T]:
    """Call `predict` on batches: one result for an image, a list for a list, an iterator for a folder.

    Args:
        images: One image or several; a 4-dimensional array or tensor is several.
        predict: Takes pixels and the paths they came from.
        batch_size: Images per call.

    Raises:
        InputError: The list is empty, or something is no image.
        DatasetNotFoundError: A file or folder does not exist, or the folder holds no image.
        ImageReadError: A file cannot be read as an image.
    """
    batch_size = check("batch_size", batch_size, COUNT, error=InputError)
    if isinstance(images, str) and not images:
        raise InputError(f"the path is empty; {_KINDS}")
    if isinstance(images, str | Path) and Path(images).is_dir():
        return _predict_folder(Path(images), predict, batch_size)
    if isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
        images = list(images)
    if not isinstance(images, list | tuple):
        if not isinstance(images, ImageInput):
            raise InputError(f"expected an image or a list of images, found {type(images).__name__}; {_KINDS}")
        return predict([to_pixels(images)], [_path(images)])[0]
    if not images:
        raise InputError("the list of images is empty; give at least one image")
    results: list[T] = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        pixels = [to_pixels(image, where=f"image {start + i} of the list") for i, image in enumerate(batch)]
        results += predict(pixels, [_path(image) for image in batch])
    return results


def _predict_folder(folder: Path, predict: Callable[..., list[T]], batch_size: int) -> Iterator[T]:
    root, names = list_images(folder)

    def results() -> Iterator[T]:
        failures: list[str] = []
        for start in range(0, len(names), batch_size):
            pixels, paths = [], []
            for path in (root / name for name in names[start : start + batch_size]):
                try:
                    pixels.append(read_image(path))
                except ImageReadError as error:
                    log.warning("%s; it is left out", error)
                    failures.append(str(error))
                else:
                    paths.append(path)
            if paths:
                yield from predict(pixels, paths)
        if len(failures) == len(names):
            raise DatasetNotFoundError(f"none of the {len(names)} images can be read; the first: {failures[0]}")

    return results()


_KINDS = (
    "give a path, a PIL image, a uint8 array (height, width, 3), or a tensor (3, height, width), uint8 or float in 0..1"
)


def to_pixels(image: ImageInput, *, where: str = "the image") -> Pixels:
    """Upright 8-bit RGB.

    Raises:
        InputError: Type, shape or values are not those of an image; `where` names it.
        DatasetNotFoundError: The file does not exist.
        ImageReadError: The file cannot be read as an image.
    """
    if isinstance(image, str | Path):
        if not Path(image).exists():
            raise DatasetNotFoundError(f"{image}: no such file")
        return read_image(image)
    if isinstance(image, Image.Image):
        pixels = upright_rgb(image)
    elif isinstance(image, Tensor):
        pixels = _tensor_pixels(image, where)
    elif isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                f"{where} is an array of {image.dtype} {image.shape}; expected uint8 (height, width, 3), RGB in 0..255"
            )
        pixels = np.require(image, requirements=["C", "W"])  # torch warns of arrays that cannot be written
    else:
        raise InputError(f"{where} is a {type(image).__name__}; {_KINDS}")
    check_size(where, (pixels.shape[1], pixels.shape[0]))
    return pixels


def _tensor_pixels(image: Tensor, where: str) -> Pixels:
    if image.ndim != 3 or image.shape[0] != 3 or not (image.dtype == torch.uint8 or image.dtype.is_floating_point):
        raise InputError(
            f"{where} is a tensor of {str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}; expected "
            "(3, height, width), uint8 in 0..255 or float in 0..1"
        )
    if image.dtype != torch.uint8 and image.numel():
        low, high = image.min().item(), image.max().item()
        if not (low >= 0 and high <= 1):
            raise InputError(f"{where} has values from {low:g} to {high:g}; a float image lies in 0..1")
        image = (image.float() * 255).round().to(torch.uint8)
    return np.ascontiguousarray(image.detach().cpu().permute(1, 2, 0).numpy())


def _path(image: object) -> Path | None:
    return Path(image) if isinstance(image, str | Path) else None

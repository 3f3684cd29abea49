"""From a list of 8-bit images of any sizes to one normalised batch, padded at the right and at the bottom."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class ImageBatch(NamedTuple):
    """Normalised images in one tensor; zeros where an image is smaller than the largest one."""

    pixels: Float[Tensor, "batch 3 height width"]
    sizes_hw: list[tuple[int, int]]
    """Size of each image without the padding."""
    bounds: Float[Tensor, "batch 4"]
    """Width, height, width, height of each image: what its boxes are clipped to."""


def check_images(images: Any) -> None:
    """Check that the detector was given what it takes: a list of uint8 tensors (3, height, width).

    Raises:
        TypeError: Not a list of tensors, or not of 8-bit integers.
        ValueError: An image is not (3, height, width), or is empty.
    """
    if isinstance(images, Tensor) or not all(isinstance(image, Tensor) for image in images):
        raise TypeError("the detector takes a list of image tensors, one per image, since they differ in size")
    for i, image in enumerate(images):
        if image.dtype != torch.uint8:
            raise TypeError(f"image {i} has dtype {image.dtype}; expected uint8 RGB in 0 to 255, without normalisation")
        if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
            raise ValueError(f"image {i} has shape {tuple(image.shape)}; expected (3, height, width)")


def batch_images(
    images: Sequence[Tensor], mean: Float[Tensor, "3"], std: Float[Tensor, "3"], *, divisor: int, channels_last: bool
) -> ImageBatch:
    """Normalise images and pad them to one size.

    Args:
        images: uint8 (3, height, width), on the device of `mean`.
        mean: Taken off each channel.
        std: Each channel is divided by it.
        divisor: Height and width of the batch are multiples of it.
        channels_last: Memory layout of the batch.
    """
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    bounds = clip_bounds(sizes, mean.device)
    height, width = ((max(side) + divisor - 1) // divisor * divisor for side in zip(*sizes, strict=True))
    if torch.compiler.is_exporting():  # a graph has no memory layout and writes nothing in place
        normal = [(image.float() - mean[:, None, None]) / std[:, None, None] for image in images]
        padded = [F.pad(image, (0, width - w, 0, height - h)) for image, (h, w) in zip(normal, sizes, strict=True)]
        return ImageBatch(torch.stack(padded), sizes, bounds)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    pixels = torch.empty((len(images), 3, height, width), device=mean.device, memory_format=layout).zero_()
    for canvas, image, (h, w) in zip(pixels, images, sizes, strict=True):
        canvas[:, :h, :w] = (image.float() - mean[:, None, None]) / std[:, None, None]
    return ImageBatch(pixels, sizes, bounds)


def clip_bounds(sizes_hw: Sequence[tuple[int, int]], device: torch.device) -> Float[Tensor, "batch 4"]:
    """The `bounds` of an `ImageBatch`."""
    bounds = torch.tensor([[width, height, width, height] for height, width in sizes_hw], dtype=torch.float32)
    return bounds.to(device, non_blocking=True)

"""Resizing to the detector's input size, pixel for pixel as Pillow's bilinear filter does it.

Detectors are sensitive to it: the original resizes 8-bit images with Pillow (antialiased, rounded to 8 bit after each
axis), and interpolation without antialiasing shifts its scores.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cutler_pl.types import ImageTensor


def resized_size_hw(size_hw: tuple[int, int], *, shortest: int, longest: int) -> tuple[int, int]:
    """Size with the shortest side `shortest`, or smaller if the longest side would be over `longest`.

    The aspect ratio is kept up to rounding half up.
    """
    height, width = size_hw
    scale = shortest / min(height, width)
    new_height = shortest if height <= width else scale * height
    new_width = scale * width if height <= width else shortest
    if max(new_height, new_width) > longest:
        shrink = longest / max(new_height, new_width)
        new_height, new_width = new_height * shrink, new_width * shrink
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def resize_image(image: ImageTensor, size_hw: tuple[int, int]) -> ImageTensor:
    """Resize 8-bit RGB on its device: Pillow itself on the CPU, the same filter in float32 elsewhere."""
    if image.shape[1:] == size_hw:
        return image
    if image.device.type == "cpu":
        pixels = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        resized = np.array(pixels.resize(size_hw[::-1], Image.Resampling.BILINEAR))
        return torch.from_numpy(resized).permute(2, 0, 1).contiguous()
    return resize_by_interpolation(image, size_hw)


def resize_by_interpolation(image: ImageTensor, size_hw: tuple[int, int]) -> ImageTensor:
    """Pillow's filter in float32, on any device; fewer than one value in a hundred differs from it, by 1."""
    across = _resize_rounded(image[None].float(), (image.shape[1], size_hw[1]))
    return _resize_rounded(across, size_hw)[0].to(torch.uint8)


def _resize_rounded(pixels: Tensor, size_hw: tuple[int, int]) -> Tensor:
    resized = F.interpolate(pixels, size_hw, mode="bilinear", align_corners=False, antialias=True)
    return (resized + 0.5).floor().clamp(0, 255)

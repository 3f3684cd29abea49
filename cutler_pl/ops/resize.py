"""Resizing to the detector's input size, pixel for pixel as Pillow's bilinear filter does it.

Detectors are sensitive to it: the original resizes 8-bit images with Pillow (antialiased, columns before rows, rounded
to 8 bit after each), and interpolation without antialiasing shifts its scores. Newer Pillows choose which axis comes
first, so that the axes are done one by one here.
"""

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from cutler_pl.types import ImageTensor

_UNIT = 2**22


def resized_size_hw(size_hw: tuple[int, int], *, shortest: int, longest: int) -> tuple[int, int]:
    """Size with the shortest side `shortest`, or smaller if the longest side would be over `longest`.

    The aspect ratio is kept up to rounding half up.
    """
    if torch.compiler.is_exporting():
        return _resized_size_in_graph(size_hw, shortest=shortest, longest=longest)
    height, width = size_hw
    scale = shortest / min(height, width)
    new_height = shortest if height <= width else scale * height
    new_width = scale * width if height <= width else shortest
    if max(new_height, new_width) > longest:
        shrink = longest / max(new_height, new_width)
        new_height, new_width = new_height * shrink, new_width * shrink
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def resize_image(image: ImageTensor, size_hw: tuple[int, int]) -> ImageTensor:
    """Resize 8-bit RGB on its device: Pillow itself on the CPU, its arithmetic elsewhere."""
    if torch.compiler.is_exporting():
        return resize_by_matrices(image, size_hw)
    if image.shape[1:] == size_hw:
        return image
    if image.device.type == "cpu":
        pixels = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        across = pixels.resize((size_hw[1], pixels.height), Image.Resampling.BILINEAR)
        resized = np.array(across.resize(size_hw[::-1], Image.Resampling.BILINEAR))
        return torch.from_numpy(resized).permute(2, 0, 1).contiguous()
    return resize_by_matrices(image, size_hw)


def resize_by_matrices(image: ImageTensor, size_hw: tuple[int, int]) -> ImageTensor:
    """The same pixels on any device that has float64: columns first, then rows, each one matrix product.

    Pillow computes with integers: weights in units of 2^-22, sums rounded to 8 bit after each axis. All of them are
    whole numbers far below 2^53, so float64 holds them exactly in any order of summation.
    """
    columns, rows = (
        _pillow_weights(old, new, image.device) for old, new in zip(image.shape[:0:-1], size_hw[::-1], strict=True)
    )
    across = _round_to_8_bit(image.double() @ columns.T)
    return _round_to_8_bit(rows @ across).to(torch.uint8)


def _pillow_weights(old: int, new: int, device: torch.device) -> Float[Tensor, "new old"]:
    """How much each of `old` pixels counts in each of `new`: a triangle as wide as the step, or two pixels."""
    step = torch.full((), old, dtype=torch.float64, device=device) / new
    reach = step.clamp(min=1.0)
    centers = (torch.arange(new, dtype=torch.float64, device=device) + 0.5) * step
    places = torch.arange(old, dtype=torch.float64, device=device) + 0.5
    weights = (1 - (places - centers[:, None]).abs() / reach).clamp(min=0)
    return (weights / weights.sum(dim=1, keepdim=True) * _UNIT + 0.5).floor()


def _resized_size_in_graph(size_hw: tuple[int, int], *, shortest: int, longest: int) -> tuple[int, int]:
    """`resized_size_hw` without choices that depend on the size, so that a graph computes it for each image."""
    old = torch.stack([torch.full((), side, dtype=torch.float64) for side in size_hw])
    new = torch.where(old == old.min(), float(shortest), shortest / old.min() * old)
    new = torch.where(new.max() > longest, new * (longest / new.max()), new)
    height, width = (new + 0.5).floor().clamp(min=1).long().tolist()
    torch._check(height >= 1)
    torch._check(width >= 1)
    return height, width


def _round_to_8_bit(sums: Tensor) -> Tensor:
    return ((sums + _UNIT / 2) / _UNIT).floor().clamp(0, 255)

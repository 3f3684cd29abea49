"""Resizing to the detector's input size, in training and inference: pixel for pixel Pillow's bilinear filter.

Detectors are sensitive to it: the original resizes 8-bit images with Pillow (antialiased, columns before rows, rounded
to 8 bit after each axis), and interpolation without antialiasing shifts its scores. On the CPU the filter is compiled
(`pillow_filter`), elsewhere it is two matrix products. Both take columns first, as Pillow did until version 12 and does
since but for tall images that shrink (`resize_by_axes`).
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from cutler_pl.ops.pillow_filter import UNIT, resize_bilinear
from cutler_pl.types import ImageTensor

NewTensor = Callable[..., Tensor]


def resized_size_hw(size_hw: tuple[int, int], *, shortest: int, longest: int) -> tuple[int, int]:
    """Size whose shorter side is `shortest`, or less where the longer side would exceed `longest`; rounded half up."""
    if torch.compiler.is_exporting():
        return _resized_size_in_graph(size_hw, shortest=shortest, longest=longest)
    scale = shortest / min(size_hw)
    sides = [shortest if side == min(size_hw) else scale * side for side in size_hw]
    if max(sides) > longest:
        sides = [side * (longest / max(sides)) for side in sides]
    height, width = (max(int(side + 0.5), 1) for side in sides)
    return height, width


def resize_image(
    image: ImageTensor, size_hw: tuple[int, int], *, flip: bool = False, new: NewTensor | None = None
) -> ImageTensor:
    """Resize 8-bit RGB on its device, and flip it left to right; an image that stays as it is is returned itself.

    Args:
        image: RGB, in any memory layout.
        size_hw: New height and width.
        flip: Mirror the result.
        new: Allocates the 8-bit tensor of a given shape that the result of the CPU is written to.
    """
    if torch.compiler.is_exporting():
        return resize_by_matrices(image, size_hw)
    if image.shape[1:] == size_hw:
        return image.flip(-1) if flip else image
    if image.device.type == "cpu":
        resized = image.new_empty((3, *size_hw)) if new is None else new(3, *size_hw)
        resize_bilinear(image.permute(1, 2, 0).numpy(), resized.numpy(), flip=flip)
        return resized
    resized = resize_by_matrices(image, size_hw)
    return resized.flip(-1) if flip else resized


def resize_to_square(image: UInt8[np.ndarray, "_ _ 3"], side: int) -> UInt8[Tensor, "3 side side"]:
    """Resize to MaskCut's square by Pillow's Lanczos filter, as the original does, without regard to aspect."""
    square = resize_by_axes(Image.fromarray(image), (side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def resize_by_axes(image: Image.Image, size_hw: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    """Resize one axis after the other by Pillow's filter: the same pixels whatever Pillow is installed.

    Pillow rounds to 8 bit after the first axis, so the order shows in the pixels. Up to version 12 columns always come
    first; from 13 rows do where their number falls by more than twice as much as that of the columns (Pillow #9549).
    The order of 13 is taken: the recorded masks have it.
    """
    height, width = size_hw
    fewer_rows, fewer_columns = image.height - height, image.width - width
    rows_first = fewer_rows > 0 and fewer_rows > 2 * fewer_columns
    half_done = image.resize((image.width, height) if rows_first else (width, image.height), resampling)
    return half_done.resize((width, height), resampling)


def resize_by_matrices(image: ImageTensor, size_hw: tuple[int, int]) -> ImageTensor:
    """The same pixels on any device that has float64: columns first, then rows, each one matrix product.

    Pillow's integers (weights in units of 2^-22, 8-bit sums per axis) are exact in float64 in any order of summation.
    """
    columns, rows = (
        _pillow_weights(old, new, image.device) for old, new in zip(image.shape[:0:-1], size_hw[::-1], strict=True)
    )
    columns_done = _round_to_8_bit(image.double() @ columns.T)
    return _round_to_8_bit(rows @ columns_done).to(torch.uint8)


def _pillow_weights(old: int, new: int, device: torch.device) -> Float[Tensor, "new old"]:
    """Weight of each of `old` pixels in each of `new`: a triangle filter as wide as the scale, at least two pixels."""
    scale = torch.full((), old, dtype=torch.float64, device=device) / new
    support = scale.clamp(min=1.0)
    centers = (torch.arange(new, dtype=torch.float64, device=device) + 0.5) * scale
    positions = torch.arange(old, dtype=torch.float64, device=device) + 0.5
    weights = (1 - (positions - centers[:, None]).abs() / support).clamp(min=0)
    return (weights / weights.sum(dim=1, keepdim=True) * UNIT + 0.5).floor()


def _resized_size_in_graph(size_hw: tuple[int, int], *, shortest: int, longest: int) -> tuple[int, int]:
    """`resized_size_hw` without data-dependent control flow, for export."""
    old = torch.stack([torch.full((), side, dtype=torch.float64) for side in size_hw])
    new = torch.where(old == old.min(), float(shortest), shortest / old.min() * old)
    new = torch.where(new.max() > longest, new * (longest / new.max()), new)
    height, width = (new + 0.5).floor().clamp(min=1).long().tolist()
    torch._check(height >= 1)
    torch._check(width >= 1)
    return height, width


def _round_to_8_bit(sums: Tensor) -> Tensor:
    return ((sums + UNIT / 2) / UNIT).floor().clamp(0, 255)

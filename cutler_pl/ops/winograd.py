"""3×3 convolutions by Winograd's minimal filtering F(4×4, 3×3): a quarter of the multiplications, on the CPU.

Each 4×4 tile of the output follows from 6×6 pixels of the input, transformed by sums; the products over channels are 36
matrix products (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016). Float32 results differ from
those of a direct convolution by about 6e-6 of the largest value, a direct one's own rounding being 1e-6.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from cutler_pl.runtime.numba_jit import njit_cached

TILE = 4
_POINTS = TILE + 2
_TILES_AT_ONCE = 256  # per thread: transformed tiles and products stay in the cache
_KERNEL = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
"""Transform of a kernel along one axis, for the points 0, ±1, ±2 and infinity."""


class WinogradConv2d(nn.Module):
    """A 3×3 convolution of stride 1 and padding 1 for inference on the CPU.

    Args:
        conv: The convolution; later changes of its weights are not seen.
    """

    kernel: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.register_buffer("kernel", transform_kernel(conv.weight.detach()), persistent=False)
        bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().float()
        self.register_buffer("bias", bias, persistent=False)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """The convolution, in the channels-last layout."""
        return winograd_conv(x, self.kernel, self.bias)


def fits(conv: nn.Module) -> bool:
    """Whether a module is a convolution that `WinogradConv2d` computes."""
    if type(conv) is not nn.Conv2d:
        return False
    shape = conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")


def transform_kernel(weight: Float[Tensor, "out_channels channels 3 3"]) -> Float[Tensor, "36 channels out_channels"]:
    """Kernels as `winograd_conv` takes them."""
    g = torch.tensor(_KERNEL, dtype=torch.float64)
    points = torch.einsum("ia,kcab,jb->ijck", g, weight.double(), g)
    return points.flatten(0, 1).float().contiguous()


def winograd_conv(
    x: Float[Tensor, "batch channels height width"],
    kernel: Float[Tensor, "36 channels out_channels"],
    bias: Float[Tensor, " out_channels"],
) -> Float[Tensor, "batch out_channels height width"]:
    """Convolve with zeros around the image.

    Args:
        x: On the CPU; fastest in the channels-last layout.
        kernel: Of `transform_kernel`.
        bias: Added to each channel.
    """
    batch, _, height, width = x.shape
    across, down = -(-width // TILE), -(-height // TILE)
    pixels = x.float().permute(0, 2, 3, 1).contiguous()
    result = pixels.new_empty((batch, height, width, kernel.shape[2]))
    source, target, offsets = pixels.numpy(), result.numpy(), bias.numpy()
    num_tiles, threads = batch * down * across, torch.get_num_threads()
    for start in range(0, num_tiles, _TILES_AT_ONCE * threads):
        count = min(_TILES_AT_ONCE * threads, num_tiles - start)
        points = pixels.new_empty((_POINTS**2, count, kernel.shape[1]))
        _over_tiles(_transform_input, (source, points.numpy(), across, down), start, count, threads)
        products = torch.bmm(points, kernel).numpy()
        _over_tiles(_transform_output, (products, target, offsets, across, down), start, count, threads)
    return result.permute(0, 3, 1, 2)


def _over_tiles(kernel: Callable[..., None], arrays: tuple[Any, ...], start: int, count: int, threads: int) -> None:
    """Run a compiled kernel over some tiles, a part of them in each thread."""
    run, share = njit_cached(kernel), -(-count // threads)
    parts = [(begin, min(begin + share, count)) for begin in range(0, count, share)]
    if len(parts) == 1:
        run(*arrays, start, 0, count)
        return
    list(_pool(threads).map(lambda part: run(*arrays, start, *part), parts))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="winograd")


def _transform_input(
    x: NDArray[np.float32], points: NDArray[np.float32], across: int, down: int, start: int, begin: int, end: int
) -> None:
    """Points of the tiles start + begin to start + end: sums of 6×6 pixels along both axes."""
    two, four, five = np.float32(2), np.float32(4), np.float32(5)
    height, width, channels = x.shape[1:]
    rows = np.empty((6, 6, channels), np.float32)
    pixels = np.empty((6, 6, channels), np.float32)
    for tile in range(begin, end):
        image, place = divmod(start + tile, across * down)
        top, left = place // across * 4 - 1, place % across * 4 - 1
        for i in range(6):
            for j in range(6):
                y, z = top + i, left + j
                if 0 <= y < height and 0 <= z < width:
                    for c in range(channels):
                        pixels[i, j, c] = x[image, y, z, c]
                else:
                    for c in range(channels):
                        pixels[i, j, c] = 0
        for j in range(6):
            for c in range(channels):
                a, b, d = pixels[0, j, c], pixels[1, j, c], pixels[2, j, c]
                e, f, g = pixels[3, j, c], pixels[4, j, c], pixels[5, j, c]
                even, odd, even2, odd2 = f - four * d, e - four * b, f - d, two * (e - b)
                rows[0, j, c] = four * a - five * d + f
                rows[1, j, c] = even + odd
                rows[2, j, c] = even - odd
                rows[3, j, c] = even2 + odd2
                rows[4, j, c] = even2 - odd2
                rows[5, j, c] = four * b - five * e + g
        for i in range(6):
            for c in range(channels):
                a, b, d = rows[i, 0, c], rows[i, 1, c], rows[i, 2, c]
                e, f, g = rows[i, 3, c], rows[i, 4, c], rows[i, 5, c]
                even, odd, even2, odd2 = f - four * d, e - four * b, f - d, two * (e - b)
                points[6 * i, tile, c] = four * a - five * d + f
                points[6 * i + 1, tile, c] = even + odd
                points[6 * i + 2, tile, c] = even - odd
                points[6 * i + 3, tile, c] = even2 + odd2
                points[6 * i + 4, tile, c] = even2 - odd2
                points[6 * i + 5, tile, c] = four * b - five * e + g


def _transform_output(
    products: NDArray[np.float32],
    result: NDArray[np.float32],
    bias: NDArray[np.float32],
    across: int,
    down: int,
    start: int,
    begin: int,
    end: int,
) -> None:
    """Pixels of the tiles start + begin to start + end from their 36 products."""
    two, four, eight = np.float32(2), np.float32(4), np.float32(8)
    height, width, channels = result.shape[1:]
    rows = np.empty((4, 6, channels), np.float32)
    for tile in range(begin, end):
        image, place = divmod(start + tile, across * down)
        top, left = place // across * 4, place % across * 4
        for j in range(6):
            for c in range(channels):
                a, b, d = products[j, tile, c], products[6 + j, tile, c], products[12 + j, tile, c]
                e, f, g = products[18 + j, tile, c], products[24 + j, tile, c], products[30 + j, tile, c]
                rows[0, j, c] = a + (b + d) + (e + f)
                rows[1, j, c] = (b - d) + two * (e - f)
                rows[2, j, c] = (b + d) + four * (e + f)
                rows[3, j, c] = (b - d) + eight * (e - f) + g
        for i in range(min(4, height - top)):
            here = width - left
            for c in range(channels):
                a, b, d = rows[i, 0, c], rows[i, 1, c], rows[i, 2, c]
                e, f, g = rows[i, 3, c], rows[i, 4, c], rows[i, 5, c]
                result[image, top + i, left, c] = a + (b + d) + (e + f) + bias[c]
                if here > 1:
                    result[image, top + i, left + 1, c] = (b - d) + two * (e - f) + bias[c]
                if here > 2:
                    result[image, top + i, left + 2, c] = (b + d) + four * (e + f) + bias[c]
                if here > 3:
                    result[image, top + i, left + 3, c] = (b - d) + eight * (e - f) + g + bias[c]

"""Lattice coordinates as single integers: shared by the lattices of the CPU and of a GPU."""

import math

import numpy as np
from jaxtyping import Float32, Int64

from cutler_pl.errors import ConfigError


def lattice_scale(dim: int) -> Float32[np.ndarray, " dim"]:
    """Factor of each feature, after which the lattice's blur has standard deviation 1 (Adams et al. sec. 3.1)."""
    deviation = np.float32(math.sqrt(2 / 3) * (dim + 1))
    return np.array([deviation / np.float32(math.sqrt((i + 1) * (i + 2))) for i in range(dim)], np.float32)


def pack_coordinates(
    largest: np.ndarray, scale: Float32[np.ndarray, " dim"], *, images: int = 1
) -> tuple[Int64[np.ndarray, " dim"], Int64[np.ndarray, " dim"], int]:
    """Pack the first d lattice coordinates, and an image's number, into one integer: steps become additions.

    Args:
        largest: Bound of each feature's magnitude.
        scale: Of each feature, from `lattice_scale`.
        images: How many images are numbered.

    Returns:
        Offsets and strides of the coordinates, and the stride of the image's number.

    Raises:
        ConfigError: 63 bits do not suffice.
    """
    dim = len(largest)
    reach = largest.astype(np.float64) * scale
    # |elevated_i| <= sum_{j>=i} reach_j + i reach_{i-1}; vertices lie within d + 1 of it, neighbours d + 1 further.
    span = [math.ceil(reach[i:].sum() + (i * reach[i - 1] if i else 0)) + 4 * (dim + 1) for i in range(dim)]
    strides, stride = [], 1
    for half in span:
        strides.append(stride)
        stride *= 2 * half + 1
    if stride * images >= 1 << 63:
        raise ConfigError(
            f"crf.params: the deviations are too small for images of this size ({stride * images:.1e} lattice points, "
            "which 63 bits cannot number); raise color_sigma, bilateral_sigma or gaussian_sigma"
        )
    return np.array([-half for half in span], np.int64), np.array(strides, np.int64), stride

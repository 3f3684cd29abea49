"""The permutohedral lattice: Gaussian filtering of pixels in a feature space of a few dimensions, in linear time.

Pixels are interpolated onto the vertices of the simplices that hold them (splat), the vertices are blurred along the
d + 1 lattice directions, and the pixels are interpolated back (slice). Adams, Baek and Davis, "Fast High-Dimensional
Filtering Using the Permutohedral Lattice", Eurographics 2010. As in the dense CRF that the original MaskCut uses, the
blur makes no new vertices: an absent neighbour counts as zero. The lattice depends on the features alone, so one
lattice serves every mask of an image.

All kernels are compiled by numba at their first call, run in one thread and add in a fixed order: the same input
gives the same bits. They release the GIL, so that images may be filtered beside one another.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

from cutler_pl.maskcut.crf.packing import lattice_scale, pack_coordinates
from cutler_pl.runtime.numba_jit import njit_cached

LANES = 4
"""Channels that are filtered together: one SIMD register of float32."""

_EMPTY = np.int64(-1)
_START_CAPACITY = 1 << 15


@dataclass(frozen=True, eq=False)
class Lattice:
    """Where each pixel lies among the vertices, and which vertices are neighbours.

    `vertices` and `weights` hold the d + 1 corners of each pixel's simplex and its barycentric coordinates (a row sums
    to 1). `neighbours[j, v]` are the vertices one step before and after `v` in direction `j`; an absent one is the
    index `num_vertices`, the row of zeros that the blur keeps at the end.
    """

    vertices: Int32[np.ndarray, "pixels corners"]
    weights: Float32[np.ndarray, "pixels corners"]
    neighbours: Int32[np.ndarray, "corners lattice_points 2"]

    @property
    def num_vertices(self) -> int:
        """Number of lattice points that some pixel touches."""
        return int(self.neighbours.shape[1])

    def filter(
        self,
        values: Float32[np.ndarray, "pixels lanes"],
        *,
        weights: Float32[np.ndarray, "pixels corners"] | None = None,
    ) -> Float32[np.ndarray, "pixels lanes"]:
        """Gaussian-filter values given at the pixels, `LANES` channels at once.

        Args:
            values: One row per pixel, exactly `LANES` columns.
            weights: Interpolation weights instead of the lattice's own, for normalised filters.

        Returns:
            Filtered values, without normalisation by the filter's response to ones.
        """
        weights = self.weights if weights is None else weights
        front = np.empty((self.num_vertices + 1, LANES), np.float32)
        back = np.empty_like(front)
        filtered = np.empty_like(values)
        _filter(values, self.vertices, weights, self.neighbours, front, back, filtered)
        return filtered


def build_lattice(features: Float32[np.ndarray, "pixels dim"]) -> Lattice:
    """Build the lattice of pixels at given positions in feature space, in units of the Gaussian's deviation.

    Args:
        features: Position of each pixel, already divided by the standard deviations.

    Raises:
        ConfigError: Positions spread so far that lattice coordinates do not fit 63 bits.
    """
    pixels, dim = features.shape
    corners = dim + 1
    scale = lattice_scale(dim)
    low, strides, _ = pack_coordinates(np.abs(features).max(axis=0, initial=0), scale)
    vertices = np.empty((pixels, corners), np.int32)
    weights = np.empty((pixels, corners), np.float32)
    neighbours = _build(features, scale, low, strides, vertices, weights)
    return Lattice(vertices, weights, neighbours)


@njit_cached
def _find(keys: np.ndarray, key: int) -> np.uint64:
    """Slot of a key in the open-addressing table, or the empty slot where it belongs."""
    mask = np.uint64(keys.shape[0] - 1)
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    slot = (mixed ^ (mixed >> np.uint64(32))) & mask
    while keys[slot] != _EMPTY and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit_cached
def _rehash(keys: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same table with twice the capacity."""
    new_keys = np.full(2 * keys.shape[0], _EMPTY, np.int64)
    new_ids = np.empty(2 * keys.shape[0], np.int32)
    for slot in range(keys.shape[0]):
        if keys[slot] != _EMPTY:
            to = _find(new_keys, keys[slot])
            new_keys[to] = keys[slot]
            new_ids[to] = ids[slot]
    return new_keys, new_ids


@njit_cached
def _build(
    features: np.ndarray,
    scale: np.ndarray,
    low: np.ndarray,
    strides: np.ndarray,
    vertices: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Fill `vertices` and `weights`; return the neighbours. Vertices are numbered as they are first met."""
    pixels, dim = features.shape
    corners = dim + 1
    up = np.float32(corners)
    down = np.float32(1) / up
    elevated = np.empty(corners, np.float32)
    nearest = np.empty(corners, np.float32)
    rank = np.empty(corners, np.int64)
    holder = np.empty(corners, np.int64)
    barycentric = np.empty(corners + 1, np.float32)
    previous_key = np.full(corners, _EMPTY, np.int64)
    previous_id = np.zeros(corners, np.int32)
    one_step = strides.sum()

    keys = np.full(_START_CAPACITY, _EMPTY, np.int64)
    ids = np.empty(_START_CAPACITY, np.int32)
    count = 0
    for p in range(pixels):
        # The position on the hyperplane of coordinate sum 0 (Adams et al. eq. 5, in triangular form).
        tail = np.float32(0)
        for i in range(dim, 0, -1):
            coordinate = features[p, i - 1] * scale[i - 1]
            elevated[i] = tail - np.float32(i) * coordinate
            tail += coordinate
        elevated[0] = tail
        # The closest lattice point of remainder 0, found by rounding each coordinate to a multiple of d + 1.
        excess = 0
        for i in range(corners):
            rounded = np.rint(elevated[i] * down)
            nearest[i] = rounded * up
            excess += int(rounded)
            rank[i] = 0
        for i in range(dim):
            here = elevated[i] - nearest[i]
            for j in range(i + 1, corners):
                if here < elevated[j] - nearest[j]:
                    rank[i] += 1
                else:
                    rank[j] += 1
        for i in range(corners):  # bring the point back onto the hyperplane
            rank[i] += excess
            if rank[i] < 0:
                rank[i] += corners
                nearest[i] += up
            elif rank[i] > dim:
                rank[i] -= corners
                nearest[i] -= up
        # Barycentric coordinates (Adams et al. prop. 4.2).
        barycentric[:] = 0
        for i in range(corners):
            part = (elevated[i] - nearest[i]) * down
            barycentric[dim - rank[i]] += part
            barycentric[dim - rank[i] + 1] -= part
            holder[rank[i]] = i
        barycentric[0] += np.float32(1) + barycentric[corners]
        # Corner k is the point of remainder k: all coordinates one up, that of the current highest rank d + 1 down.
        key = np.int64(0)
        for i in range(dim):
            key += (np.int64(nearest[i]) - low[i]) * strides[i]
        for k in range(corners):
            if k > 0:
                key += one_step
                wrapped = holder[corners - k]
                if wrapped < dim:
                    key -= corners * strides[wrapped]
            if key != previous_key[k]:
                slot = _find(keys, key)
                if keys[slot] == _EMPTY:
                    keys[slot] = key
                    ids[slot] = count
                    count += 1
                    if 2 * count > keys.shape[0]:
                        keys, ids = _rehash(keys, ids)
                        slot = _find(keys, key)
                previous_key[k] = key
                previous_id[k] = ids[slot]
            vertices[p, k] = previous_id[k]
            weights[p, k] = barycentric[k]

    key_of = np.empty(count, np.int64)
    for slot in range(keys.shape[0]):
        if keys[slot] != _EMPTY:
            key_of[ids[slot]] = keys[slot]
    neighbours = np.full((corners, count, 2), count, np.int32)
    for j in range(corners):
        step = one_step
        if j < dim:
            step -= corners * strides[j]
        for v in range(count):
            slot = _find(keys, key_of[v] + step)
            if keys[slot] != _EMPTY:
                other = ids[slot]
                neighbours[j, v, 1] = other
                neighbours[j, other, 0] = v
    return neighbours


@njit_cached
def _filter(
    values: np.ndarray,
    vertices: np.ndarray,
    weights: np.ndarray,
    neighbours: np.ndarray,
    front: np.ndarray,
    back: np.ndarray,
    filtered: np.ndarray,
) -> None:
    """Splat, blur and slice. The four lanes are written out: only then does LLVM put them into one register."""
    pixels, corners = vertices.shape
    count = neighbours.shape[1]
    half = np.float32(0.5)
    front[:] = 0
    for p in range(pixels):
        a, b, c, d = values[p, 0], values[p, 1], values[p, 2], values[p, 3]
        for k in range(corners):
            v = np.uint32(vertices[p, k])
            w = weights[p, k]
            fa, fb, fc, fd = front[v, 0], front[v, 1], front[v, 2], front[v, 3]
            front[v, 0] = fa + w * a
            front[v, 1] = fb + w * b
            front[v, 2] = fc + w * c
            front[v, 3] = fd + w * d
    back[count] = 0
    for j in range(corners):
        for u in range(count):
            v = np.uint32(u)
            m = np.uint32(neighbours[j, v, 0])
            n = np.uint32(neighbours[j, v, 1])
            a = front[v, 0] + half * (front[m, 0] + front[n, 0])
            b = front[v, 1] + half * (front[m, 1] + front[n, 1])
            c = front[v, 2] + half * (front[m, 2] + front[n, 2])
            d = front[v, 3] + half * (front[m, 3] + front[n, 3])
            back[v, 0] = a
            back[v, 1] = b
            back[v, 2] = c
            back[v, 3] = d
        front, back = back, front
    # With d + 1 directions the truncated kernel gains this factor (Adams et al., supplement).
    alpha = np.float32(1) / (np.float32(1) + np.float32(2.0 ** -(corners - 1)))
    for p in range(pixels):
        a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for k in range(corners):
            v = np.uint32(vertices[p, k])  # unsigned: numba then leaves out the test for negative indices
            w = weights[p, k]
            a += w * front[v, 0]
            b += w * front[v, 1]
            c += w * front[v, 2]
            d += w * front[v, 3]
        filtered[p, 0] = a * alpha
        filtered[p, 1] = b * alpha
        filtered[p, 2] = c * alpha
        filtered[p, 3] = d * alpha

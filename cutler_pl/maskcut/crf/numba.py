"""The dense CRF on the CPU, exact: one permutohedral lattice per image, shared by its masks.

The lattice over positions and colors is built once per image; the one over positions alone depends on the size only
and is cached. Four masks at a time are filtered together. Images of a batch run in parallel threads; each is computed
by one thread, so the result does not depend on their number.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from cutler_pl.maskcut.crf.lattice import LANES, Lattice, build_lattice
from cutler_pl.maskcut.crf.params import CrfParams
from cutler_pl.runtime.numba_jit import njit_cached


@dataclass(frozen=True)
class NumbaCrf:
    """The dense CRF by numba kernels, for tensors of any device (computed on the CPU)."""

    params: CrfParams

    def segment(
        self, images: UInt8[Tensor, "batch 3 height width"], masks: Bool[Tensor, "batch rounds height width"]
    ) -> Bool[Tensor, "batch rounds height width"]:
        """Most probable labelling of each mask after the mean-field iterations."""
        images_here = images.permute(0, 2, 3, 1).cpu().numpy()
        masks_here = masks.cpu().numpy()

        def segment_one(i: int) -> Bool[np.ndarray, "rounds height width"]:
            return mean_field(images_here[i], masks_here[i], self.params) > 0.5

        with ThreadPoolExecutor(max_workers=max(1, min(len(masks), torch.get_num_threads()))) as threads:
            segmented = list(threads.map(segment_one, range(len(masks))))
        return torch.from_numpy(np.stack(segmented)).to(masks.device)


def mean_field(
    image: UInt8[np.ndarray, "height width 3"], masks: Bool[np.ndarray, "rounds height width"], params: CrfParams
) -> Float32[np.ndarray, "rounds height width"]:
    """Foreground probability of every pixel, for each mask of one image.

    The unary term gives a pixel inside the mask the log-odds +1 and one outside -1 (the original passes the 0/1 mask
    through a softmax). Messages are normalised symmetrically and a pixel's own contribution is kept, as in the
    original.
    """
    rounds, height, width = masks.shape
    kernels = [
        _Kernel.of(_position_lattice(height, width, params.gaussian_sigma), params.gaussian_weight),
        _Kernel.of(build_lattice(_color_features(image, params)), params.bilateral_weight),
    ]
    probability = np.empty((rounds, height * width), np.float32)
    for start in range(0, rounds, LANES):
        chosen = masks[start : start + LANES].reshape(-1, height * width)
        odds = np.zeros((height * width, LANES), np.float32)
        odds[:, : len(chosen)] = 2 * chosen.T.astype(np.float32) - 1
        q = _sigmoid(odds)
        for _ in range(params.iterations):
            total = odds.copy()
            for kernel in kernels:
                kernel.add_message(q, total)
            q = _sigmoid(total)
        probability[start : start + LANES] = q.T[: len(chosen)]
    return probability.reshape(rounds, height, width)


@dataclass(frozen=True, eq=False)
class _Kernel:
    """One Gaussian kernel of the CRF: its lattice with normalised weights, its weight, its response to ones."""

    lattice: Lattice
    weights: Float32[np.ndarray, "pixels corners"]
    weight: np.float32
    ones: Float32[np.ndarray, " pixels"]

    @classmethod
    def of(cls, lattice: Lattice, weight: float) -> "_Kernel":
        ones = np.ones((len(lattice.vertices), LANES), np.float32)
        norm = 1 / np.sqrt(lattice.filter(ones)[:, :1] + np.float32(1e-20))
        weights = lattice.weights * norm
        return cls(lattice, weights, np.float32(weight), lattice.filter(ones, weights=weights)[:, 0])

    def add_message(self, q: np.ndarray, total: np.ndarray) -> None:
        """Add to the log-odds: the weight times (foreground minus background message)."""
        _add_message(self.lattice.filter(q, weights=self.weights), self.ones, self.weight, total)


@lru_cache(maxsize=4)
def _position_lattice(height: int, width: int, sigma: float) -> Lattice:
    return build_lattice(_positions(height, width, sigma))


def _positions(height: int, width: int, sigma: float) -> Float32[np.ndarray, "pixels 2"]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y], -1).reshape(-1, 2) / np.float32(sigma)


def _color_features(image: np.ndarray, params: CrfParams) -> Float32[np.ndarray, "pixels 5"]:
    height, width, _ = image.shape
    colors = image.reshape(-1, 3).astype(np.float32) / np.float32(params.color_sigma)
    return np.concatenate([_positions(height, width, params.bilateral_sigma), colors], 1)


@njit_cached
def _sigmoid(x: np.ndarray) -> np.ndarray:
    one = np.float32(1)
    q = np.empty_like(x)
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            q[p, c] = one / (one + np.exp(-x[p, c]))
    return q


@njit_cached
def _add_message(filtered: np.ndarray, ones: np.ndarray, weight: float, total: np.ndarray) -> None:
    two = np.float32(2)
    for p in range(total.shape[0]):
        for c in range(total.shape[1]):
            total[p, c] += weight * (two * filtered[p, c] - ones[p])

"""The permutohedral lattice on a device: that of `lattice`, for a whole batch of images at once.

Instead of a hash table the corners of all pixels are sorted by their packed coordinates: equal keys are one vertex, and
the sorted list is also the order in which a vertex gathers from its pixels. Sorting is stable, so each sum is taken in
the order of pixels, as on the CPU, and results do not differ from run to run.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64
from torch import Tensor

from cutler_pl.maskcut.crf.packing import lattice_scale, pack_coordinates
from cutler_pl.runtime.cuda_kernels import Kernels

SOURCE = Path(__file__).parents[1] / "cuda" / "lattice.cu"


@dataclass(frozen=True, eq=False)
class DeviceLattice:
    """Vertices and neighbours of the pixels of one or more images.

    Attributes:
        corners: Vertices of each pixel's simplex.
        weights: Barycentric coordinates of each pixel, or these times a normalisation.
        neighbours: As in `lattice.Lattice`.
        starts: First entry of each vertex in the next two, and the end of the last.
        pixel: Pixels by vertex.
        order: Indices into the flat `weights` by vertex.
        kernels: Those of `SOURCE`.
    """

    corners: Int32[Tensor, "pixels corners"]
    weights: Float32[Tensor, "pixels corners"]
    neighbours: Int32[Tensor, "corners lattice_points 2"]
    starts: Int64[Tensor, " lattice_points+1"]
    pixel: Int32[Tensor, " entries"]
    order: Int64[Tensor, " entries"]
    sorted_weights: Float32[Tensor, " entries"]
    kernels: Kernels

    def weighted(self, factor: Float32[Tensor, " pixels"]) -> "DeviceLattice":
        """The same lattice with each pixel's weights times a factor."""
        weights = self.weights * factor[:, None]
        return replace(self, weights=weights, sorted_weights=weights.flatten()[self.order])

    def filter(self, values: Float32[Tensor, "groups pixels lanes"]) -> Float32[Tensor, "groups pixels lanes"]:
        """Gaussian-filter values given at the pixels, without normalisation by the filter's response to ones."""
        filtered = torch.empty_like(values)
        front = self._blurred(values)
        self.kernels("lattice_slice", values.numel(), front, self.corners, self.weights, filtered, *self._sizes(values))
        return filtered

    def add_message(
        self,
        q: Float32[Tensor, "groups pixels lanes"],
        total: Float32[Tensor, "groups pixels lanes"],
        *,
        ones: Float32[Tensor, " pixels"],
        weight: float,
    ) -> None:
        """Add the CRF's message of `q` to the log-odds `total`, in place: weight · (2 filtered - ones)."""
        front = self._blurred(q)
        lattice = (front, self.corners, self.weights)
        self.kernels("lattice_message", q.numel(), *lattice, ones, total, *self._sizes(q), float(weight))

    def _sizes(self, values: Tensor) -> tuple[int, int, int, int, float]:
        corners = self.corners.shape[1]
        alpha = float(np.float32(1) / (np.float32(1) + np.float32(2.0 ** -(corners - 1))))
        return self.neighbours.shape[1], self.corners.shape[0], values.shape[2], corners, alpha

    def _blurred(self, values: Float32[Tensor, "groups pixels lanes"]) -> Tensor:
        vertices, pixels, lanes, *_ = self._sizes(values)
        front = values.new_empty(values.shape[0], vertices + 1, lanes)
        back = torch.empty_like(front)
        entries = (self.starts, self.pixel, self.sorted_weights)
        self.kernels("lattice_splat", front.numel(), values, *entries, front, vertices, pixels, lanes)
        for direction in self.neighbours:
            self.kernels("lattice_blur", front.numel(), front, direction, back, vertices, lanes)
            front, back = back, front
        return front


def build_lattice(
    features: Float32[Tensor, "images pixels dim"], reach: list[float], *, kernels: Kernels
) -> DeviceLattice:
    """Build one lattice of all images; pixels of different images share no vertex.

    Args:
        features: Position of each pixel in units of the Gaussian's deviation.
        reach: A bound of the magnitude of each feature, so that nothing need be read back from the device.
        kernels: Those of `SOURCE`.

    Raises:
        ConfigError: Positions spread so far that lattice coordinates do not fit 63 bits.
    """
    images, pixels, dim = features.shape
    device = features.device
    scale = lattice_scale(dim)
    low, strides, image_stride = pack_coordinates(np.array(reach), scale, images=images)
    strides_there = torch.from_numpy(strides).to(device)
    keys = torch.empty(images * pixels, dim + 1, dtype=torch.int64, device=device)
    weights = torch.empty(images * pixels, dim + 1, dtype=torch.float32, device=device)
    kernels(
        "lattice_embed",
        images * pixels,
        features.contiguous(),
        torch.from_numpy(scale).to(device),
        torch.from_numpy(low).to(device),
        strides_there,
        keys,
        weights,
        dim,
        pixels,
        image_stride,
    )
    in_order, order = keys.flatten().sort(stable=True)
    first = torch.ones_like(in_order, dtype=torch.bool)
    first[1:] = in_order[1:] != in_order[:-1]
    corners = torch.empty_like(order, dtype=torch.int32)
    corners[order] = (first.cumsum(0) - 1).int()
    starts = first.nonzero().flatten()
    unique = in_order[starts]
    return DeviceLattice(
        corners=corners.view_as(keys),
        weights=weights,
        neighbours=_neighbours(unique, strides_there),
        starts=torch.cat([starts, starts.new_tensor([len(order)])]),
        pixel=order.div(dim + 1, rounding_mode="floor").int(),
        order=order,
        sorted_weights=weights.flatten()[order],
        kernels=kernels,
    )


def _neighbours(
    keys: Int64[Tensor, " lattice_points"], strides: Int64[Tensor, " dim"]
) -> Int32[Tensor, "corners lattice_points 2"]:
    """Vertices one step before and after each vertex along each direction; the number of vertices where absent."""
    count, one_step = len(keys), strides.sum()
    steps = torch.cat([one_step - (len(strides) + 1) * strides, one_step[None]])
    sides = []
    for sign in (-1, 1):
        wanted = keys + sign * steps[:, None]
        place = torch.searchsorted(keys, wanted).clamp(max=count - 1)
        sides.append(torch.where(keys[place] == wanted, place, count))
    return torch.stack(sides, 2).int()

"""The dense CRF on a GPU, for whole batches: the steps of `numba` as kernels, all images and masks at once."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from cutler_pl.errors import OptionalDependencyError
from cutler_pl.maskcut.crf.lattice_cuda import SOURCE, DeviceLattice, build_lattice
from cutler_pl.maskcut.crf.params import CrfParams
from cutler_pl.runtime.cuda_kernels import Kernels, kernels_for

_IMAGES_AT_ONCE = 16
_TINY = 1e-20


@dataclass(frozen=True)
class CudaCrf:
    """The dense CRF by CUDA kernels.

    Attributes:
        params: Constants of the CRF.
        kernels: Those of the lattice; those of the images' device where not given.
    """

    params: CrfParams
    kernels: Kernels | None = None

    def segment(
        self, images: UInt8[Tensor, "batch 3 height width"], masks: Bool[Tensor, "batch rounds height width"]
    ) -> Bool[Tensor, "batch rounds height width"]:
        """Most probable labelling of each mask after the mean-field iterations.

        Raises:
            OptionalDependencyError: The images are on a device without kernels.
        """
        kernels = self.kernels or kernels_for(SOURCE, images.device)
        if kernels is None:
            raise OptionalDependencyError(
                f"crf.backend=cuda needs images on a GPU and CuPy (pip install 'cutler_pl[gpu]'); these are on "
                f"{images.device}: take crf.backend=numba"
            )
        chunks = zip(
            torch.split(images, _IMAGES_AT_ONCE), torch.split(masks.to(images.device), _IMAGES_AT_ONCE), strict=True
        )
        probabilities = [mean_field(*chunk, self.params, kernels=kernels) for chunk in chunks]
        return (torch.cat(probabilities) > 0.5).to(masks.device)


def mean_field(
    images: UInt8[Tensor, "batch 3 height width"],
    masks: Bool[Tensor, "batch rounds height width"],
    params: CrfParams,
    *,
    kernels: Kernels,
) -> Float32[Tensor, "batch rounds height width"]:
    """Foreground probability of every pixel, for each mask; see `numba.mean_field`."""
    batch, rounds, height, width = masks.shape
    near = _normalised(_position_lattice(height, width, params.gaussian_sigma, images.device, kernels))
    alike = _normalised(_color_lattice(images, params, kernels))
    odds = (2 * masks.flatten(2).transpose(1, 2).float() - 1).contiguous()
    q = torch.sigmoid(odds)
    for _ in range(params.iterations):
        total = odds.clone()
        near[0].add_message(q, total, ones=near[1], weight=params.gaussian_weight)
        # one lattice of all images: their pixels in one row
        flat = (1, batch * height * width, rounds)
        alike[0].add_message(q.view(flat), total.view(flat), ones=alike[1], weight=params.bilateral_weight)
        q = torch.sigmoid(total)
    return q.transpose(1, 2).reshape(batch, rounds, height, width)


def _normalised(lattice: DeviceLattice) -> tuple[DeviceLattice, Float32[Tensor, " pixels"]]:
    """A lattice with symmetrically normalised weights, and its response to ones."""
    ones = torch.ones(1, len(lattice.weights), 1, device=lattice.weights.device)
    lattice = lattice.weighted(1 / (lattice.filter(ones).flatten() + _TINY).sqrt())
    return lattice, lattice.filter(ones).flatten()


@lru_cache(maxsize=4)
def _position_lattice(height: int, width: int, sigma: float, device: torch.device, kernels: Kernels) -> DeviceLattice:
    positions = _positions(height, width, sigma, device)
    return build_lattice(positions[None], [width / sigma, height / sigma], kernels=kernels)


def _color_lattice(images: UInt8[Tensor, "batch 3 height width"], params: CrfParams, kernels: Kernels) -> DeviceLattice:
    batch, _, height, width = images.shape
    positions = _positions(height, width, params.bilateral_sigma, images.device)
    colors = _over(images.flatten(2).transpose(1, 2).float(), params.color_sigma)
    features = torch.cat([positions.expand(batch, -1, -1), colors], 2)
    reach = [width / params.bilateral_sigma, height / params.bilateral_sigma] + [255 / params.color_sigma] * 3
    return build_lattice(features, reach, kernels=kernels)


def _positions(height: int, width: int, sigma: float, device: torch.device) -> Float32[Tensor, "pixels 2"]:
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return _over(torch.stack([x, y], -1).view(-1, 2), sigma)


def _over(values: Tensor, sigma: float) -> Tensor:
    """True division: on a GPU, torch divides by a Python number through its inverse, which rounds otherwise."""
    return values / torch.full((), sigma, dtype=values.dtype, device=values.device)

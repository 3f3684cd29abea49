"""The ways to fit masks to an image, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, UInt8
from torch import Tensor

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.crf.cuda import CudaCrf
from cutler_pl.maskcut.crf.guided import GuidedFilter
from cutler_pl.maskcut.crf.lattice_cuda import SOURCE
from cutler_pl.maskcut.crf.numba import NumbaCrf
from cutler_pl.maskcut.crf.params import CrfParams, GuidedParams
from cutler_pl.runtime.cuda_kernels import kernels_for


@runtime_checkable
class CrfBackend(Protocol):
    """A way to fit masks to an image, with its constants."""

    @property
    def params(self) -> CrfParams | GuidedParams:
        """Its constants."""
        ...

    def segment(
        self, images: UInt8[Tensor, "batch 3 height width"], masks: Bool[Tensor, "batch rounds height width"]
    ) -> Bool[Tensor, "batch rounds height width"]:
        """The masks fitted to their images, on the masks' device; holes may remain."""
        ...


@dataclass(frozen=True)
class AutoCrf:
    """The dense CRF by CUDA kernels for images on a GPU where CuPy is installed, else on the CPU: the same masks."""

    params: CrfParams

    def segment(
        self, images: UInt8[Tensor, "batch 3 height width"], masks: Bool[Tensor, "batch rounds height width"]
    ) -> Bool[Tensor, "batch rounds height width"]:
        """Most probable labelling of each mask after the mean-field iterations."""
        backend = NumbaCrf if kernels_for(SOURCE, images.device) is None else CudaCrf
        return backend(self.params).segment(images, masks)


@dataclass(frozen=True)
class NoRefinement:
    """The masks of patches as they are; holes are filled as after any refinement."""

    params: CrfParams

    def segment(
        self, images: UInt8[Tensor, "batch 3 height width"], masks: Bool[Tensor, "batch rounds height width"]
    ) -> Bool[Tensor, "batch rounds height width"]:
        """The masks given."""
        return masks


CRF_BACKENDS: Mapping[str, Callable[[CrfParams, GuidedParams], CrfBackend]] = MappingProxyType(
    {
        "auto": lambda crf, _: AutoCrf(crf),
        "cuda": lambda crf, _: CudaCrf(crf),
        "numba": lambda crf, _: NumbaCrf(crf),
        "guided": lambda _, guided: GuidedFilter(guided),
        "none": lambda crf, _: NoRefinement(crf),
    }
)


def build_crf_backend(
    backend: str = "auto", *, params: CrfParams | None = None, guided: GuidedParams | None = None
) -> CrfBackend:
    """Build a refinement by name.

    Args:
        backend: `auto`, `cuda` or `numba` for the dense CRF; `guided` for the guided filter, a cheap alternative;
            `none` keeps the masks of patches.
        params: Constants of the CRF; the original's where not given.
        guided: Constants of the guided filter.

    Raises:
        ConfigError: The backend is unknown.
    """
    if backend not in CRF_BACKENDS:
        raise ConfigError(f"unknown CRF backend {backend!r}; choose one of: {', '.join(CRF_BACKENDS)}")
    return CRF_BACKENDS[backend](params or CrfParams(), guided or GuidedParams())

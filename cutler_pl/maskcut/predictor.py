"""One batch of photos to refined masks: features, cut, upsampling, refinement, and a retry when memory runs out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from cutler_pl.maskcut.crf import CrfBackend, CrfParams, refine_masks
from cutler_pl.maskcut.ncut import EigenSolver
from cutler_pl.maskcut.params import MaskCutParams
from cutler_pl.maskcut.pipeline import maskcut
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

Extractor = Callable[[Tensor], Tensor]
"""Called on float RGB (batch, 3, height, width) in 0..1; gives patch features (batch, dim, h, w)."""


@dataclass(frozen=True)
class ImageMasks:
    """What MaskCut found in one photo, at the fixed size and on the CPU.

    Attributes:
        name: Path relative to the input's root.
        photo: The photo at the fixed size.
        eigenvectors: On the patch grid, positive on the object's side.
        ncut_values: λ₂ of each round, the relaxed normalised cut; NaN where there was nothing to cut.
        coarse: Masks before the refinement, without what earlier rounds found.
        refined: Masks after it; a rejected one is all False.
        dropped: Number of rounds that gave no mask, by reason.
    """

    name: str
    photo: UInt8[Tensor, "3 height width"]
    eigenvectors: Float[Tensor, "rounds h w"]
    ncut_values: Float[Tensor, " rounds"]
    coarse: Bool[Tensor, "rounds height width"]
    refined: Bool[Tensor, "rounds height width"]
    dropped: Mapping[str, int]


class MaskCutPredictor:
    """MaskCut and its refinement over batches; remembers how many photos fit into memory at once.

    Args:
        extractor: Gives the patch features.
        params: Constants of the cut.
        crf_params: Constants of the refinement.
        solver: As for `maskcut`.
        backend: As for `refine_masks`.
    """

    def __init__(
        self,
        extractor: Extractor,
        params: MaskCutParams,
        crf_params: CrfParams,
        *,
        solver: str | EigenSolver = "auto",
        backend: str | CrfBackend = "auto",
    ) -> None:
        self.extractor = extractor
        self.params = params
        self.crf_params = crf_params
        self._solver = solver
        self._backend = backend
        self._most_at_once: int | None = None
        self._no_mask = "repeated or small" if params.stop == "never" else "repeated, small, or none left"

    def find(self, names: Sequence[str], pixels: UInt8[Tensor, "batch 3 height width"]) -> list[ImageMasks | None]:
        """Find the masks of a batch of photos; None for a photo that alone is too large for the memory."""
        if not names:
            return []
        most = self._most_at_once or len(names)
        if len(names) > most:
            pieces = [slice(start, start + most) for start in range(0, len(names), most)]
            return [found for piece in pieces for found in self.find(names[piece], pixels[piece])]
        try:
            return [*self._find_together(names, pixels)]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the except clause, where the error no longer holds on to the tensors of the failed attempt.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(names) == 1:
            return [None]
        self._most_at_once = -(-len(names) // 2)
        log.warning("out of memory with %d photos at once: going on with %d", len(names), self._most_at_once)
        return self.find(names, pixels)

    def _find_together(self, names: Sequence[str], pixels: UInt8[Tensor, "batch 3 height width"]) -> list[ImageMasks]:
        cut = maskcut(self.extractor(pixels.float() / 255), self.params, solver=self._solver)
        apart = cut.masks & (cut.masks.int().cumsum(1) - cut.masks.int() == 0)  # the first to find a patch has it
        coarse = F.interpolate(apart.float(), pixels.shape[-2:], mode="nearest").bool()
        refined = refine_masks(pixels, coarse, backend=self._backend, params=self.crf_params)
        cut_out, separate, kept = (masks.flatten(2).any(2) for masks in (cut.masks, apart, refined))
        reasons = {
            self._no_mask: (~cut_out).sum(1).tolist(),
            "covered by earlier": (cut_out & ~separate).sum(1).tolist(),
            "not supported by the image": (separate & ~kept).sum(1).tolist(),
        }
        here = {
            "photo": pixels.cpu(),
            "eigenvectors": cut.eigenvectors.cpu(),
            "ncut_values": cut.diagnostics.eigenvalues.cpu(),
            "coarse": coarse.cpu(),
            "refined": refined.cpu(),
        }
        return [
            ImageMasks(
                name=name,
                dropped={reason: n[i] for reason, n in reasons.items() if n[i]},
                **{part: values[i] for part, values in here.items()},
            )
            for i, name in enumerate(names)
        ]


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of Python, torch or CuPy means that memory did not suffice."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)
    )

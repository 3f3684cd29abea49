"""One batch of images to refined masks: features, cut, upsampling, refinement, and a retry when memory runs out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float16, Float64, UInt8
from torch import Tensor
from torch.nn import functional as F

from cutler_pl.maskcut.crf import CrfBackend, build_crf_backend, refine_masks
from cutler_pl.maskcut.ncut import EigenSolver
from cutler_pl.maskcut.params import MaskCutParams
from cutler_pl.maskcut.pipeline import MaskCutResult, maskcut
from cutler_pl.ops.masks import paired_iou
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

Extractor = Callable[[Tensor], Tensor]
"""Called on float RGB (batch, 3, height, width) in 0..1; returns patch features (batch, dim, h, w)."""


@dataclass(frozen=True)
class ImageMasks:
    """The masks of one image; all but the image on the CPU.

    Attributes:
        name: Path relative to the input's root.
        image: The image at the fixed size, on the device of the run: only some images are looked at.
        eigenvectors: On the patch grid, positive on the object's side.
        ncut_values: λ₂ of each round, the relaxed normalised cut; NaN where there was nothing to cut.
        coarse: Masks before the refinement, on the patch grid, without what earlier rounds found.
        refined: Masks after it, at the fixed size; a rejected one is all False.
        agreements: IoU of each mask before and after the refinement; NaN where both are empty.
        dropped: Number of rounds without a mask, by reason.
        features: Of the patches, in half precision; None where nobody asked for them.
    """

    name: str
    image: UInt8[Tensor, "3 height width"]
    eigenvectors: Float[Tensor, "rounds h w"]
    ncut_values: Float[Tensor, " rounds"]
    coarse: Bool[Tensor, "rounds h w"]
    refined: Bool[Tensor, "rounds height width"]
    agreements: Float64[Tensor, " rounds"]
    dropped: Mapping[str, int]
    features: Float16[Tensor, "dim h w"] | None = None


class MaskCutPredictor:
    """MaskCut and its refinement over batches; remembers how many images fit into memory at once.

    Args:
        extractor: Computes the patch features.
        params: Constants of the cut.
        solver: As for `maskcut`.
        backend: As for `refine_masks`.
        keep_features: Return the patch features with the masks.
    """

    def __init__(
        self,
        extractor: Extractor,
        params: MaskCutParams,
        *,
        solver: str | EigenSolver = "auto",
        backend: str | CrfBackend = "auto",
        keep_features: bool = False,
    ) -> None:
        self.extractor = extractor
        self.params = params
        self.backend = build_crf_backend(backend) if isinstance(backend, str) else backend
        self._solver = solver
        self._keep_features = keep_features
        self._max_images: int | None = None

    def predict(self, names: Sequence[str], images: UInt8[Tensor, "batch 3 height width"]) -> list[ImageMasks | None]:
        """The masks of a batch of images; None for an image that alone is too large for the memory."""
        if not names:
            return []
        size = self._max_images or len(names)
        if len(names) > size:
            chunks = [slice(start, start + size) for start in range(0, len(names), size)]
            return [masks for chunk in chunks for masks in self.predict(names[chunk], images[chunk])]
        try:
            return [*self._predict_together(names, images)]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # outside of the except clause, where the error no longer holds the tensors of the failed attempt
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(names) == 1:
            return [None]
        self._max_images = -(-len(names) // 2)
        log.warning("out of memory with %d images at once: continuing with %d", len(names), self._max_images)
        return self.predict(names, images)

    def _predict_together(
        self, names: Sequence[str], images: UInt8[Tensor, "batch 3 height width"]
    ) -> list[ImageMasks]:
        features = self.extractor(images.float() / 255)
        cut = maskcut(features, self.params, solver=self._solver)
        separate = cut.masks & (cut.masks.int().cumsum(1) - cut.masks.int() == 0)  # the first to find a patch keeps it
        upsampled = F.interpolate(separate.float(), images.shape[-2:], mode="nearest").bool()
        refined = refine_masks(images, upsampled, backend=self.backend)
        agreements = paired_iou(upsampled, refined)
        dropped = self._drop_reasons(cut, separate, refined)
        fields = [_on_host(t) for t in (cut.eigenvectors, cut.ncut_values, separate, refined, agreements)]
        kept = _on_host(features.half()) if self._keep_features else [None] * len(names)
        return [ImageMasks(*one) for one in zip(names, images, *fields, dropped, kept, strict=True)]

    def _drop_reasons(
        self,
        cut: MaskCutResult,
        separate: Bool[Tensor, "batch rounds h w"],
        refined: Bool[Tensor, "batch rounds height width"],
    ) -> list[dict[str, int]]:
        """For each image, how many rounds have no mask, by reason."""
        found, left, kept = (masks.flatten(2).any(2) for masks in (cut.masks, separate, refined))
        counts = {
            "repeated or small" if self.params.stop == "never" else "repeated, small, or none left": ~found,
            "covered by earlier": found & ~left,
            "not supported by the image": left & ~kept,
        }
        per_image = zip(*(rounds.sum(1).tolist() for rounds in counts.values()), strict=True)
        return [{reason: n for reason, n in zip(counts, numbers, strict=True) if n} for numbers in per_image]


def _on_host(values: Tensor) -> Tensor:
    """A copy in page-locked memory, which torch reuses: a GPU fills it at the full rate of the bus."""
    if values.device.type != "cuda":
        return values.cpu()
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of Python, torch or CuPy means that memory did not suffice."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)
    )

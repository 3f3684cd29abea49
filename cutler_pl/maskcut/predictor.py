"""One batch of images to refined masks: features, candidates, upsampling, refinement; a retry when memory runs out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float16, Float64, UInt8
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from cutler_pl.maskcut.confidence import check_perturbable, confidence_maps
from cutler_pl.maskcut.crf import CrfBackend, build_crf_backend
from cutler_pl.maskcut.generator import Candidates, Generator, MaskCutGenerator
from cutler_pl.maskcut.ncut import EigenSolver
from cutler_pl.maskcut.params import MaskCutParams, PerturbedCuts
from cutler_pl.maskcut.refinement import refine_candidates
from cutler_pl.maskcut.scores import mask_score
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
        coarse: Masks before the refinement, on the generator's grid.
        refined: Masks after it, at the fixed size; a rejected one is all False.
        scores: Of the generator, from 0 to 1.
        agreements: IoU of each mask before and after the refinement; NaN where both are empty.
        provenance: How each mask was found, as `Candidates` describes it.
        dropped: Number of candidates without a mask, by reason.
        maps: What the masks were read from, by title, for figures.
        weigh_score: As in `RefinementPolicy`.
        features: Of the patches of the first backbone, in half precision; None where nobody asked for them.
        confidence: Of each patch of each mask before the refinement, 0 to 255 for 0 to 1; None where nobody asked for
            it.
    """

    name: str
    image: UInt8[Tensor, "3 height width"]
    coarse: Bool[Tensor, "masks h w"]
    refined: Bool[Tensor, "masks height width"]
    scores: Float64[Tensor, " masks"]
    agreements: Float64[Tensor, " masks"]
    provenance: Sequence[Mapping[str, Any]]
    dropped: Mapping[str, int]
    maps: Mapping[str, Float[Tensor, "_ _"]]
    weigh_score: bool = True
    features: Float16[Tensor, "dim _ _"] | None = None
    confidence: UInt8[Tensor, "masks h w"] | None = None

    def score(self, index: int, area_share: float) -> float:
        """Confidence in a mask, or in a part of it with this share of the image."""
        score = self.scores[index].item()
        return mask_score(score, self.agreements[index].item(), area_share) if self.weigh_score else score


class MaskPredictor:
    """A generator and the refinement over batches; remembers how many images fit into memory at once.

    Args:
        extractors: Compute the patch features, by the name of the backbone.
        generator: Finds masks in them.
        backend: As for `refine_masks`.
        keep_features: Return the patch features of the first backbone with the masks.
        confidence: How the confidence of each patch is found; None: it is not.

    Raises:
        ConfigError: The generator cannot be perturbed so.
    """

    def __init__(
        self,
        extractors: Mapping[str, Extractor],
        generator: Generator,
        *,
        backend: str | CrfBackend = "auto",
        keep_features: bool = False,
        confidence: PerturbedCuts | None = None,
    ) -> None:
        if confidence is not None:
            check_perturbable(generator, confidence)
        self.extractors = extractors
        self.generator = generator
        self.backend = build_crf_backend(backend) if isinstance(backend, str) else backend
        self.confidence = confidence
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
        pixels = images.float() / 255
        features = {name: extractor(pixels) for name, extractor in self.extractors.items()}
        with torch.autocast(images.device.type, enabled=False):
            candidates = self.generator.propose(images, features)
            maps = (
                None
                if self.confidence is None
                else confidence_maps(self.generator, images, features, candidates, params=self.confidence)
            )
        coarse = pad_sequence([one.masks for one in candidates], batch_first=True)
        policy = self.generator.policy
        refined = refine_candidates(
            images, _upsample(coarse, (images.shape[2], images.shape[3])), policy=policy, backend=self.backend
        )
        rejected = coarse.flatten(2).any(2) & ~refined.masks.flatten(2).any(2) & ~refined.is_left_out
        scores = pad_sequence([one.scores.double() for one in candidates], batch_first=True)
        host = _Host(
            coarse=_on_host(coarse),
            refined=_on_host(refined.masks),
            scores=_on_host(scores),
            agreements=_on_host(refined.agreements),
            is_rejected=_on_host(rejected),
            is_left_out=_on_host(refined.is_left_out),
            is_unrefined=_on_host(refined.is_unrefined),
            features=_on_host(next(iter(features.values())).half()) if self._keep_features else None,
            maps=_maps_on_host(candidates),
            confidence=None if maps is None else _on_host(pad_sequence(maps, batch_first=True)),
        )
        return [
            host.image_masks(i, name, image, found, weigh_score=policy.weigh_score)
            for i, (name, image, found) in enumerate(zip(names, images, candidates, strict=True))
        ]


@dataclass(frozen=True)
class _Host:
    """The tensors of a batch on the CPU, padded to the largest number of masks."""

    coarse: Bool[Tensor, "batch masks h w"]
    refined: Bool[Tensor, "batch masks height width"]
    scores: Float64[Tensor, "batch masks"]
    agreements: Float64[Tensor, "batch masks"]
    is_rejected: Bool[Tensor, "batch masks"]
    is_left_out: Bool[Tensor, "batch masks"]
    is_unrefined: Bool[Tensor, "batch masks"]
    features: Float16[Tensor, "batch dim _ _"] | None
    maps: Sequence[Mapping[str, Tensor]]
    confidence: UInt8[Tensor, "batch masks h w"] | None

    def image_masks(
        self, i: int, name: str, image: UInt8[Tensor, "3 height width"], found: Candidates, *, weigh_score: bool
    ) -> ImageMasks:
        """The masks of one image of the batch, of which `found` holds what no tensor says."""
        count = len(found.masks)
        reasons = {"not supported by the image": self.is_rejected, "too small or in corners": self.is_left_out}
        lost = {reason: number for reason, flags in reasons.items() if (number := int(flags[i].sum()))}
        gone = (self.is_rejected | self.is_left_out)[i, :count].tolist()
        notes = [{"refined": False} if flag else {} for flag in self.is_unrefined[i, :count].tolist()]
        return ImageMasks(
            name=name,
            image=image,
            coarse=self.coarse[i, :count],
            refined=self.refined[i, :count],
            scores=self.scores[i, :count],
            agreements=self.agreements[i, :count],
            provenance=[{**one, **note} for one, note in zip(_without(gone, found.provenance), notes, strict=True)],
            dropped={**found.dropped, **lost},
            maps=self.maps[i],
            weigh_score=weigh_score,
            features=None if self.features is None else self.features[i],
            confidence=None if self.confidence is None else self.confidence[i, :count],
        )


def _without(gone: Sequence[bool], provenance: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The provenance after masks are gone: their children belong to their parents."""
    result = []
    for one in provenance:
        parent = one.get("parent")
        while parent is not None and gone[parent - 1]:
            parent = provenance[parent - 1].get("parent")
        result.append(one if parent == one.get("parent") else {**one, "parent": parent})
    return result


def _upsample(
    masks: Bool[Tensor, "batch masks h w"], size_hw: tuple[int, int]
) -> Bool[Tensor, "batch masks height width"]:
    if not masks.numel():  # which interpolate refuses
        return masks.new_zeros(*masks.shape[:2], *size_hw)
    return F.interpolate(masks.float(), size_hw, mode="nearest").bool()


def _maps_on_host(candidates: Sequence[Candidates]) -> list[Mapping[str, Tensor]]:
    """The maps of each image, copied together: those of one generator have one size."""
    maps = [found.maps for found in candidates]
    if not maps[0]:
        return [*maps]
    copied = _on_host(torch.stack([torch.stack([*one.values()]) for one in maps]))
    return [dict(zip(titles, images, strict=True)) for titles, images in zip(maps, copied, strict=True)]


class MaskCutPredictor(MaskPredictor):
    """MaskCut and its refinement over batches.

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
        generator = MaskCutGenerator(params, solver=solver)
        super().__init__({"features": extractor}, generator, backend=backend, keep_features=keep_features)


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

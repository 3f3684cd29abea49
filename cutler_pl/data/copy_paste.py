"""Copy-paste augmentation on a batch: objects of one image are scaled and pasted into another (CutLER, section 3.4).

Image i of a batch of B receives objects of image B-1-i as it was before any pasting; in training such a batch is one
group (`data.group_size`). `draw_plan` makes the random choices on the CPU, `apply_plan` pastes on the device of the
images, so that a choice can be prescribed and tested. As in the original, the source image is scaled without regard to
aspect, and a random number of objects is never all.

Deviations from the original, undone by `CopyPasteParams(reproduce=True)`: a scaled mask is what is at least half
covered (there: any part, which lets objects grow), pixel values are rounded (there: cut off), copies whose mask
vanished are dropped (there: kept with the box 0, 0, 0, 0), and a target mask without pixels blocks nothing (there:
everything). Boxes come from the masks always; the original misplaces them on images without objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from types import EllipsisType
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from cutler_pl.coco.confidence import CERTAIN
from cutler_pl.data.pixel_confidence import blend, mean_confidence, pasted_confidence, target_confidence
from cutler_pl.errors import ConfigError
from cutler_pl.ops.boxes import masks_to_boxes
from cutler_pl.ops.masks import mask_intersections
from cutler_pl.runtime.ranges import Number, Share, check_fields
from cutler_pl.types import ImageTensor, Target, target_scores

SizeHW = tuple[int, int]
Window = tuple[EllipsisType, slice, slice]
Ratio = Annotated[float, Number(above=0, max=1)]


@dataclass(frozen=True, kw_only=True)
class CopyPasteParams:
    """Settings of copy-paste; the defaults are those of the ImageNet training (self-training: `ratio_min=0.5`).

    Args:
        rate: Share of images that are pasted into.
        ratio_min: Smallest size of the scaled source image as a share of the target's size.
        ratio_max: Largest size of the scaled source image as a share of the target's size.
        random_num: Paste a random number of objects, 1 to all but one; else all.
        max_ioa: Copies that cover this share or more of any object of the target are dropped.
        min_confidence: Objects whose pixels have less confidence than this on average are not pasted.
        blend: Pasted pixels are as opaque as they are certain; else all cover what is below them.
        reproduce: Repeat the original's errors, to check against it.
    """

    rate: Share = 1.0
    ratio_min: Ratio = 0.3
    ratio_max: Ratio = 1.0
    random_num: bool = True
    max_ioa: Annotated[float, Number(min=0, max=10)] = 0.5
    min_confidence: Share = 0.0
    blend: bool = False
    reproduce: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "augment.copy_paste.")
        if self.ratio_min > self.ratio_max:
            raise ConfigError(
                f"augment.copy_paste.ratio_min={self.ratio_min} and ratio_max={self.ratio_max} must rise within 0..1"
            )


@dataclass(frozen=True)
class Paste:
    """The random choices for one target image.

    Args:
        source: Position of the source image in the batch.
        objects: Its objects, in pasting order.
        size_hw: Size of the scaled source image, at most the target's.
        shift_yx: Position of its upper left corner in the target.
    """

    source: int
    objects: tuple[int, ...]
    size_hw: SizeHW
    shift_yx: tuple[int, int]


def copy_paste(
    images: Sequence[ImageTensor], targets: Sequence[Target], params: CopyPasteParams, generator: torch.Generator
) -> tuple[list[ImageTensor], list[Target]]:
    """Paste objects between the images of a batch, which may differ in size; the inputs are not modified.

    Returns:
        Images and targets on the same device: what is left of the target's objects, then the copies. Images that
        are not pasted into are returned as they are.
    """
    return apply_plan(images, targets, draw_plan(images, targets, params, generator), params)


def draw_plan(
    images: Sequence[ImageTensor], targets: Sequence[Target], params: CopyPasteParams, generator: torch.Generator
) -> list[Paste | None]:
    """Draw the choices for each target image; None where nothing is pasted."""
    plan: list[Paste | None] = []
    for i, image in enumerate(images):
        source = len(images) - 1 - i
        available = len(targets[source]["labels"])
        if available == 0 or _uniform(generator) >= params.rate:
            plan.append(None)
            continue
        number = available
        if params.random_num and available > 1:
            number = 1 + _integer(available - 1, generator)
        chosen = torch.randperm(available, generator=generator, device=generator.device)[:number].tolist()
        ratio = params.ratio_min + (params.ratio_max - params.ratio_min) * _uniform(generator)
        height, width = image.shape[1:]
        size_hw = scaled_size((height, width), ratio)
        shift_x = _integer(width - size_hw[1] + 1, generator)
        shift_y = _integer(height - size_hw[0] + 1, generator)
        plan.append(Paste(source, tuple(chosen), size_hw, (shift_y, shift_x)))
    return plan


def apply_plan(
    images: Sequence[ImageTensor], targets: Sequence[Target], plan: Sequence[Paste | None], params: CopyPasteParams
) -> tuple[list[ImageTensor], list[Target]]:
    """Paste as `draw_plan` chose, with one host–device synchronisation."""
    new_images, new_targets = list(images), list(targets)
    pasted = [
        (i, _paste(images[i], targets[i], images[paste.source], targets[paste.source], paste, params))
        for i, paste in enumerate(plan)
        if paste is not None
    ]
    flags = [flags for _, one in pasted for flags in (one.kept, one.left_over)]
    found = iter(torch.cat(flags).tolist() if flags else [])
    for i, one in pasted:
        kept, left_over = (_indices(list(islice(found, len(flags)))) for flags in (one.kept, one.left_over))
        if kept:
            new_images[i] = one.image
            new_targets[i] = one.target_with(targets[i], kept, left_over)
    return new_images, new_targets


def scaled_size(size_hw: SizeHW, ratio: float) -> SizeHW:
    """Height and width of a scaled source image: the share `ratio` of the target's, rounded down."""
    return max(int(ratio * size_hw[0]), 1), max(int(ratio * size_hw[1]), 1)


@dataclass(frozen=True)
class _Pasted:
    """An image with its copies, before the host knows which of them are kept."""

    image: ImageTensor
    masks: Bool[Tensor, "gt height width"]
    """Of the target's objects, without what copies cover."""
    left_over: Bool[Tensor, " gt"]
    copies: Bool[Tensor, "boxes h w"]
    labels: Int64[Tensor, " boxes"]
    scores: Float[Tensor, " boxes"]
    kept: Bool[Tensor, " boxes"]
    window: Window
    confidence: UInt8[Tensor, "gt height width"] | None
    """Of the target's objects; None where neither image has any."""
    copied_confidence: UInt8[Tensor, "boxes h w"] | None

    def target_with(self, target: Target, kept: list[int], left_over: list[int]) -> Target:
        """What is left of the target's objects, then the copies that are kept."""
        rows, old = (_to_device(indices, self.masks.device) for indices in (kept, left_over))
        new_masks = self.masks.new_zeros((len(kept), *self.masks.shape[1:]))
        new_masks[self.window] = self.copies[rows]
        masks = torch.cat([self.masks[old], new_masks])
        labels = torch.cat([target["labels"][old], self.labels[rows]])
        scores = torch.cat([target_scores(target)[old], self.scores[rows]])
        result: Target = {**target, "masks": masks, "labels": labels, "scores": scores, "boxes": masks_to_boxes(masks)}
        if self.confidence is not None and self.copied_confidence is not None:
            new = self.confidence.new_full(new_masks.shape, CERTAIN)
            new[self.window] = self.copied_confidence[rows]
            result["confidence"] = torch.cat([self.confidence[old], new])
        return result


def _paste(
    image: ImageTensor, target: Target, source_image: ImageTensor, source: Target, paste: Paste, params: CopyPasteParams
) -> _Pasted:
    (height, width), (top, left) = paste.size_hw, paste.shift_yx
    window = (..., slice(top, top + height), slice(left, left + width))  # all that can change lies inside
    chosen = _to_device(list(paste.objects), image.device)

    share = _scale(source["masks"][chosen], paste.size_hw)
    copies = share > 0 if params.reproduce else share >= 0.5
    kept = _uncovering(copies, target["masks"], window, params)
    if params.min_confidence and "confidence" in source:
        kept &= mean_confidence(source)[chosen] >= params.min_confidence
    if not params.reproduce:
        kept &= copies.any(dim=2).any(dim=1)

    covered = (copies & kept[:, None, None]).any(dim=0)
    pixels = _scale(source_image, paste.size_hw)
    confidence = copied_confidence = None
    if "confidence" in source or "confidence" in target:
        confidence = target_confidence(target).clone()
        confidence[window].masked_fill_(covered, CERTAIN)  # what is hidden is certainly not seen
        doubt = _scale(CERTAIN - target_confidence(source)[chosen], paste.size_hw)
        copied_confidence = pasted_confidence(doubt, copies)
        if params.blend:
            pixels = blend(pixels, image[window], copied_confidence, copies & kept[:, None, None])
    pixels = (pixels if params.reproduce else pixels.round()).clamp(0, 255).to(torch.uint8)
    new_image = image.clone()
    new_image[window] = torch.where(covered, pixels, image[window])

    masks = target["masks"].clone()
    masks[window] &= ~covered
    left_over = masks.any(dim=2).any(dim=1)
    labels, scores = source["labels"][chosen], target_scores(source)[chosen]
    return _Pasted(new_image, masks, left_over, copies, labels, scores, kept, window, confidence, copied_confidence)


def _indices(flags: Sequence[bool]) -> list[int]:
    return [i for i, flag in enumerate(flags) if flag]


def _to_device(indices: list[int], device: torch.device) -> Int64[Tensor, " chosen"]:
    """Without waiting for the device."""
    return torch.tensor(indices, dtype=torch.int64).to(device, non_blocking=True)


def _uncovering(
    copies: Bool[Tensor, "boxes h w"],
    masks: Bool[Tensor, "gt height width"],
    window: Window,
    params: CopyPasteParams,
) -> Bool[Tensor, " boxes"]:
    """Which copies leave enough of each of the target's objects visible."""
    if len(masks) == 0:
        return copies.new_ones(len(copies))
    shared = mask_intersections(copies, masks[window])
    areas = masks.sum(dim=(1, 2)).float()
    ioa = shared / (areas if params.reproduce else areas.clamp(min=1))
    return ioa.amax(dim=1) < params.max_ioa  # false for NaN, which an empty mask gives in the original


def _scale(planes: Tensor, size_hw: SizeHW) -> Float[Tensor, "planes h w"]:
    return F.interpolate(planes[None].float(), size=size_hw, mode="bilinear", align_corners=False)[0]


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, device=generator.device, dtype=torch.float64))


def _integer(stop: int, generator: torch.Generator) -> int:
    """A number of 0..stop-1."""
    return int(torch.randint(stop, (), generator=generator, device=generator.device))

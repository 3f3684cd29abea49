"""Refinement of candidate masks under the rules of their generator."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, UInt8
from torch import Tensor

from cutler_pl.maskcut.crf import CrfBackend, refine_masks
from cutler_pl.ops.boxes import box_iou, masks_to_boxes
from cutler_pl.ops.components import fill_holes
from cutler_pl.ops.masks import paired_iou

_MIN_BOX_IOU = 0.5


@dataclass(frozen=True, kw_only=True)
class RefinementPolicy:
    """What the refinement may do to the masks of a generator, and which of them are left out after it.

    Attributes:
        margin: The refinement sees a mask's box, grown by this share of its sides on each side, and a mask whose box
            it moves to an IoU below one half stays as it was. None: it sees the whole image, and a mask that it changes
            to an IoU below the backend's `min_iou` is rejected.
        min_area: Smallest area in pixels at the fixed size.
        max_corners: Most corners of the image that a mask may hold.
        weigh_score: Multiply the generator's score by the agreement with the refinement and a factor of the size.
    """

    margin: float | None = None
    min_area: int = 1
    max_corners: int = 4
    weigh_score: bool = True


@dataclass(frozen=True)
class Refined:
    """Masks of a batch after the refinement.

    Attributes:
        masks: A mask that was rejected or left out is all False.
        agreements: IoU of each mask before and after the refinement; NaN where both are empty.
        is_unrefined: Masks that stay as they were since the refinement lost them.
        is_left_out: Masks that survived the refinement but break the rules of area or corners.
    """

    masks: Bool[Tensor, "batch masks height width"]
    agreements: Float64[Tensor, "batch masks"]
    is_unrefined: Bool[Tensor, "batch masks"]
    is_left_out: Bool[Tensor, "batch masks"]


def refine_candidates(
    images: UInt8[Tensor, "batch 3 height width"],
    masks: Bool[Tensor, "batch masks height width"],
    *,
    policy: RefinementPolicy,
    backend: CrfBackend,
) -> Refined:
    """Fit masks to the edges of their images as the policy says; empty masks stay empty."""
    is_unrefined = torch.zeros(masks.shape[:2], dtype=torch.bool, device=masks.device)
    if policy.margin is None:
        refined = refine_masks(images, masks, backend=backend)
    else:
        refined, is_unrefined = _refine_in_boxes(images, masks, policy.margin, backend)
    agreements = paired_iou(masks, refined)
    is_left_out = is_unrefined.new_zeros(is_unrefined.shape)
    if policy.min_area > 1:
        is_left_out = is_left_out | (refined.flatten(2).sum(2) < policy.min_area)
    if policy.max_corners < 4:
        is_left_out = is_left_out | (refined[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].sum(2) > policy.max_corners)
    if policy.min_area > 1 or policy.max_corners < 4:
        is_left_out = is_left_out & refined.flatten(2).any(2)
        refined = refined & ~is_left_out[:, :, None, None]
    return Refined(refined, agreements, is_unrefined, is_left_out)


def _refine_in_boxes(
    images: UInt8[Tensor, "batch 3 height width"],
    masks: Bool[Tensor, "batch masks height width"],
    margin: float,
    backend: CrfBackend,
) -> tuple[Bool[Tensor, "batch masks height width"], Bool[Tensor, "batch masks"]]:
    """Refine each mask in its box, which has a size of its own; a box that moves too far keeps the mask given."""
    boxes = masks_to_boxes(masks.flatten(0, 1)).long().view(*masks.shape[:2], 4)
    height, width = masks.shape[-2:]
    refined = torch.zeros_like(masks)
    for image, number in masks.flatten(2).any(2).nonzero().tolist():
        left, top, right, bottom = boxes[image, number].tolist()
        over_x, over_y = (round(side * margin) for side in (right - left, bottom - top))
        rows = slice(max(0, top - over_y), min(height, bottom + over_y))
        columns = slice(max(0, left - over_x), min(width, right + over_x))
        crop = masks[image, number, rows, columns][None, None].contiguous()
        with torch.autocast(masks.device.type, enabled=False):
            segmented = backend.segment(images[image : image + 1, :, rows, columns].contiguous(), crop)
        refined[image, number, rows, columns] = fill_holes(segmented[0])[0]
    moved = masks_to_boxes(refined.flatten(0, 1)).view(*masks.shape[:2], 4)
    ious = box_iou(moved[:, :, None], boxes.float()[:, :, None])[..., 0, 0]
    is_unrefined = masks.flatten(2).any(2) & (ious < _MIN_BOX_IOU)
    return torch.where(is_unrefined[:, :, None, None], masks, refined), is_unrefined

"""Non-maximum suppression of many sorted groups of boxes at once.

On the CPU by torchvision's loop. On other devices, where that loop is one slow thread, by passes over all pairs with
the same result: after n passes the first n boxes of a group are final, and all are once a pass changes nothing.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.ops import nms

from cutler_pl.ops.boxes import box_iou

_PAIRS_AT_ONCE = 2**26
_PASSES_BETWEEN_CHECKS = 4


def nms_sorted(
    boxes: Float[Tensor, "groups boxes 4"], valid: Bool[Tensor, "groups boxes"], threshold: float
) -> Bool[Tensor, "groups boxes"]:
    """Which boxes are kept.

    Args:
        boxes: Boxes of each group, best first.
        valid: Boxes that count; the others are dropped.
        threshold: IoU above which the later of two boxes is suppressed.
    """
    if boxes.device.type == "cpu":
        return _nms_by_loop(boxes, valid, threshold)
    groups = max(1, _PAIRS_AT_ONCE // max(1, boxes.shape[1] ** 2))
    parts = zip(torch.split(boxes, groups), torch.split(valid, groups), strict=True)
    return torch.cat([nms_by_passes(*part, threshold) for part in parts])


def nms_by_passes(
    boxes: Float[Tensor, "groups boxes 4"], valid: Bool[Tensor, "groups boxes"], threshold: float
) -> Bool[Tensor, "groups boxes"]:
    """As `nms_sorted`, by repeated passes over all pairs."""
    precision = torch.float32 if boxes.device.type == "cpu" else torch.float16
    overlaps = (box_iou(boxes, boxes) > threshold).triu(diagonal=1).to(precision)
    keep = valid
    while True:
        before = keep
        for _ in range(_PASSES_BETWEEN_CHECKS):
            suppressed = torch.bmm(keep[:, None].to(precision), overlaps)[:, 0] > 0
            keep = valid & ~suppressed
        if torch.equal(keep, before):
            return keep


def _nms_by_loop(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor:
    keep = torch.zeros_like(valid)
    for group, (group_boxes, group_valid) in enumerate(zip(boxes, valid, strict=True)):
        indices = torch.nonzero(group_valid)[:, 0]
        falling = -torch.arange(indices.shape[0], dtype=boxes.dtype)
        keep[group, indices[nms(group_boxes[indices], falling, threshold)]] = True
    return keep

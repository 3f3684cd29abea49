"""Test-time augmentation: a detector sees an image several times, flipped and at other sizes, and the views are merged.

Boxes are merged by Soft-NMS or weighted boxes fusion, class by class. A mask is the mean of the masks of its object in
all views, weighted by their scores, as probabilities on the cells of the merged box.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from cutler_pl.models.config import DetectorConfig
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.detector import Detector
from cutler_pl.ops.boxes import box_iou
from cutler_pl.ops.paste import resample_masks
from cutler_pl.ops.soft_nms import Decay, soft_nms
from cutler_pl.ops.weighted_boxes import weighted_boxes_fusion
from cutler_pl.runtime.ranges import ListOf, Number, Share, check_fields

Merge = Literal["soft_nms", "weighted_boxes"]
Scales = Annotated[Sequence[float], ListOf(Number(min=0.1, max=4), 1, 16, as_tuple=True)]


@dataclass(frozen=True, kw_only=True)
class TtaParams:
    """Which views a detector sees, and how their detections become those of the image.

    Args:
        flip: See each image mirrored left to right, too.
        scales: Multiples of the test size, one view each, two with `flip`.
        merge: `soft_nms` (Bodla et al., 2017): the best box stays, others lose score; `weighted_boxes` (Solovyev et
            al., 2021): the weighted mean of an object's boxes, its score times the share of views that show it.
        iou_threshold: IoU above which boxes of a class show one object: fused by `weighted_boxes`; with both, their
            masks are averaged.
        decay: How `soft_nms` lowers scores.
        sigma: Of the Gaussian decay.
        decay_iou: IoU from which the linear decay lowers scores.
    """

    flip: bool = True
    scales: Scales = (1.0,)
    merge: Merge = "soft_nms"
    iou_threshold: Share = 0.55
    decay: Decay = "gaussian"
    sigma: Annotated[float, Number(above=0, max=100)] = 0.5
    decay_iou: Share = 0.3

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def views(self) -> list[tuple[float, bool]]:
        """Scale of each view, and whether it is mirrored."""
        return list(product(self.scales, (False, True) if self.flip else (False,)))


class AugmentedDetector(nn.Module):
    """A detector that sees each image in several views.

    Args:
        detector: In evaluation mode.
        params: Views, and how they are merged.
    """

    def __init__(self, detector: Detector, params: TtaParams) -> None:
        super().__init__()
        self.detector = detector
        self.params = params

    @property
    def config(self) -> DetectorConfig:
        """Of the detector."""
        return self.detector.config

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor], *, score_threshold: float | None = None) -> list[CompactPrediction]:
        """As `Detector.predict`; one view of all images goes through the network at a time.

        The threshold is for the merged scores: a higher one only leaves detections out.
        """
        threshold = self.config.score_threshold if score_threshold is None else score_threshold
        views = [self.view(images, scale=scale, flip=flip) for scale, flip in self.params.views]
        of_images = list(zip(*views, strict=True))
        return merge_views(of_images, self.params, score_threshold=threshold, max_detections=self.config.max_detections)

    forward = predict

    @torch.no_grad()
    def view(self, images: Sequence[Tensor], *, scale: float, flip: bool) -> list[CompactPrediction]:
        """All detections of one view, whatever their score, in the pixels of the images."""
        shown = [image.flip(-1) for image in images] if flip else images
        found = self.detector.predict(shown, score_threshold=0.0, scale=scale)
        return [_mirror(one) for one in found] if flip else found


def merge_views(
    images: Sequence[Sequence[CompactPrediction]], params: TtaParams, *, score_threshold: float, max_detections: int
) -> list[CompactPrediction]:
    """The detections of each image from those of its views.

    Args:
        images: Of each image, the detections of `params.views`.
        params: How they are merged.
        score_threshold: Merged scores must be above it.
        max_detections: Most detections per image.
    """
    found = [_join(views) for views in images]
    merged = _merge(found, params) if found else []
    return [
        _select(*pair, score_threshold=score_threshold, max_detections=max_detections)
        for pair in zip(found, merged, strict=True)
    ]


class _Merged(NamedTuple):
    """Merged detections of an image, at the places of those that they come from."""

    boxes: Float[Tensor, "boxes 4"]
    scores: Float[Tensor, " boxes"]
    same: Bool[Tensor, "boxes boxes"]
    """Whose masks (columns) make the mask of each (row)."""


def _merge(found: Sequence[CompactPrediction], params: TtaParams) -> list[_Merged]:
    """Merge boxes and scores of all views of each image, on the CPU: hundreds of small steps, one after another."""
    boxes, scores, labels = (
        pad_sequence([one[key].cpu() for one in found], batch_first=True) for key in ("boxes", "scores", "labels")
    )
    boxes, scores = boxes.float(), scores.float()
    if params.merge == "weighted_boxes":
        fused = weighted_boxes_fusion(
            boxes, scores, labels, num_views=len(params.views), iou_threshold=params.iou_threshold
        )
        boxes, scores = fused.boxes, fused.scores
        places = torch.arange(boxes.shape[1])
        same = fused.clusters[:, None] == places[:, None]
    else:
        scores = soft_nms(boxes, scores, labels, decay=params.decay, sigma=params.sigma, iou_threshold=params.decay_iou)
        same = (box_iou(boxes, boxes) > params.iou_threshold) & (labels[:, :, None] == labels[:, None])
        same |= torch.eye(boxes.shape[1], dtype=torch.bool)
    counts = [len(one["scores"]) for one in found]
    return [_Merged(boxes[i, :n], scores[i, :n], same[i, :n, :n]) for i, n in enumerate(counts)]


def _select(
    found: CompactPrediction, merged: _Merged, *, score_threshold: float, max_detections: int
) -> CompactPrediction:
    """The best merged detections above the threshold, each with its mask."""
    ranked, order = merged.scores.sort(descending=True, stable=True)
    keep = order[ranked > score_threshold][:max_detections]
    device = found["boxes"].device
    rows, members = (index.to(device) for index in merged.same[keep].nonzero(as_tuple=True))
    boxes = merged.boxes[keep].to(found["boxes"])
    weights = found["scores"].float()[members]
    masks = resample_masks(found["mask_probabilities"][members], found["boxes"][members], boxes[rows])
    size = masks.shape[1:]
    sums = masks.new_zeros(len(keep), *size).index_add_(0, rows, masks * weights[:, None, None])
    totals = weights.new_zeros(len(keep)).index_add_(0, rows, weights)
    return CompactPrediction(
        boxes=boxes,
        scores=merged.scores[keep].to(found["scores"]),
        labels=found["labels"][keep.to(device)],
        mask_probabilities=sums / totals[:, None, None],
        size_hw=found["size_hw"],
    )


def _mirror(prediction: CompactPrediction) -> CompactPrediction:
    """Detections of the mirrored image."""
    x0, y0, x1, y1 = prediction["boxes"].unbind(1)
    width = prediction["size_hw"][1]
    return CompactPrediction(
        boxes=torch.stack([width - x1, y0, width - x0, y1], dim=1),
        scores=prediction["scores"],
        labels=prediction["labels"],
        mask_probabilities=prediction["mask_probabilities"].flip(-1),
        size_hw=prediction["size_hw"],
    )


def _join(views: Sequence[CompactPrediction]) -> CompactPrediction:
    """All detections of the views of an image."""
    return CompactPrediction(
        boxes=torch.cat([one["boxes"] for one in views]),
        scores=torch.cat([one["scores"] for one in views]),
        labels=torch.cat([one["labels"] for one in views]),
        mask_probabilities=torch.cat([one["mask_probabilities"] for one in views]),
        size_hw=views[0]["size_hw"],
    )

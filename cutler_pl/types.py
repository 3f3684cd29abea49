"""What passes between the stages, and the one vocabulary of tensor axes.

Axes (jaxtyping strings): `batch` images of a batch; `rounds` MaskCut's rounds of one image; `channels` colour or
feature channels; `dim` the feature dimension of a patch; `patches` = `h * w` patches of a grid; `height width`
(`H W` in prose) pixels; `boxes` boxes of one image; `gt` ground-truth objects of one image. Boxes are absolute
xyxy pixels, upper-left corner inclusive and lower-right exclusive, unless a name says `xywh`.
"""

from typing import NotRequired, TypedDict

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

ImageTensor = UInt8[Tensor, "3 _height _width"]
"""An RGB image in 0..255; the leading underscores let the images of one list have different sizes."""


class Target(TypedDict):
    """Ground truth, or pseudo ground truth, of one image."""

    boxes: Float[Tensor, "gt 4"]
    labels: Int64[Tensor, " gt"]
    masks: Bool[Tensor, "gt height width"]
    image_id: NotRequired[int]
    scores: NotRequired[Float[Tensor, " gt"]]
    """How far each object can be trusted, from 0 to 1; 1 for all where there are none."""
    confidence: NotRequired[UInt8[Tensor, "gt height width"]]
    """How far each pixel of each mask can be trusted, 0 to 255 for 0 to 1; 255 for all where there is none."""
    ignore_iou: NotRequired[float]
    """The image may hold further objects: regions whose IoU with each of these is at most this give no loss of classes
    and objectness. Without it all regions count."""


def target_scores(target: Target) -> Float[Tensor, " gt"]:
    """The scores of a target's objects: 1 for each where it has none."""
    return target["scores"] if "scores" in target else torch.ones_like(target["labels"], dtype=torch.float32)


class Prediction(TypedDict):
    """Detections of one image in the pixels of the image that was given; labels count from 1."""

    boxes: Float[Tensor, "boxes 4"]
    scores: Float[Tensor, " boxes"]
    labels: Int64[Tensor, " boxes"]
    masks: Bool[Tensor, "boxes height width"]

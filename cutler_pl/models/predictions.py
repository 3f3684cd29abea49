"""Predictions as steps hand them on: with full-size masks, or with the mask head's, made large only where used."""

from collections.abc import Sequence
from typing import cast

from jaxtyping import Bool, Int64
from torch import Tensor

from cutler_pl.models.detections import CompactPrediction
from cutler_pl.ops.paste import paste_masks
from cutler_pl.types import Prediction

AnyPrediction = Prediction | CompactPrediction
Predictions = Sequence[AnyPrediction]


def full_masks(prediction: AnyPrediction, index: Int64[Tensor, " chosen"]) -> Bool[Tensor, "chosen height width"]:
    """Masks, in the size of the image, of the detections with these indices."""
    if "mask_probabilities" not in prediction:
        return prediction["masks"][index]
    compact = cast(CompactPrediction, prediction)
    return paste_masks(compact["mask_probabilities"][index], compact["boxes"][index], compact["size_hw"])

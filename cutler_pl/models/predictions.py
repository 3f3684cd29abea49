"""From the mask head's small masks to full-size ones and to COCO results, a few masks in memory at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cutler_pl.coco import rle
from cutler_pl.coco.schema import RLE, Result
from cutler_pl.errors import ConfigError
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.tiled import EncodedPrediction
from cutler_pl.ops.paste import paste_crops, paste_masks


def full_masks(prediction: CompactPrediction, index: Int64[Tensor, " chosen"]) -> Bool[Tensor, "chosen height width"]:
    """Masks, in the size of the image, of the detections with these indices."""
    return paste_masks(prediction["mask_probabilities"][index], prediction["boxes"][index], prediction["size_hw"])


def dense_masks(
    prediction: CompactPrediction | EncodedPrediction, index: Int64[Tensor, " chosen"]
) -> Bool[Tensor, "chosen height width"]:
    """As `full_masks`, of run lengths, too; on the device of the boxes."""
    if "mask_probabilities" in prediction:
        return full_masks(prediction, index)
    masks = [torch.from_numpy(rle.decode(prediction["masks"][i])) for i in index.tolist()]
    empty = torch.zeros((0, *prediction["size_hw"]), dtype=torch.bool)
    return (torch.stack(masks) if masks else empty).to(prediction["boxes"].device)


def best_first(prediction: CompactPrediction | EncodedPrediction) -> Int64[Tensor, " chosen"]:
    """Indices of the detections from the highest score down; equal scores keep the model's order."""
    return torch.sort(prediction["scores"].float(), descending=True, stable=True).indices


def encode_masks(prediction: CompactPrediction | EncodedPrediction, index: Int64[Tensor, " chosen"]) -> list[RLE]:
    """Full-size masks of the detections with these indices as run lengths; dense are the pixels that a box reaches."""
    if "masks" in prediction:
        return [prediction["masks"][i] for i in index.tolist()]
    probabilities, boxes = prediction["mask_probabilities"][index].cpu(), prediction["boxes"][index].cpu()
    size_hw = prediction["size_hw"]
    crops = paste_crops(probabilities, boxes, size_hw)
    return [rle.encode_at(mask.numpy(), top, left, size_hw=size_hw) for mask, top, left in crops]


def to_coco_results(
    prediction: CompactPrediction | EncodedPrediction, image_id: int, *, category_ids: Sequence[int] | None = None
) -> list[Result]:
    """COCO results of one image, best first.

    Args:
        prediction: Detections of the image.
        image_id: Its id.
        category_ids: Category id of label 1, 2, …; None where labels are category ids already.

    Raises:
        ConfigError: A label has no category id.
    """
    index = best_first(prediction)
    labels = prediction["labels"][index].cpu().tolist()
    return coco_results(
        image_id,
        boxes=prediction["boxes"][index].float().cpu(),
        scores=prediction["scores"][index].float().cpu(),
        category_ids=[_category_id(label, category_ids) for label in labels],
        masks=encode_masks(prediction, index),
    )


def coco_results(
    image_id: int,
    *,
    boxes: Float[Tensor, "boxes 4"],
    scores: Float[Tensor, " boxes"],
    category_ids: Sequence[int],
    masks: Sequence[RLE],
) -> list[Result]:
    """COCO results from CPU tensors; numbers are the shortest that read back as the same float32.

    Args:
        boxes: Pixels, xyxy.
    """
    corners = boxes.numpy()
    sides = corners[:, 2:] - corners[:, :2]
    return [
        Result(
            image_id=image_id,
            category_id=category_id,
            bbox=[_short(value) for value in (*corner[:2], *side)],
            score=_short(score),
            segmentation=mask,
        )
        for corner, side, score, category_id, mask in zip(
            corners, sides, scores.numpy(), category_ids, masks, strict=True
        )
    ]


def _category_id(label: int, category_ids: Sequence[int] | None) -> int:
    if category_ids is None:
        return label
    if not 1 <= label <= len(category_ids):
        raise ConfigError(
            f"the model gives label {label}, but category ids are known for 1 to {len(category_ids)}: "
            "the checkpoint and the annotations are of different classes"
        )
    return category_ids[label - 1]


def _short(value: np.float32) -> float:
    """The shortest decimal number that reads back as the same float32."""
    return float(str(value))

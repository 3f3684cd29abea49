"""From the mask head's small masks to full-size ones and to COCO results, a few masks in memory at a time."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from cutler_pl.coco import rle
from cutler_pl.coco.schema import Result
from cutler_pl.errors import ConfigError
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.ops.paste import paste_masks

_MASKS_AT_ONCE = 8  # full-size masks of one image in memory


def full_masks(prediction: CompactPrediction, index: Int64[Tensor, " chosen"]) -> Bool[Tensor, "chosen height width"]:
    """Masks, in the size of the image, of the detections with these indices."""
    return paste_masks(prediction["mask_probabilities"][index], prediction["boxes"][index], prediction["size_hw"])


def to_coco_results(
    prediction: CompactPrediction,
    image_id: int,
    *,
    category_ids: Sequence[int] | None = None,
    score_threshold: float = 0.0,
    max_detections: int | None = None,
) -> list[Result]:
    """COCO results of one image, best first; equal scores keep the model's order.

    Args:
        prediction: Detections of the image.
        image_id: Its id.
        category_ids: Category id of label 1, 2, …; None where labels are category ids already.
        score_threshold: Detections with a lower score are left out.
        max_detections: At most so many detections, the best ones; None for all.

    Raises:
        ConfigError: A label has no category id.
    """
    scores = prediction["scores"].float()
    order = torch.sort(scores, descending=True, stable=True).indices
    index = order[scores[order] >= score_threshold][:max_detections]
    boxes = prediction["boxes"][index].float().cpu().numpy()
    labels = prediction["labels"][index].cpu().tolist()
    chosen_scores = scores[index].cpu().numpy()
    results: list[Result] = []
    for number, mask in enumerate(_masks(prediction, index)):
        x0, y0, x1, y1 = boxes[number]
        results.append(
            {
                "image_id": image_id,
                "category_id": _category_id(labels[number], category_ids),
                "bbox": [_short(value) for value in (x0, y0, x1 - x0, y1 - y0)],
                "score": _short(chosen_scores[number]),
                "segmentation": rle.encode(mask),
            }
        )
    return results


def _category_id(label: int, category_ids: Sequence[int] | None) -> int:
    if category_ids is None:
        return label
    if not 1 <= label <= len(category_ids):
        raise ConfigError(
            f"the model gives label {label}, but category ids are known for 1 to {len(category_ids)}: "
            "the checkpoint and the annotations are of different classes"
        )
    return category_ids[label - 1]


def _masks(prediction: CompactPrediction, index: Int64[Tensor, " boxes"]) -> Iterator[Bool[np.ndarray, "height width"]]:
    """Full-size masks of some detections, a few in memory at a time."""
    for start in range(0, len(index), _MASKS_AT_ONCE):
        yield from full_masks(prediction, index[start : start + _MASKS_AT_ONCE]).cpu().numpy()


def _short(value: np.float32) -> float:
    """The shortest decimal number that reads back as the same float32."""
    return float(str(value))

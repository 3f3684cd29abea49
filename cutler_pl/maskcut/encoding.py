"""From refined masks at the fixed size to annotations in the photo's own pixels.

As the original does it, by default. Beyond the original, on request: a score a mask, an annotation of its own for each
disconnected part, a smallest area.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.coco.schema import ShardAnnotation
from cutler_pl.errors import ConfigError

_SPECK_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class AnnotationParams:
    """What is written of a mask beyond the original's annotation; nothing by default.

    Attributes:
        scores: Write a score from 0 to 1, see `mask_score`.
        split_parts: Make each 4-connected part of a mask an annotation of its own.
        min_area: Leave out masks, or parts, that cover less than this share of the photo.
    """

    scores: bool = False
    split_parts: bool = False
    min_area: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_area < 1:
            raise ConfigError(f"annotation.min_area is {self.min_area}; a share of the photo lies in 0 ≤ min_area < 1")


def annotate(
    refined: Bool[np.ndarray, "rounds height width"],
    size_hw: tuple[int, int],
    *,
    coarse: Bool[np.ndarray, "rounds height width"] | None = None,
    ncut_values: Float[np.ndarray, " rounds"] | None = None,
    params: AnnotationParams | None = None,
) -> tuple[list[ShardAnnotation], Counter[str]]:
    """Resize the masks of one image as the original does, and encode them.

    The 0/255 mask is resized bicubically in 8 bits, and what is above half of its maximum is the object: a mask that
    shrinks to a faint spot stays a spot instead of vanishing.

    Args:
        refined: Masks after the refinement; empty ones are passed over.
        size_hw: Height and width of the photo.
        coarse: Masks before it, for scores.
        ncut_values: λ₂ of each round, for scores.
        params: What is written beyond the original's annotation.

    Returns:
        Annotations, and how many masks or parts were left out, by reason.

    Raises:
        ConfigError: Scores are asked for without what they are made of.
    """
    params = params or AnnotationParams()
    if params.scores and (coarse is None or ncut_values is None):
        raise ConfigError("a score needs the masks before the refinement and the values of the cuts")
    annotations: list[ShardAnnotation] = []
    left_out: Counter[str] = Counter()
    for number, mask in enumerate(refined):
        if not mask.any():
            continue
        for part in _parts(mask) if params.split_parts else (mask,):
            encoded = rle.encode(_resized(part, size_hw))
            area = rle.area(encoded)
            if not area:
                left_out["vanished when resized"] += 1
                continue
            if area < params.min_area * size_hw[0] * size_hw[1]:
                left_out["below the smallest area"] += 1
                continue
            annotation: ShardAnnotation = {"area": area, "bbox": rle.bbox(encoded), "segmentation": encoded}
            if params.scores and coarse is not None and ncut_values is not None:
                agreement = _iou(mask, coarse[number])
                annotation["score"] = round(mask_score(float(ncut_values[number]), agreement, float(part.mean())), 4)
            annotations.append(annotation)
    return annotations, left_out


def mask_score(ncut_value: float, agreement: float, area_share: float) -> float:
    """How much a mask is to be trusted, from 0 to 1: the product of three doubts. A heuristic of this project.

    Args:
        ncut_value: λ₂ of the cut, 0 where object and rest are two pieces; 1 and more is noise.
        agreement: IoU of the mask before and after the refinement: the image's edges support it.
        area_share: Share of the image: masks below 2 % are often specks, masks of most of it are background.
    """
    clear = 1.0 - min(max(ncut_value, 0.0), 1.0)
    size = min(1.0, area_share / _SPECK_SHARE) ** 0.5 * (1.0 - area_share)
    return float(clear * agreement * size)


def _parts(mask: Bool[np.ndarray, "height width"]) -> Iterator[Bool[np.ndarray, "height width"]]:
    labels, count = scipy.ndimage.label(mask)
    return (labels == number for number in range(1, count + 1))


def _resized(mask: Bool[np.ndarray, "height width"], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    square = Image.fromarray(mask.astype(np.uint8) * 255)
    grey = np.asarray(square.resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC))
    above: Bool[np.ndarray, "h w"] = grey > grey.max() / 2
    return above


def _iou(a: Bool[np.ndarray, "height width"], b: Bool[np.ndarray, "height width"]) -> float:
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 0.0

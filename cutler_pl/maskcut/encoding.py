"""From refined masks at the fixed size to annotations in the image's own pixels.

By default as the original does it. Optional: a score per mask, one annotation per connected component, a minimum area.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from cutler_pl.coco import rle
from cutler_pl.coco.schema import Instance
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.maskcut.predictor import ImageMasks
from cutler_pl.maskcut.scores import mask_score
from cutler_pl.ops.components import label_components
from cutler_pl.ops.masks import paired_iou


def encode_masks(
    found: ImageMasks, size_hw: tuple[int, int], *, params: AnnotationParams | None = None
) -> tuple[list[Instance], Counter[str]]:
    """Resize the refined masks of one image as the original does, and encode them.

    The 0/255 mask is resized bicubically in 8 bits and thresholded at half of its maximum: a mask that shrinks to a
    faint spot stays a spot instead of vanishing.

    Args:
        found: Masks of the image; empty ones are skipped.
        size_hw: Height and width of the image file.
        params: Extensions of the original's annotation.

    Returns:
        Annotations, and how many masks or components were dropped, by reason.
    """
    params = params or AnnotationParams()
    annotations: list[Instance] = []
    dropped: Counter[str] = Counter()
    agreements = paired_iou(found.coarse, found.refined).tolist()
    for mask, agreement, ncut_value in zip(found.refined, agreements, found.ncut_values.tolist(), strict=True):
        if not np.count_nonzero(mask):  # torch needs half a millisecond for it
            continue
        for component in _components(mask) if params.split_parts else (mask,):
            encoded = rle.encode(_resize(component.numpy(), size_hw))
            area = rle.area(encoded)
            if not area:
                dropped["vanished when resized"] += 1
                continue
            if area < params.min_area * size_hw[0] * size_hw[1]:
                dropped["below the smallest area"] += 1
                continue
            annotation: Instance = {"area": area, "bbox": rle.bbox(encoded), "segmentation": encoded}
            if params.scores:
                area_share = component.double().mean().item()
                annotation["score"] = round(mask_score(ncut_value, agreement, area_share), 4)
            annotations.append(annotation)
    return annotations, dropped


def _components(mask: Bool[Tensor, "height width"]) -> Iterator[Bool[Tensor, "height width"]]:
    labels = label_components(mask[None])[0]
    return (labels == label for label in sorted(set(labels[mask].tolist())))


def _resize(mask: Bool[np.ndarray, "height width"], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    square = Image.fromarray(mask.astype(np.uint8) * 255)
    grey = np.asarray(square.resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC))
    above: Bool[np.ndarray, "h w"] = grey > grey.max() / 2
    return above

"""From refined masks at the fixed size to annotations in the photo's own pixels."""

import numpy as np
from jaxtyping import Bool
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.coco.shards import ShardAnnotation


def annotate(
    masks: Bool[np.ndarray, "rounds height width"], size_hw: tuple[int, int]
) -> tuple[list[ShardAnnotation], int]:
    """Resize the masks of one image as the original does, and encode them.

    The 0/255 mask is resized bicubically in 8 bits, and what is above half of its maximum is the object: a mask that
    shrinks to a faint spot stays a spot instead of vanishing.

    Args:
        masks: Refined masks; empty ones are passed over.
        size_hw: Height and width of the photo.

    Returns:
        Annotations, and how many masks vanished when resized.
    """
    annotations: list[ShardAnnotation] = []
    vanished = 0
    for mask in masks:
        if not mask.any():
            continue
        square = Image.fromarray(mask.astype(np.uint8) * 255)
        grey = np.asarray(square.resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC))
        encoded = rle.encode(grey > grey.max() / 2)
        if area := rle.area(encoded):
            annotations.append({"area": area, "bbox": rle.bbox(encoded), "segmentation": encoded})
        else:
            vanished += 1
    return annotations, vanished

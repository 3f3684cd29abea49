"""From refined masks at the fixed size to annotations in the image's own pixels.

By default as the original does it. Optional: a score per mask, one annotation per connected component, a minimum area.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from cutler_pl.coco import rle
from cutler_pl.coco.schema import RLE, Instance
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.maskcut.predictor import ImageMasks
from cutler_pl.maskcut.scores import mask_score
from cutler_pl.ops.components import label_components
from cutler_pl.ops.tile_merge import Part, merge_parts
from cutler_pl.ops.tiles import Window


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
    encoded = ((rle.encode(_resize(mask, size_hw)), score) for mask, score in _scored_masks(found, params))
    return _annotate(encoded, size_hw, params)


def encode_tiles(
    found: Sequence[ImageMasks],
    windows: Sequence[Window],
    size_hw: tuple[int, int],
    *,
    params: AnnotationParams | None = None,
) -> tuple[list[Instance], Counter[str]]:
    """As `encode_masks`, for an image that was cut in tiles; an object that several tiles show is one annotation.

    Args:
        found: Masks of each tile.
        windows: The tiles.
        size_hw: Height and width of the image file.
        params: Extensions of the original's annotation.
    """
    params = params or AnnotationParams()
    parts = [
        part
        for tile, (masks, window) in enumerate(zip(found, windows, strict=True))
        for mask, score in _scored_masks(masks, params)
        if (part := _part(tile, window, mask, score)) is not None
    ]
    objects = merge_parts(parts, windows)
    encoded = ((rle.encode_at(*one.mask(), size_hw=size_hw), one.best.score) for one in objects)
    return _annotate(encoded, size_hw, params)


def _scored_masks(
    found: ImageMasks, params: AnnotationParams
) -> Iterator[tuple[Bool[np.ndarray, "height width"], float]]:
    values = zip(found.refined, found.agreements.tolist(), found.ncut_values.tolist(), strict=True)
    for mask, agreement, ncut_value in values:
        if not np.count_nonzero(mask):  # torch needs half a millisecond for it
            continue
        for component in _components(mask) if params.split_parts else (mask,):
            yield component.numpy(), mask_score(ncut_value, agreement, component.double().mean().item())


def _annotate(
    encoded: Iterable[tuple[RLE, float]], size_hw: tuple[int, int], params: AnnotationParams
) -> tuple[list[Instance], Counter[str]]:
    annotations: list[Instance] = []
    dropped: Counter[str] = Counter()
    for mask, score in encoded:
        area = rle.area(mask)
        if not area:
            dropped["vanished when resized"] += 1
        elif area < params.min_area * size_hw[0] * size_hw[1]:
            dropped["below the smallest area"] += 1
        else:
            annotation: Instance = {"area": area, "bbox": rle.bbox(mask), "segmentation": mask}
            if params.scores:
                annotation["score"] = round(score, 4)
            annotations.append(annotation)
    return annotations, dropped


def _part(tile: int, window: Window, mask: Bool[np.ndarray, "height width"], score: float) -> Part | None:
    """A mask of a tile in the pixels of the image; None where nothing is left of it."""
    pixels = _resize(mask, (window.bottom - window.top, window.right - window.left))
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    place = Window(*(int(v) for v in (window.top + top, window.left + left, window.top + bottom, window.left + right)))
    box = (float(place.left), float(place.top), float(place.right), float(place.bottom))
    return Part(tile, 1, score, box, place, pixels[top:bottom, left:right])


def _components(mask: Bool[Tensor, "height width"]) -> Iterator[Bool[Tensor, "height width"]]:
    labels = label_components(mask[None])[0]
    return (labels == label for label in sorted(set(labels[mask].tolist())))


def _resize(mask: Bool[np.ndarray, "height width"], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    square = Image.fromarray(mask.astype(np.uint8) * 255)
    grey = np.asarray(square.resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC))
    above: Bool[np.ndarray, "h w"] = grey > grey.max() / 2
    return above

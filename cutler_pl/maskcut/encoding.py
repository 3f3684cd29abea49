"""From refined masks at the fixed size to annotations in the image's own pixels.

By default as the original does it. Optional: a score per mask, one annotation per connected component or per part of a
mask that touching objects share, a minimum area.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from cutler_pl.coco import rle
from cutler_pl.coco.confidence import ConfidenceMap, crop_map, encode
from cutler_pl.coco.schema import RLE, Instance
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.maskcut.predictor import ImageMasks
from cutler_pl.maskcut.splitting import Splitter, build_splitter
from cutler_pl.ops.components import label_components
from cutler_pl.ops.resize import resize_by_axes
from cutler_pl.ops.tile_merge import Part, merge_parts
from cutler_pl.ops.tiles import Window


class _Piece(NamedTuple):
    """What becomes an annotation: a mask at the fixed size, or a part of one."""

    mask: Bool[np.ndarray, "height width"]
    score: float
    provenance: Mapping[str, Any]
    split_from: int | None
    """Number of the mask that was split, from 1; None where none was."""
    confidence: ConfidenceMap | None
    """In pixels of the image; None where all is certain, or nobody asked."""


class _Encoded(NamedTuple):
    mask: RLE
    piece: _Piece


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
    pieces = _pieces(found, params, window=Window(0, 0, *size_hw), first=1)
    encoded = (_Encoded(rle.encode(_resize(one.mask, size_hw)), one) for one in pieces)
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
    parts: list[Part] = []
    pieces: dict[int, _Piece] = {}  # of each part
    first = 1
    for tile, (masks, window) in enumerate(zip(found, windows, strict=True)):
        for one in _pieces(masks, params, window=window, first=first):
            part = _part(tile, window, one.mask, one.score)
            if part is not None:
                parts.append(part)
                pieces[id(part)] = one
        first += len(masks.refined)
    objects = merge_parts(parts, windows)
    encoded = (_Encoded(rle.encode_at(*one.mask(), size_hw=size_hw), pieces[id(one.best)]) for one in objects)
    return _annotate(encoded, size_hw, params)


def _pieces(found: ImageMasks, params: AnnotationParams, *, window: Window, first: int) -> Iterator[_Piece]:
    """The masks of a tile, or of the whole image, split as the parameters say; `first` is the number of the first."""
    splitter = build_splitter(params)
    size_hw = (window.bottom - window.top, window.right - window.left)
    box = (float(window.left), float(window.top), float(size_hw[1]), float(size_hw[0]))
    for index, mask in enumerate(found.refined):
        if not np.count_nonzero(mask):  # torch needs half a millisecond for it
            continue
        for component in _components(mask) if params.split_parts else (mask,):
            parts = _split(component, found, splitter, size_hw)
            for part in parts:
                score = found.score(index, torch.from_numpy(part).double().mean().item())
                provenance = _numbered(found.provenance[index], first)
                confidence = None if found.confidence is None else crop_map(found.confidence[index].numpy(), box)
                yield _Piece(part, score, provenance, first + index if len(parts) > 1 else None, confidence)


def _numbered(provenance: Mapping[str, Any], first: int) -> Mapping[str, Any]:
    """The provenance of a mask of an image or tile of which `first` is the number of the first mask."""
    numbers = {key: provenance[key] + first - 1 for key in ("number", "parent") if provenance.get(key) is not None}
    return {**provenance, **numbers}


def _split(
    mask: Bool[Tensor, "height width"], found: ImageMasks, splitter: Splitter, size_hw: tuple[int, int]
) -> list[Bool[np.ndarray, "height width"]]:
    features = None if found.features is None else found.features.float().numpy()
    height, width = mask.shape
    return splitter(mask.numpy(), features, (size_hw[0] / height, size_hw[1] / width))


def _annotate(
    encoded: Iterable[_Encoded], size_hw: tuple[int, int], params: AnnotationParams
) -> tuple[list[Instance], Counter[str]]:
    annotations: list[Instance] = []
    dropped: Counter[str] = Counter()
    for mask, piece in encoded:
        area = rle.area(mask)
        if not area:
            dropped["vanished when resized"] += 1
        elif area < params.min_area * size_hw[0] * size_hw[1]:
            dropped["below the smallest area"] += 1
        else:
            annotation: Instance = {"area": area, "bbox": rle.bbox(mask), "segmentation": mask}
            if params.scores:
                annotation["score"] = round(params.calibrated(piece.score), 4)
                annotation.update(cast(Instance, piece.provenance))
            if piece.confidence is not None:
                annotation["confidence_map"] = encode(piece.confidence)
            if piece.split_from is not None:
                annotation["split_from"] = piece.split_from
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
    grey = np.asarray(resize_by_axes(square, size_hw, Image.Resampling.BICUBIC))
    above: Bool[np.ndarray, "h w"] = grey > grey.max() / 2
    return above

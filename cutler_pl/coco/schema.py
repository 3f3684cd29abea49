"""Shapes of COCO records, as written to and read from JSON.

Boxes are `[x, y, width, height]` in upright pixels of the image. Only the keys this package reads or writes are
named; records may hold more (LVIS, UVO), which pass through unchanged.
"""

from typing import Any, NotRequired, TypedDict


class RLE(TypedDict):
    """Compressed run-length mask; `size` is `[height, width]`."""

    size: list[int]
    counts: str


class UncompressedRLE(TypedDict):
    """Run lengths as numbers, column by column, background first (COCO's crowds)."""

    size: list[int]
    counts: list[int]


Polygon = list[int | float]
Segmentation = RLE | UncompressedRLE | list[Polygon]
"""The three forms a mask can have in COCO: two run-length forms, or polygons `[x0, y0, x1, y1, …]`."""


class Image(TypedDict):
    """An image record; `file_name` is relative to the image folder."""

    id: int
    file_name: str
    height: int
    width: int


class Category(TypedDict):
    """A class of objects; ids may have gaps."""

    id: int
    name: str
    supercategory: NotRequired[str]


class Instance(TypedDict):
    """One object; `score`, 0 to 1, is of the prediction it was or of its mask, `ncut_value` of the cut that found it.

    Parts of one mask that MaskCut split have the same number in `split_from`. Generators beside MaskCut write how they
    found a mask: `votes` and `backbones`, `seeds`, `levels`; the `number` of a mask in its image and that of its
    `parent`; `refined` is false where the refinement lost it. `confidence_map`: see `coco.confidence`.
    """

    bbox: list[float]
    area: float
    segmentation: NotRequired[Segmentation]
    score: NotRequired[float]
    confidence_map: NotRequired[dict[str, Any]]
    ncut_value: NotRequired[float]
    split_from: NotRequired[int]


class Annotation(Instance):
    """One object of an image of a file, or a crowd region."""

    id: int
    image_id: int
    category_id: int
    iscrowd: int


class Result(TypedDict):
    """One detection, as in a COCO results file."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float
    segmentation: NotRequired[RLE]


class Coco(TypedDict):
    """A whole annotation file."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]
    info: NotRequired[dict[str, Any]]
    licenses: NotRequired[list[dict[str, Any]]]

"""Pseudo-masks of your own making as a COCO file to train on, here regions of one color by Felzenszwalb's method.

python examples/another_generator.py <images> <annotations.json>
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from skimage.segmentation import felzenszwalb

from cutler_pl.coco import rle, save_coco
from cutler_pl.images import list_images, read_image


def masks_of(image: UInt8[np.ndarray, "height width 3"]) -> Iterator[Bool[np.ndarray, "height width"]]:
    """The masks of an image: write yours here."""
    regions = felzenszwalb(image, scale=300, sigma=0.8, min_size=max(20, image[..., 0].size // 200))
    for label in range(regions.max() + 1):
        mask = regions == label
        borders = sum(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
        if mask.mean() < 0.5 and borders < 2:  # no background
            yield mask


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {__doc__.splitlines()[2]}")
    root, names = list_images(sys.argv[1])
    images, annotations = [], []
    for image_id, name in enumerate(names, start=1):
        pixels = read_image(root / name)
        images.append({"id": image_id, "file_name": name, "height": pixels.shape[0], "width": pixels.shape[1]})
        for mask in masks_of(pixels):
            code = rle.encode(mask)
            annotation = {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "iscrowd": 0}
            annotations.append(annotation | {"area": rle.area(code), "bbox": rle.bbox(code), "segmentation": code})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]}
    save_coco(Path(sys.argv[2]), content)
    print(f"{len(annotations)} masks of {len(images)} images")

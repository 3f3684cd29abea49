"""Generated images of kinds on which MaskCut cannot work, with ground truth: alike objects, trees, dense textures.

They are the hopeless side of the quality report's calibration; the easy side is `cutler_pl/datasets/scenes.py`.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage

from cutler_pl.coco import rle
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.runtime.files import write_json

SIDE = 240
Pixels = Float[np.ndarray, "height width 3"]
Masks = list[Bool[np.ndarray, "height width"]]
_Y, _X = np.mgrid[:SIDE, :SIDE]

EASY = {
    "scenes": SceneParams(),
    "one large": SceneParams(max_objects=1, min_radius=0.2, max_radius=0.35),
    "two or three": SceneParams(min_objects=2, max_objects=3, min_radius=0.12, max_radius=0.22),
}
"""Kinds of images that MaskCut is made for."""


def crowd(rng: np.random.Generator) -> tuple[Pixels, Masks]:
    """40 to 90 discs of one texture, almost that of their background."""
    color = rng.uniform(40, 215, 3)
    texture = _texture(rng, rng.uniform(1, 4))[..., None] * rng.uniform(8, 20)
    image, masks = color + texture, Masks()
    other = color + rng.normal(0, 14, 3) + texture[::-1]
    for _ in range(int(rng.integers(40, 90))):
        row, column, radius = *rng.uniform(0, SIDE, 2), rng.uniform(0.018, 0.04) * SIDE
        mask = np.hypot(_Y - row, _X - column) <= radius
        image = np.where(mask[..., None], other * rng.uniform(0.85, 1.15), image)
        masks = [before & ~mask for before in masks] + [mask]
    return image, masks


def forest(rng: np.random.Generator) -> tuple[Pixels, Masks]:
    """Foliage of all scales, and 12 to 30 trunks that it hides in part."""
    leaves = sum((_texture(rng, scale) * scale for scale in (0.7, 1.5, 3, 8)), np.zeros((SIDE, SIDE)))
    base = rng.uniform((30, 60, 20), (90, 120, 60))
    image = base + (leaves / leaves.std())[..., None] * np.array([18, 24, 12])
    masks = Masks()
    for _ in range(int(rng.integers(12, 30))):
        column, width, lean = rng.uniform(0, SIDE), rng.uniform(0.01, 0.05) * SIDE, rng.normal(0, 0.08)
        top, bottom = rng.uniform(-0.2, 0.4) * SIDE, rng.uniform(0.6, 1.1) * SIDE
        trunk = (np.abs(_X - column - lean * (_Y - SIDE / 2)) < width / 2) & (top <= _Y) & (bottom >= _Y)
        mask = trunk & (_texture(rng, 6) < 0.4)
        bark = np.array([70, 55, 40]) * rng.uniform(0.6, 1.3) + 12 * _texture(rng, 2)[..., None]
        image = np.where(mask[..., None], bark, image)
        masks = [before & ~mask for before in masks] + [mask]
    return image, masks


def mosaic(rng: np.random.Generator) -> tuple[Pixels, Masks]:
    """80 to 200 tiles of eight textures, side by side."""
    centres = rng.uniform(0, SIDE, (int(rng.integers(80, 200)), 2))
    owner = ((_Y[..., None] - centres[:, 0]) ** 2 + (_X[..., None] - centres[:, 1]) ** 2).argmin(-1)
    surfaces = [
        rng.uniform(30, 225, 3) + _texture(rng, rng.uniform(1, 6))[..., None] * rng.uniform(5, 28) for _ in range(8)
    ]
    image = np.zeros((SIDE, SIDE, 3))
    masks = [owner == number for number in range(len(centres))]
    for mask in masks:
        image[mask] = (surfaces[int(rng.integers(8))] * rng.uniform(0.8, 1.2))[mask]
    return image, masks


HOPELESS: dict[str, Callable[[np.random.Generator], tuple[Pixels, Masks]]] = {
    "crowd": crowd, "forest": forest, "mosaic": mosaic
}  # fmt: skip
"""Kinds of images that MaskCut cannot work on."""


def write_kind(folder: Path, kind: str, count: int, *, seed: int) -> None:
    """Write images of an easy or hopeless kind to `<folder>/images`, their ground truth to `<folder>/truth.json`."""
    if kind in EASY:
        write_scenes(folder / "images", count, EASY[kind], seed=seed)
        (folder / "annotations.json").rename(folder / "truth.json")
        return
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        rng = np.random.default_rng([seed, number])
        pixels, masks = HOPELESS[kind](rng)
        pixels = ndimage.gaussian_filter(pixels, (0.5, 0.5, 0)) + rng.normal(0, 3, pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{number:04d}.png")
        images.append({"id": number, "file_name": f"{number:04d}.png", "height": SIDE, "width": SIDE})
        for code in (rle.encode(mask) for mask in masks if mask.any()):
            record = {"segmentation": code, "bbox": rle.bbox(code), "area": rle.area(code), "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": 1, **record})
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]}
    write_json(folder / "truth.json", coco)


def _texture(rng: np.random.Generator, scale: float) -> Float[np.ndarray, "height width"]:
    field = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), scale)
    return np.asarray(field / field.std())

"""MaskCut over images that are cut in tiles."""

import json
from pathlib import Path

import lightning as L
import numpy as np
import torch
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.images import list_images
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.ops.tiles import TileParams
from cutler_pl.pseudo_masks.generate import generate
from cutler_pl.pseudo_masks.options import RunOptions

SIZE_HW = (128, 208)
OBJECTS = [(16, 16, 48, 48), (72, 88, 112, 136)]  # in a tile, and across a border: top, left, bottom, right


class Colors:
    """Each patch's own color and its opposite as features: bright patches and dark ones are far apart."""

    patch_size, dim = 8, 2
    images_at_once: list[int]

    def __init__(self) -> None:
        self.images_at_once = []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.images_at_once.append(len(images))
        bright = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 8)
        return torch.cat([bright, 1 - bright], 1)


def run(source: Path, output: Path, extractor: Colors, tiles: TileParams | None) -> dict:
    root, names = list_images(source)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    options = RunOptions(fixed_size=128, batch_size=2, num_workers=0, threads=1, max_failure_rate=0.0, tiles=tiles)
    predictor = MaskCutPredictor(extractor, MaskCutParams(num_masks=1, tau=0.8), backend="none")
    generate(root, names, output, predictor=predictor, trainer=trainer, options=options)
    return json.loads((output / "annotations.json").read_text())


def test_an_object_across_a_border_is_one_annotation(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i, (top, left, bottom, right) in enumerate(OBJECTS):
        pixels = np.full((*SIZE_HW, 3), 20, dtype=np.uint8)
        pixels[top:bottom, left:right] = 230
        Image.fromarray(pixels).save(images / f"{i}.png")
    extractor = Colors()
    found = run(images, tmp_path / "tiles", extractor, TileParams(tile=128, overlap=0.25))
    assert max(extractor.images_at_once) == 2  # tiles, not images, are counted
    assert sum(extractor.images_at_once) == 4
    largest = {}
    for annotation in found["annotations"]:
        mask = rle.decode(annotation["segmentation"])
        assert mask.shape == SIZE_HW
        known = largest.get(annotation["image_id"])
        if known is None or mask.sum() > known.sum():
            largest[annotation["image_id"]] = mask
    for i, (top, left, bottom, right) in enumerate(OBJECTS):
        expected = np.zeros(SIZE_HW, dtype=bool)
        expected[top:bottom, left:right] = True
        image_id = next(image["id"] for image in found["images"] if image["file_name"] == f"{i}.png")
        mask = largest[image_id]
        assert (mask & expected).sum() / (mask | expected).sum() > 0.9, i

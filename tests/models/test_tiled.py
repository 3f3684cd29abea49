"""Detections of tiles become those of the whole image."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from cutler_pl.coco import rle
from cutler_pl.models import Detector, build_detector
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.predictions import to_coco_results
from cutler_pl.models.tiled import TiledDetector
from cutler_pl.ops.boxes import masks_to_boxes
from cutler_pl.ops.tiles import TileParams

TILES = TileParams(tile=128, overlap=0.25)
SIZE_HW = (220, 330)


class Components(Detector):
    """Sees every bright component as an object: what a perfect detector shows of each in a tile; counts its calls."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.config = SimpleNamespace(nms_threshold=0.5, max_detections=100)
        self.batches: list[int] = []

    def predict(self, images: list[Tensor], *, score_threshold: float | None = None) -> list[CompactPrediction]:
        self.batches.append(len(images))
        return [self._one(image) for image in images]

    def _one(self, image: Tensor) -> CompactPrediction:
        labels, count = ndimage.label(image[0].numpy() > 0)
        masks = torch.from_numpy(np.stack([labels == i + 1 for i in range(count)])) if count else torch.zeros(0, 1, 1)
        boxes = masks_to_boxes(masks.bool())
        return CompactPrediction(
            boxes=boxes,
            scores=torch.tensor([float(mask.sum()) / 1e5 for mask in masks]),
            labels=torch.ones(count, dtype=torch.int64),
            mask_probabilities=torch.ones(count, 28, 28),  # the objects are rectangles
            size_hw=(image.shape[1], image.shape[2]),
        )


def picture(*rectangles: tuple[int, int, int, int]) -> Tensor:
    image = torch.zeros(3, *SIZE_HW, dtype=torch.uint8)
    for top, left, bottom, right in rectangles:
        image[:, top:bottom, left:right] = 200
    return image


RECTANGLES = [
    (5, 5, 30, 40),  # in one tile alone
    (60, 90, 100, 150),  # across a border
    (90, 10, 110, 320),  # through all tiles of a row
    (95 + 20, 100, 150, 130),  # near another one
    (200, 300, 220, 330),  # in the corner
]


def found_rectangles(image: Tensor, detector: Any) -> list[tuple[int, ...]]:
    (prediction,) = detector.predict([image])
    results = to_coco_results(prediction, 1)
    assert [r["score"] for r in results] == sorted((r["score"] for r in results), reverse=True)
    found = []
    for result in results:
        mask = rle.decode(result["segmentation"])
        assert mask.shape == SIZE_HW
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(columns)
        assert result["bbox"] == [columns[0], rows[0], len(columns), len(rows)]
        found.append((int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1))
    return sorted(found)


def test_objects_across_borders_are_whole_and_single() -> None:
    apart = [r for r in RECTANGLES if r != RECTANGLES[2]]
    assert found_rectangles(picture(*apart), TiledDetector(Components(), TILES)) == sorted(apart)
    longest = RECTANGLES[2]
    assert found_rectangles(picture(longest), TiledDetector(Components(), TILES)) == [longest]


def test_neighbours_in_the_overlap_stay_apart() -> None:
    neighbours = [(20, 100, 60, 115), (20, 118, 60, 135)]
    assert found_rectangles(picture(*neighbours), TiledDetector(Components(), TILES)) == neighbours


def test_small_images_are_predicted_whole() -> None:
    detector = Components()
    image = picture(RECTANGLES[0])[:, :128, :128]
    (prediction,) = TiledDetector(detector, TILES).predict([image])
    assert "mask_probabilities" in prediction
    assert detector.batches == [1]


def test_as_many_tiles_at_once_as_images() -> None:
    detector = Components()
    small = picture()[:, :100, :100]
    TiledDetector(detector, TILES).predict([picture(), small])
    assert detector.batches == [2, 2, 2, 2, 1]


def test_an_image_without_objects_is_empty() -> None:
    assert found_rectangles(picture(), TiledDetector(Components(), TILES)) == []


def test_a_real_detector_gives_what_its_tiles_show() -> None:
    model = build_detector(
        "mask_rcnn_r50_fpn", backbone="resnet18", min_size_test=96, max_size_test=96, max_detections=7
    ).eval()
    image = (torch.rand(3, *SIZE_HW) * 255).to(torch.uint8)
    (prediction,) = TiledDetector(model, TILES).predict([image])
    assert prediction["size_hw"] == SIZE_HW
    assert 0 < len(prediction["boxes"]) == len(prediction["masks"]) <= 7
    for box, mask in zip(prediction["boxes"].tolist(), prediction["masks"], strict=True):
        x, y, w, h = rle.bbox(mask)
        if w:
            assert box[0] - 1 <= x
            assert x + w <= box[2] + 1
            assert box[1] - 1 <= y
            assert y + h <= box[3] + 1


@pytest.mark.parametrize("place", [(0, 0), (3, 5), (10, 16)])
def test_encode_at_equals_encoding_the_whole(place: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for mask in (rng.random((10, 14)) < 0.5, np.ones((10, 14), dtype=bool), np.zeros((10, 14), dtype=bool)):
        whole = np.zeros((20, 30), dtype=bool)
        whole[place[0] : place[0] + 10, place[1] : place[1] + 14] = mask
        assert rle.encode_at(mask, *place, size_hw=(20, 30)) == rle.encode(whole)

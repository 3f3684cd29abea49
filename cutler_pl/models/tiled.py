"""Prediction of large images tile by tile; an object that several tiles see becomes one detection."""

from collections.abc import Sequence
from typing import TypedDict, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torchvision.ops import batched_nms

from cutler_pl.coco import rle
from cutler_pl.coco.schema import RLE
from cutler_pl.models.detections import CompactPrediction
from cutler_pl.models.detector import Detector
from cutler_pl.models.tta import AugmentedDetector, TtaParams
from cutler_pl.ops.paste import paste_masks
from cutler_pl.ops.tile_merge import Part, merge_parts
from cutler_pl.ops.tiles import TileParams, Window, tile_windows


@final
class EncodedPrediction(TypedDict):
    """Detections of one image in its pixels, best first, with masks as run lengths."""

    boxes: Float[Tensor, "boxes 4"]
    scores: Float[Tensor, " boxes"]
    labels: Int64[Tensor, " boxes"]
    masks: list[RLE]
    size_hw: tuple[int, int]


class TiledDetector(nn.Module):
    """A detector that is shown images larger than a tile in parts; smaller ones it sees whole, as ever.

    Args:
        detector: In evaluation mode; with test-time augmentation, each tile is seen in several views.
        params: Size and overlap of the tiles.
    """

    def __init__(self, detector: Detector | AugmentedDetector, params: TileParams) -> None:
        super().__init__()
        self.detector = detector
        self.params = params

    @torch.no_grad()
    def predict(
        self, images: Sequence[Tensor], *, score_threshold: float | None = None
    ) -> list[CompactPrediction | EncodedPrediction]:
        """As `Detector.predict`; as many tiles as there are images go through the network together."""
        predictions: list[CompactPrediction | EncodedPrediction] = []
        for image in images:
            size_hw = (image.shape[1], image.shape[2])
            windows = tile_windows(size_hw, self.params)
            tiles = [image[:, w.top : w.bottom, w.left : w.right] for w in windows]
            found: list[CompactPrediction] = []
            for start in range(0, len(tiles), len(images)):
                found += self.detector.predict(tiles[start : start + len(images)], score_threshold=score_threshold)
            predictions.append(found[0] if len(windows) == 1 else self._merge(windows, found, size_hw))
        return predictions

    forward = predict

    def _merge(
        self, windows: Sequence[Window], found: Sequence[CompactPrediction], size_hw: tuple[int, int]
    ) -> EncodedPrediction:
        parts = [part for i, pair in enumerate(zip(windows, found, strict=True)) for part in _parts(i, *pair)]
        objects = merge_parts(parts, windows)
        boxes = torch.tensor([one.box for one in objects], dtype=torch.float32).view(-1, 4)
        scores = torch.tensor([one.best.score for one in objects], dtype=torch.float32)
        labels = torch.tensor([one.best.label for one in objects], dtype=torch.int64)
        config = self.detector.config
        keep = batched_nms(boxes, scores, labels, config.nms_threshold)[: config.max_detections]
        masks = [rle.encode_at(*objects[i].mask(), size_hw=size_hw) for i in keep.tolist()]
        return EncodedPrediction(
            boxes=boxes[keep], scores=scores[keep], labels=labels[keep], masks=masks, size_hw=size_hw
        )


def as_shown(
    detector: Detector, *, tta: TtaParams | None = None, tiles: TileParams | None = None
) -> Detector | AugmentedDetector | TiledDetector:
    """A detector that sees images in tiles, each image or tile in several views, or as they are."""
    augmented = detector if tta is None else AugmentedDetector(detector, tta)
    return augmented if tiles is None else TiledDetector(augmented, tiles)


def _parts(tile: int, window: Window, prediction: CompactPrediction) -> list[Part]:
    """The detections of a tile, each with its mask in the pixels that its box touches."""
    size = torch.tensor([*prediction["size_hw"]][::-1] * 2)
    boxes, scores = prediction["boxes"].float().cpu(), prediction["scores"].float().cpu().tolist()
    probabilities, labels = prediction["mask_probabilities"].float().cpu(), prediction["labels"].cpu().tolist()
    around = torch.cat([boxes[:, :2].floor() - 1, boxes[:, 2:].ceil() + 1], 1)
    corners = around.clamp(min=0).minimum(size).int().tolist()
    offset = torch.tensor([window.left, window.top] * 2)
    parts = []
    for i, (x0, y0, x1, y1) in enumerate(corners):
        moved = boxes[i : i + 1] - torch.tensor([x0, y0, x0, y0])
        mask = paste_masks(probabilities[i : i + 1], moved, (y1 - y0, x1 - x0))[0].numpy()
        place = Window(window.top + y0, window.left + x0, window.top + y1, window.left + x1)
        parts.append(Part(tile, labels[i], scores[i], tuple((boxes[i] + offset).tolist()), place, mask))
    return parts

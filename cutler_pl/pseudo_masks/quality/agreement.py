"""Agreement of masks with those of a second run of MaskCut on a sample of the images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import UInt8

from cutler_pl.coco import rle
from cutler_pl.coco.file_names import path_below
from cutler_pl.coco.schema import RLE
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_oriented
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.crf import build_crf_backend
from cutler_pl.maskcut.crf.params import CrfParams, GuidedParams
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.ops.resize import resize_to_square
from cutler_pl.pseudo_masks.quality.masks import SampledImage
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

MATCHED = 0.5
"""IoU from which on a mask counts as found again."""

_FEATURES = ("name", "weights", "layer", "feature", "pos_embed", "heads")
FindMasks = Callable[[UInt8[np.ndarray, "height width 3"]], Sequence[RLE]]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a second run finds the masks again.

    Attributes:
        setting: What was different in the second run.
        images: Images compared; those without a mask in either run are not.
        mean_iou: Mean over the masks of the best IoU with a mask of the second run.
        matched_share: Share of masks whose best IoU is at least `MATCHED`.
    """

    setting: str
    images: int
    mean_iou: float
    matched_share: float


class SecondRun:
    """MaskCut on whole images, one at a time.

    Args:
        predictor: With the other setting.
        side: Side of the square to which images are resized, in pixels.
        device: Where to run.
    """

    def __init__(self, predictor: MaskCutPredictor, side: int, device: torch.device) -> None:
        self._predictor, self._side, self._device = predictor, side, device

    def __call__(self, image: UInt8[np.ndarray, "height width 3"]) -> list[RLE]:
        """The masks of an image, in its pixels."""
        square = resize_to_square(image, self._side)[None].to(self._device)
        (found,) = self._predictor.predict([""], square)
        if found is None:
            raise MemoryError(f"{self._side}×{self._side} pixels do not fit into the memory of {self._device}")
        return [cast(RLE, instance["segmentation"]) for instance in encode_masks(found, image.shape[:2])[0]]


def build_second_run(option: Mapping[str, Any], device: torch.device) -> SecondRun:
    """MaskCut with the values of an option of `conf/maskcut/`, or of the record of a run.

    Args:
        option: Fields of `MaskCutParams`, `fixed_size`, `features`, and perhaps `crf`, the constants of the refinement.

    Raises:
        ConfigError: A value cannot work.
        CheckpointError: The features' weights cannot be had.
    """
    features = {key: value for key, value in option["features"].items() if key in _FEATURES}
    known = {field.name for field in fields(MaskCutParams)}
    crf = option.get("crf", {})
    is_guided = "radius" in crf
    backend = build_crf_backend(
        "guided" if is_guided else "auto",
        params=None if is_guided else CrfParams(**crf),
        guided=GuidedParams(**crf) if is_guided else None,
    )
    predictor = MaskCutPredictor(
        build_feature_extractor(**features, device=device),
        MaskCutParams(**{key: value for key, value in option.items() if key in known}),
        solver=option.get("solver", "auto"),
        backend=backend,
    )
    return SecondRun(predictor, option["fixed_size"], device)


def measure_agreement(
    sample: Sequence[SampledImage], folder: Path, find: FindMasks, *, setting: str
) -> Agreement | None:
    """Compare masks with those that `find` gives for the same images; unreadable images are left out.

    Returns:
        The agreement; None where no image of the sample has a mask.
    """
    log.info("a second run of MaskCut with %s on %d images", setting, len(sample))
    best: list[float] = []
    compared = 0
    for name, size_hw, masks in sample:
        if not masks:
            continue
        try:
            others = find(read_oriented(path_below(folder, name), size_hw))
        except ImageReadError as error:
            log.warning("not compared: %s", error)
            continue
        compared += 1
        best += rle.iou(masks, others).max(1, initial=0).tolist()
    if not best:
        return None
    matched = float(np.mean([value >= MATCHED for value in best]))
    return Agreement(setting=setting, images=compared, mean_iou=float(np.mean(best)), matched_share=matched)

"""MaskCut on one image, round by round, as the page shows it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool

from cutler_pl.errors import InputError
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.params import AnnotationParams, MaskCutParams, Stop
from cutler_pl.maskcut.predictor import ImageMasks, MaskCutPredictor
from cutler_pl.ops.resize import resize_to_square
from cutler_pl.runtime.ranges import Choice, Integer, Number, check
from cutler_pl.visual.colors import instance_color
from cutler_pl.visual.draw import draw_instances
from cutler_pl.visual.heatmap import draw_heatmap
from cutler_pl.web.demo.backbones import Backbones
from cutler_pl.web.demo.downloads import Found
from cutler_pl.web.demo.figures import Pixels, shrink, stretch

MAX_ROUNDS = 10
STOPS = get_args(Stop)
_PANEL_SIDE = 384
_CATEGORY = {1: "fg"}


@dataclass(frozen=True)
class Round:
    """One round of cutting.

    Attributes:
        eigenvector: Over the image.
        before: The mask before the refinement.
        after: The mask after it.
        ncut_value: λ₂.
        agreement: IoU of the mask before and after.
        score: Of the mask; None where there is none.
        verdict: What became of it, in words.
    """

    eigenvector: Pixels
    before: Pixels
    after: Pixels
    ncut_value: float
    agreement: float
    score: float | None
    verdict: str


@dataclass(frozen=True)
class Cut:
    """An answer of MaskCut: the image, the same with its masks, the rounds, and the objects in pixels of the image."""

    before: Pixels
    after: Pixels
    rounds: Sequence[Round]
    found: Found
    seconds: float


@dataclass(frozen=True)
class CutRequest:
    """What the page asks for; nothing of it is trusted.

    Attributes:
        backbone: Name of the features.
        num_masks: N, rounds of cutting.
        tau: τ.
        stop: When to stop.
    """

    backbone: Any
    num_masks: Any
    tau: Any
    stop: Any

    def params(self, backbones: Backbones) -> MaskCutParams:
        """The constants of the cut.

        Raises:
            InputError: A value cannot work.
        """
        own = backbones.params(self.backbone)
        return replace(
            own,
            num_masks=check("N", self.num_masks, Integer(1, MAX_ROUNDS), error=InputError),
            tau=check("τ", self.tau, Number(min=0, below=1), error=InputError),
            stop=check("stop rule", self.stop, Choice(STOPS), error=InputError),
        )


def cut(backbones: Backbones, image: Pixels, request: CutRequest, *, file_name: str) -> Cut:
    """Find masks in an image.

    Raises:
        InputError: A value of the request cannot work, or the image does not fit into memory.
        CheckpointError: The weights of the backbone cannot be had.
    """
    params = request.params(backbones)
    predictor = MaskCutPredictor(backbones.extractor(request.backbone), params)
    side = backbones.option(request.backbone)["fixed_size"]
    start = time.perf_counter()
    (masks,) = predictor.predict([file_name], resize_to_square(image, side)[None].to(backbones.device))
    seconds = time.perf_counter() - start
    if masks is None:
        raise InputError(f"{side}×{side} pixels do not fit into the memory of this machine; choose another backbone")
    instances, _ = encode_masks(masks, image.shape[:2], params=AnnotationParams(scores=True))
    found = Found(file_name, image.shape[:2], instances, [1] * len(instances), _CATEGORY)
    before = shrink(image)
    kept = [number for number, mask in enumerate(masks.refined) if mask.any()]
    colors = np.array([instance_color(number) for number in kept], dtype=np.uint8).reshape(-1, 3)
    refined = [stretch(masks.refined[number].numpy(), before.shape[:2]) for number in kept]
    after = _drawn(before, np.array(refined, dtype=bool).reshape(-1, *before.shape[:2]), colors)
    return Cut(before, after, _rounds(masks, shrink(image, max_side=_PANEL_SIDE)), found, seconds)


def _rounds(masks: ImageMasks, panel: Pixels) -> list[Round]:
    def overlay(mask: np.ndarray, number: int) -> Pixels:
        return _drawn(panel, stretch(mask, panel.shape[:2])[None], instance_color(number)[None])

    rounds = []
    for number, (vector, coarse, refined, ncut_value, agreement) in enumerate(
        zip(
            masks.maps.values(),
            masks.coarse.numpy(),
            masks.refined.numpy(),
            (one["ncut_value"] for one in masks.provenance),
            masks.agreements.tolist(),
            strict=True,
        )
    ):
        kept = bool(refined.any())
        rounds.append(
            Round(
                draw_heatmap(panel, vector),
                overlay(coarse, number),
                overlay(refined, number),
                ncut_value,
                agreement,
                masks.score(number, float(refined.mean())) if kept else None,
                _verdict(coarse, kept=kept, agreement=agreement),
            )
        )
    return rounds


def _verdict(coarse: Bool[np.ndarray, "h w"], *, kept: bool, agreement: float) -> str:
    if kept:
        return "kept"
    if not coarse.any():
        return "no new object: repeated, covered, too small, or none left"
    return "rejected: its edges are not in the image"


def _drawn(image: Pixels, masks: Bool[np.ndarray, "boxes height width"], colors: np.ndarray) -> Pixels:
    return draw_instances(image, masks, colors=colors, opacity=0.5, brightness=0.5)

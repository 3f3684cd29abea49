"""Small runs of MaskCut on the CPU."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image

from cutler_pl.coco.parts import ShardRecord
from cutler_pl.images import list_images
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.predictor import ImageMasks, MaskCutPredictor
from cutler_pl.pseudo_masks.generate import generate
from cutler_pl.pseudo_masks.merge import MergeReport
from cutler_pl.pseudo_masks.observer import Observer
from cutler_pl.pseudo_masks.options import RunOptions

Extractor = Callable[[torch.Tensor], torch.Tensor]


SMALL: dict[str, Any] = {"fixed_size": 64, "batch_size": 2, "num_workers": 0, "threads": 2, "max_failure_rate": 0.1}


class Recorder(Observer):
    """Calls a function for each image, and tells which images are complete."""

    def __init__(
        self,
        on_image: Callable[[str], None] = lambda name: None,
        *,
        is_complete: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self._on_image, self._is_complete = on_image, is_complete

    def on_image(self, masks: Sequence[ImageMasks], record: ShardRecord, preview: np.ndarray | None) -> None:
        assert {tile.name for tile in masks} == {record["file"]}
        self._on_image(record["file"])

    def is_complete(self, name: str) -> bool:
        return self._is_complete(name)


def run(
    source: Path,
    output: Path,
    *,
    extractor: Extractor | None = None,
    params: MaskCutParams | None = None,
    observer: Observer | None = None,
    callbacks: list[L.Callback] | None = None,
    **options: Any,
) -> MergeReport | None:
    """A small run on the CPU; images at 64 pixels, so on a grid of 8 × 8."""
    root, names = list_images(source)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=callbacks is not None,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )
    extractor = extractor or build_feature_extractor("patch_descriptors")
    return generate(
        root,
        names,
        output,
        predictor=MaskCutPredictor(extractor, params or MaskCutParams(tau=0.5)),
        trainer=trainer,
        options=RunOptions(**SMALL | options),
        observer=observer,
    )


def write_disc(path: Path, seed: int, size_hw: tuple[int, int] = (60, 80), *, mode: str = "RGB", **save: Any) -> Path:
    """A bright disc and a dark box on grey, with a little noise."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    rng = np.random.default_rng(seed)
    pixels = rng.normal(120, 4, (*size_hw, 3))
    cy, cx = rng.uniform(0.3, 0.7, 2) * size_hw
    pixels[(y - cy) ** 2 + (x - cx) ** 2 < (min(size_hw) * 0.25) ** 2] += (90, 40, -60)
    pixels[: size_hw[0] // 4, : size_hw[1] // 4] -= (20, 60, 90)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode).save(path, **save)
    return path


def files(output: Path) -> dict[str, bytes]:
    return {name: (output / name).read_bytes() for name in ("annotations.json", "failures.jsonl")}

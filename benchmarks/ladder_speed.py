"""Speed of the generators: CPU seconds of the cut alone, interleaved in one run, beside the quality with refinement.

The grid is 60×60 patches, as with DINO's ViT-B/8 at 480 pixels: the scenes have twice the side of the ladder's others,
in cells of 8 pixels. MaskCut's cut is that of three rounds.
"""

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from jaxtyping import UInt8
from ladder_cells import Cell, Result
from ladder_data import LARGE, NUM_LARGE, large_scenes, test_seed
from ladder_masks import constants_of, settings_of
from torch import Tensor

from cutler_pl.commands.maskcut import build_predictor
from cutler_pl.evaluation import evaluate_coco
from cutler_pl.images import read_image
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.ops.resize import resize_to_square


def speed_cells(seed: int, *, rows: Mapping[str, tuple[str, ...]], work: Path) -> Iterator[Cell]:
    """One cell per seed, in which all rows are measured image by image."""
    settings = {
        "scenes": asdict(LARGE),
        "count": NUM_LARGE,
        "seed": test_seed("large", seed),
        "rows": {row: constants_of(_at_size(overrides)) for row, overrides in rows.items()},
    }
    yield Cell("speed", "interleaved", "large", seed, settings, partial(_measure, rows, work, seed))


def _at_size(overrides: tuple[str, ...]) -> tuple[str, ...]:
    return (*overrides, f"maskcut.fixed_size={LARGE.height}")


def _measure(rows: Mapping[str, tuple[str, ...]], work: Path, seed: int) -> Result:
    data = large_scenes(work, seed)
    coco = json.loads(data.annotations.read_text(encoding="utf-8"))
    runners = {row: Runner(_at_size(overrides)) for row, overrides in rows.items()}
    for record in coco["images"]:
        image = read_image(data.images / record["file_name"])
        square = resize_to_square(image, LARGE.height)[None]
        for runner in runners.values():
            runner.run(square, record["id"])
    return {"rows": {row: runner.result(coco) for row, runner in runners.items()}}


class Runner:
    """One generator, timed in parts on one image after the other."""

    def __init__(self, overrides: Sequence[str]) -> None:
        cfg = settings_of(overrides)
        self._predictor, self._params = build_predictor(cfg), instantiate(cfg.annotation)
        self._cuts: list[float] = []
        self._totals: list[float] = []
        self._found: list[dict[str, Any]] = []
        self._predictor.predict(["warm-up"], torch.zeros(1, 3, LARGE.height, LARGE.width, dtype=torch.uint8))

    def run(self, image: UInt8[Tensor, "1 3 height width"], image_id: int) -> None:
        """Cut alone, then features, cut and refinement together."""
        features = {name: extractor(image.float() / 255) for name, extractor in self._predictor.extractors.items()}
        start = time.process_time()
        self._predictor.generator.propose(image, features)
        cut = time.process_time()
        (masks,) = self._predictor.predict([str(image_id)], image)
        self._cuts.append(cut - start)
        self._totals.append(time.process_time() - cut)
        assert masks is not None
        encoded, _ = encode_masks(masks, (image.shape[2], image.shape[3]), params=self._params)
        self._found += [{**one, "image_id": image_id, "category_id": 1} for one in encoded]

    def result(self, coco: dict[str, Any]) -> Result:
        """Median seconds with their range, and the quality of the masks with the refinement."""
        metrics = evaluate_coco(coco, self._found)
        return {
            "cut": _spread(self._cuts),
            "whole": _spread(self._totals),
            "masks_per_image": round(len(self._found) / len(self._totals), 2),
            **{kind: {"AP50": round(values["AP50"], 3)} for kind, values in metrics.items()},
        }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {name: round(of(seconds), 5) for name, of in (("median", statistics.median), ("min", min), ("max", max))}

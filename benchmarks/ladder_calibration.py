"""Calibrated scores: what the scores of a generator mean on the scenes that its options were tuned on."""

import json
from pathlib import Path

import numpy as np
from ladder_data import Data, tuning_scenes
from ladder_masks import constants_of, find_masks, settings_of

from cutler_pl.coco import rle
from cutler_pl.coco.records import group_by_image
from cutler_pl.commands.maskcut import build_predictor
from cutler_pl.commands.result_cache import read_cached, write_cached
from cutler_pl.evaluation.calibration import fit_isotonic, is_right

_POINTS = 41


def score_map(overrides: tuple[str, ...], work: Path) -> list[tuple[float, float]]:
    """Score and share of right masks (IoU from 0.5 on), fitted by isotonic regression; kept below the work folder."""
    settings = {"masks": constants_of(overrides), "points": _POINTS}
    name = "_".join(part.partition("=")[2] for part in overrides) or "maskcut"
    file = work / "score_maps" / f"{name}.json"
    if (content := read_cached(file, settings)) is None:
        content = {"map": _fit(overrides, tuning_scenes(work))}
        write_cached(file, settings, **content)
    return [(score, value) for score, value in content["map"]]


def _fit(overrides: tuple[str, ...], data: Data) -> list[tuple[float, float]]:
    cfg = settings_of(overrides)
    predictor = build_predictor(cfg)
    coco = json.loads(data.annotations.read_text(encoding="utf-8"))
    truth = group_by_image(coco["annotations"])
    scores, right = [], []
    for record in coco["images"]:
        size_hw = record["height"], record["width"]
        found = find_masks(cfg, predictor, data.images, record)
        masks, objects = (
            [rle.to_rle(one["segmentation"], *size_hw) for one in of] for of in (found, truth.get(record["id"], []))
        )
        scores.append(np.array([one["score"] for one in found]))
        right.append(is_right(rle.iou(masks, objects).reshape(len(masks), len(objects)), scores[-1]))
    fitted = fit_isotonic(np.concatenate(scores), np.concatenate(right))
    points = np.linspace(0, 1, _POINTS)
    return [*zip(points.tolist(), np.round(fitted(points), 4).tolist(), strict=True)]

"""COCO metrics over ranks: two processes that share the images give the numbers of one."""

import json
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest

from cutler_pl.coco import rle
from cutler_pl.evaluation import EvalParams, evaluate_coco
from cutler_pl.evaluation.coco_metric import CocoMetric

WORKER = Path(__file__).with_name("coco_metric_worker.py")
IMAGES = 5


def record(image_id: int, x: int, y: int, side: int) -> dict[str, Any]:
    mask = np.zeros((40, 50), dtype=bool)
    mask[y : y + side, x : x + side] = True
    box = [float(x), float(y), float(side), float(side)]
    return {"image_id": image_id, "category_id": 1, "bbox": box, "segmentation": rle.encode(mask)}


@pytest.fixture
def scene() -> tuple[dict[str, Any], dict[int, list[Any]]]:
    """Ground truth, and results by image; image 4 has none."""
    boxes = [(i, 3 * i, 2 * i, 9 + i) for i in range(1, IMAGES + 1)]
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 40, "width": 50} for i in range(1, IMAGES + 1)],
        "annotations": [record(*box) | {"id": n, "iscrowd": 0, "area": 90.0} for n, box in enumerate(boxes, 1)],
        "categories": [{"id": 1, "name": "fg"}],
    }
    found = {i: [record(i, x + i, y, side) | {"score": 0.5 + i / 100}] for i, x, y, side in boxes}
    found[2].append(record(2, 30, 20, 9) | {"score": 0.9})
    return truth, found | {4: []}


def test_metric_equals_evaluate_coco(scene: tuple[Any, Any]) -> None:
    truth, found = scene
    metric = CocoMetric(truth)
    for image_id in (5, 1, 3):
        metric.update({image_id: found[image_id]})
    metric.update({2: found[2], 4: found[4]})
    results = [result for image_id in sorted(found) for result in found[image_id]]
    metrics = metric.compute()
    assert metric.results == results
    expected = evaluate_coco(truth, results)
    assert {kind: {name: metrics[kind][name] for name in expected[kind]} for kind in metrics} == expected
    metric.reset()
    assert metric.compute()["bbox"]["AP"] == 0.0


def test_image_counts_once(scene: tuple[Any, Any]) -> None:
    truth, found = scene
    metric = CocoMetric(truth, EvalParams(["bbox"]))
    metric.update({1: found[1]})
    metric.update({1: found[1]})
    metric.compute()
    assert metric.results == found[1]


@pytest.mark.parametrize(
    "shares", [[[1, 3, 5], [2, 4, 1]], pytest.param([[1, 2, 3, 4, 5], []], marks=pytest.mark.slow)], ids=["both", "one"]
)
def test_two_ranks_give_the_metrics_of_one(scene: tuple[Any, Any], tmp_path: Path, shares: list[list[int]]) -> None:
    """The padding of a sampler shows image 1 to both ranks; a rank without any image takes part."""
    truth, found = scene
    (tmp_path / "scene.json").write_text(json.dumps([truth, list(found.items()), shares]))
    forked.run_ranks(2, WORKER, str(tmp_path), folder=tmp_path)
    whole = CocoMetric(truth)
    whole.update(found)
    expected = [whole.compute(), whole.results]
    for rank in (0, 1):
        assert json.loads((tmp_path / f"rank_{rank}.json").read_text()) == json.loads(json.dumps(expected))

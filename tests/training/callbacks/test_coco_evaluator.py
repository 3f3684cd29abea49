import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from cutler_pl.evaluation import evaluate_coco
from cutler_pl.training.callbacks import CocoEvaluator

Make = Callable[..., Any]


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Ground truth in which the stand-in's first box and mask are right in two of its four images."""
    counts = {"size": [8, 8], "counts": [0] + [4] * 16}
    records = [
        {
            "id": 1 + i,
            "image_id": i,
            "category_id": 1,
            "bbox": [0, 0, 8, 4],
            "area": 32,
            "iscrowd": 0,
            "segmentation": [[0, 0, 8, 0, 8, 4, 0, 4]],
        }
        for i in (1, 5)
    ]
    del counts
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 8, "width": 8} for i in (1, 2, 5, 6)]
    path = tmp_path / "gt.json"
    path.write_text(json.dumps({"images": images, "annotations": records, "categories": [{"id": 1, "name": "fg"}]}))
    return path


class Keep(L.Callback):
    def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if "val/" in name}


def test_metrics_of_validation_are_those_of_the_evaluation(
    annotations: Path, make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    path, keep = tmp_path / "val_predictions.json", Keep()
    evaluator = CocoEvaluator(annotations=annotations, path=path, metrics=("AP50", "AR100"))
    trainer = make_trainer(max_steps=2, val_check_interval=2, limit_val_batches=1.0, callbacks=[evaluator, keep])
    trainer.fit(make_module(), datamodule=stand_in_data(validation=True))
    expected = evaluate_coco(annotations, path)
    assert set(keep.metrics) == {f"val/{kind}/{name}" for kind in ("bbox", "segm") for name in ("AP50", "AR100")}
    for name, value in keep.metrics.items():
        _, kind, metric = name.split("/")
        assert value == pytest.approx(expected[kind][metric], rel=1e-6)
    assert keep.metrics["val/segm/AR100"] == pytest.approx(100.0)


def test_each_category_is_measured_where_classes_count(
    annotations: Path, make_module: Make, make_trainer: Make, stand_in_data: Make, recorder: Make, tmp_path: Path
) -> None:
    tracker = recorder(tmp_path)
    path = tmp_path / "val.json"
    evaluator = CocoEvaluator(annotations=annotations, path=path, class_agnostic=False, metrics=("AP50",))
    options = {"callbacks": [evaluator], "logger": tracker}
    trainer = make_trainer(max_steps=1, val_check_interval=1, limit_val_batches=1.0, **options)
    trainer.fit(make_module(), datamodule=stand_in_data(validation=True))
    by_category = json.loads((tmp_path / "val_categories.json").read_text())
    expected = evaluate_coco(annotations, tmp_path / "val.json", class_agnostic=False)
    assert by_category["segm"]["fg"]["AP50"] == expected["segm"]["AP50"]

    overall, each = tracker.tables
    assert (overall.name, each.name) == ("validation", "validation_categories")
    found = {kind: dict(zip(overall.columns[1:], values, strict=True)) for kind, *values in overall.rows}
    assert {kind: {name: found[kind][name] for name in expected[kind]} for kind in found} == expected
    assert each.columns[:3] == ["iou_type", "category", "AP"]
    assert each.rows == [[kind, "fg", *rows["fg"].values()] for kind, rows in by_category.items()]


def test_last_step_is_validated_whatever_the_interval(
    annotations: Path, make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    class Steps(L.Callback):
        def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
            validated.append(trainer.global_step)

    for max_steps, interval, expected in ((3, 5000, [3]), (5, 2, [2, 4, 5]), (4, 2, [2, 4])):
        validated: list[int] = []
        evaluator = CocoEvaluator(annotations=annotations, path=tmp_path / "val.json", metrics=("AP50",))
        settings = {"max_steps": max_steps, "val_check_interval": interval, "limit_val_batches": 1.0}
        trainer = make_trainer(**settings, callbacks=[evaluator, Steps()])
        trainer.fit(make_module(), datamodule=stand_in_data(validation=True))
        assert validated == expected
        assert trainer.global_step == max_steps


def test_without_validation_images_nothing_is_evaluated(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(max_steps=2, callbacks=[CocoEvaluator(path=tmp_path / "val.json")])
    trainer.fit(make_module(), datamodule=stand_in_data())
    assert trainer.global_step == 2
    assert not (tmp_path / "val.json").exists()

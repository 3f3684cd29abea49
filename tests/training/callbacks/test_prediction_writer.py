import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import PredictionWriter

Make = Callable[..., Any]


def test_run_writes_one_file(stand_in: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path) -> None:
    path = tmp_path / "out" / "predictions.json"
    module = DetectorModule(stand_in(), model_config={"category_ids": [5]})
    trainer = make_trainer(callbacks=[PredictionWriter(path)])
    trainer.predict(module, datamodule=stand_in_data(), return_predictions=False)
    records = json.loads(path.read_text())
    assert [record["image_id"] for record in records] == [1, 1, 2, 2, 5, 5, 6, 6]
    assert {record["category_id"] for record in records} == {5}
    first = path.read_bytes()
    trainer.predict(module, datamodule=stand_in_data(), return_predictions=False)
    assert path.read_bytes() == first
    assert list(path.parent.iterdir()) == [path]


def test_category_ids_reach_the_file(stand_in: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    writer = PredictionWriter(path, category_ids=[3])
    make_trainer(callbacks=[writer]).predict(
        DetectorModule(stand_in()), datamodule=stand_in_data(), return_predictions=False
    )
    records = json.loads(path.read_text())
    assert [(record["image_id"], record["category_id"]) for record in records] == [
        (i, 3) for i in (1, 1, 2, 2, 5, 5, 6, 6)
    ]


def test_failed_run_keeps_old_file(
    stand_in: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "predictions.json"
    path.write_text("[]")
    module = DetectorModule(stand_in())

    def fail(batch: Any, batch_idx: int) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "predict_step", fail)
    with pytest.raises(MemoryError):
        make_trainer(callbacks=[PredictionWriter(path)]).predict(
            module, datamodule=stand_in_data(), return_predictions=False
        )
    assert path.read_text() == "[]"

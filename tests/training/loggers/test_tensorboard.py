from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cutler_pl.training.callbacks import VisualSamples
from cutler_pl.training.loggers import Table, tensorboard_logger

Make = Callable[..., Any]


def test_tensorboard_gets_metrics_and_figures(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    """In one folder, also after a resume."""
    for steps in (2, 4):
        logger = tensorboard_logger(save_dir=tmp_path)
        logger.log_hyperparams({"optimizer": {"lr": 0.1}})
        samples = VisualSamples(tmp_path / "s", every_n_steps=2, num_images=1)
        trainer = make_trainer(max_steps=steps, logger=logger, callbacks=[samples])
        trainer.fit(make_module(), datamodule=stand_in_data())
        logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["samples/train_0"]
    assert {event.step for event in events.Scalars("train/loss")} == {0, 1, 2, 3}


def test_record_and_tables_become_text(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "run.json").write_text('{"commit": "abc"}')
    logger = tensorboard_logger(save_dir=tmp_path)
    logger.track_run(tmp_path, {"commit": "abc"})
    logger.track_table(Table("validation", ["iou_type", "AP"], [["bbox", 1.5]]), step=3)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    texts = {
        name: events.Tensors(f"{name}/text_summary")[0] for name in ("config.yaml", "run.json", "tables/validation")
    }
    assert texts["config.yaml"].tensor_proto.string_val == [b"    seed: 0\n"]
    assert texts["run.json"].tensor_proto.string_val == [b'    {"commit": "abc"}\n']
    assert texts["tables/validation"].tensor_proto.string_val == [b"| iou_type | AP |\n| --- | --- |\n| bbox | 1.50 |"]
    assert texts["tables/validation"].step == 3

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb_records import artifacts_of, config_of, history_of

from cutler_pl.errors import TrackerError
from cutler_pl.training.callbacks import StepCheckpoint, VisualSamples
from cutler_pl.training.loggers import Table, wandb_logger

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the user's is read or written."""
    for name in ("CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_DATA_DIR", "WANDB_ERROR_REPORTING", "WANDB_MODE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    wandb.teardown()


def test_offline_run_holds_everything(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    options = {"save_dir": tmp_path, "offline": True, "project": "test", "run_id_file": tmp_path / "wandb_id.txt"}
    logger = wandb_logger(**options, name="a")
    logger.log_hyperparams({"optimizer": {"lr": 0.1}})
    logger.track_run(tmp_path, {"commit": "abc"})
    samples = VisualSamples(tmp_path / "s", every_n_steps=2, num_images=1)
    keep = StepCheckpoint(tmp_path / "c", every_n_steps=2)
    trainer = make_trainer(max_steps=2, logger=logger, callbacks=[samples, keep], enable_checkpointing=True)
    trainer.fit(make_module(), datamodule=stand_in_data())
    logger.track_table(Table("validation", ["iou_type", "AP"], [["bbox", 1.5]]), step=2)
    logger.experiment.finish()
    assert wandb_logger(**options, name="a").version == logger.version  # a resumed training goes on in its run
    wandb.teardown()  # else the last bytes are written when this process ends

    config = config_of(tmp_path)
    assert config["optimizer"] == {"lr": 0.1}
    assert config["run"] == {"commit": "abc"}
    history = history_of(tmp_path)
    assert sum("train/loss_mask" in row for row in history) == 2
    figures = [row for row in history if "samples/train_0/filenames" in row]
    assert [row["trainer/global_step"] for row in figures] == [1, 2]
    assert [row["tables/validation/nrows"] for row in history if "tables/validation/nrows" in row] == [1]
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert [path.suffix for path in folder.glob("files/media/images/samples/train_0_*")] == [".jpg", ".jpg"]
    (model,) = (artifact for artifact in artifacts_of(tmp_path) if artifact.type == "model")
    (entry,) = model.manifest.contents
    assert (entry.path, set(model.aliases)) == ("step_0000002.ckpt", {"latest", "step_0000002"})
    staged = Path(entry.local_path)
    assert staged.is_relative_to(tmp_path / "wandb")  # with the run, not in the user's home
    assert staged.read_bytes() == (tmp_path / "c" / "step_0000002.ckpt").read_bytes()


def test_no_login_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    logger = wandb_logger(save_dir=tmp_path, offline=False, project="test", run_id_file=tmp_path / "wandb_id.txt")
    with pytest.raises(TrackerError, match=r"No API key configured; run `wandb login` once, .*offline=true$"):
        _ = logger.experiment
    assert not os.environ.get("WANDB_DATA_DIR")

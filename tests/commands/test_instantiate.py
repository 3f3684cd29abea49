"""The Trainer that the commands build."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from cutler_pl.commands.instantiate import build_trainer
from cutler_pl.runtime.config_tree import config_dir

GIVEN = {
    "train": ["data.images=a", "data.annotations=b"],
    "maskcut": ["input=a", "output=b", "maskcut=patch_descriptors"],
    "predict": ["input=a", "output=b", "checkpoint=c"],
}


@pytest.mark.parametrize("name", GIVEN)
def test_progress_null_shows_no_bar(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without our bar, Lightning's own would count epochs."""
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    shown = []
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        for setting in ([], ["callbacks.progress=null"]):
            cfg = compose(name, ["trainer=cpu", "logger=none", f"paths.output_dir={tmp_path}", *GIVEN[name], *setting])
            shown.append(build_trainer(cfg).progress_bar_callback is not None)
    assert shown == [True, False]


def test_validation_interval_counts_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's counts batches, of which a step has several where gradients are accumulated."""
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    settings = ["trainer=cpu", "logger=none", f"paths.output_dir={tmp_path}", *GIVEN["train"]]
    accumulation = ["trainer.accumulate_grad_batches=4", "trainer.val_check_interval=10"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        assert build_trainer(compose("train", settings)).val_check_interval == 5000
        assert build_trainer(compose("train", settings + accumulation)).val_check_interval == 40

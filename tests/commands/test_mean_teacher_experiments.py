"""The experiments with a mean teacher: what they compose, and what they refuse."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from cutler_pl.commands import train
from cutler_pl.commands.instantiate import instantiate_all
from cutler_pl.commands.run_settings import run_settings
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.errors import CheckpointError
from cutler_pl.models import build_detector
from cutler_pl.training.callbacks import EMAWeights, PreciseBatchNorm
from cutler_pl.training.mean_teacher_params import MeanTeacherParams
from tests.commands.test_experiments import _hydra, composed, given

__all__ = ["_hydra"]  # a fixture of every test here


@pytest.mark.parametrize(("name", "decay"), [("self_train_ema", 0.9996), ("quickstart_self_train_ema", 0.98)])
def test_mean_teacher_is_the_average(name: str, decay: float, tmp_path: Path) -> None:
    """The strong view changes pixels alone, the datamodule nothing; the average is measured after it is made."""
    cfg = composed(f"experiment={name}", *given(name), tmp_path=tmp_path)
    teacher, datamodule = instantiate(cfg.teacher), instantiate(cfg.data.datamodule)
    assert teacher.params == MeanTeacherParams()
    assert len(teacher.strong.transforms) == 6
    assert datamodule.augment.copy_paste is datamodule.augment.transforms is None
    average, *others = instantiate_all(cfg.callbacks)
    assert isinstance(average, EMAWeights)
    assert average._kwargs["avg_fn"](torch.ones(1), torch.zeros(1), 1).item() == pytest.approx(decay)
    assert any(isinstance(callback, PreciseBatchNorm) for callback in others)
    assert run_settings(cfg, processes=1)["teacher.params.min_score"] == 0.7  # named where it changes on resume
    assert teacher.tta is None


def test_teacher_sees_views_of_cups(tmp_path: Path) -> None:
    cfg = composed("experiment=quickstart_self_train_ema", "teacher=cups", "data.images=a", tmp_path=tmp_path)
    teacher = instantiate(cfg.teacher)
    assert teacher.tta.views == [(scale, flip) for scale in (0.5, 0.75, 1.0) for flip in (False, True)]
    assert (teacher.params.min_score, teacher.params.mask_loss) == (0.5, True)


def test_teacher_of_another_architecture_is_one_sentence(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set" / "images", 1, SceneParams(height=32, width=32), seed=0)
    other = build_detector("mask_rcnn_r50_fpn", backbone="timm/resnet10t", fpn_channels=64, box_head_dim=8)
    state = {f"model.{name}": value for name, value in other.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    data = [f"data.images={tmp_path}/set/images", f"data.annotations={tmp_path}/set/annotations.json"]
    cfg = composed("experiment=quickstart_self_train_ema", f"model.init={tmp_path}/a.ckpt", *data, tmp_path=tmp_path)
    with pytest.raises(CheckpointError, match=r"a\.ckpt does not fit .*another architecture; give .* model= ") as error:
        train.run(cfg)
    assert "\n" not in str(error.value)

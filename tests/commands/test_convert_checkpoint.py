import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from hydra import compose, initialize_config_dir

from cutler_pl.commands import convert_checkpoint
from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.models import build_detector
from cutler_pl.weights.files import read_state
from cutler_pl.weights.load import to_detectron2

ROOT = Path(__file__).resolve().parents[2]
TINY = {"backbone": "resnet18", "fpn_channels": 8, "box_head_dim": 8, "mask_head_channels": 8}
TINY_OVERRIDES = [f"model.detector.{name}={value}" for name, value in TINY.items()]


def convert(**overrides: object) -> Path:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("convert_checkpoint", [*TINY_OVERRIDES, *(f"{k}={v}" for k, v in overrides.items())])
    return convert_checkpoint.run(cfg)


@pytest.mark.parametrize(
    ("model", "architecture", "num_classes"),
    [("cascade_mask_rcnn", "cascade_mask_rcnn_r50_fpn", 1), ("mask_rcnn", "mask_rcnn_r50_fpn", 3)],
)
def test_weights_go_to_our_format_and_back_bit_by_bit(
    tmp_path: Path, model: str, architecture: str, num_classes: int
) -> None:
    original = to_detectron2(build_detector(architecture, num_classes, **TINY))
    torch.save({"model": original}, tmp_path / "original.pth")
    common = {"model": model, "num_classes": num_classes}
    ours = convert(source=tmp_path / "original.pth", output=tmp_path / "a.safetensors", format="cutler_pl", **common)
    back = convert(source=ours, output=tmp_path / "new" / "b.pkl", format="detectron2", **common)
    assert any(key.startswith("roi_heads.stages.0.") for key in read_state(ours))
    found = read_state(back)
    assert list(found) == list(original)
    assert all(torch.equal(found[key], value) for key, value in original.items())


def test_settings_that_cannot_work_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="format=caffe"):
        convert(source="missing", output=tmp_path / "a.pth", format="caffe")
    with pytest.raises(ConfigError, match=r"\.pth \.pkl \.safetensors"):
        convert(source="missing", output=tmp_path / "a.bin")


def test_backbone_alone_is_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="a backbone without the rest"):
        convert(source=tmp_path / "resnet.pth", output=tmp_path / "a.pth")
    assert not (tmp_path / "a.pth").exists()


def test_command_ends_with_one_sentence_and_exit_code_1_for_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.zeros(2)}, tmp_path / "other.pth")
    command = [sys.executable, ROOT / "scripts/convert_checkpoint.py", *TINY_OVERRIDES]
    command += [f"source={tmp_path / 'other.pth'}", f"output={tmp_path / 'out.pth'}"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 1
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith(f"error: {tmp_path / 'other.pth'} is a checkpoint of another model")
    assert "1 without a place in the model: encoder.weight" in sentence
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["other.pth"]

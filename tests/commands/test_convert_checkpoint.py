from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from hydra import compose, initialize_config_dir

from cutler_pl.commands import convert_checkpoint
from cutler_pl.commands.values import check_values
from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.models import build_detector, load_detector
from cutler_pl.models.checkpoint import detector_config
from cutler_pl.weights.files import read_state
from cutler_pl.weights.load import to_detectron2

from .conftest import Command, sentence

ROOT = Path(__file__).resolve().parents[2]
TINY = {"backbone": "resnet18", "fpn_channels": 8, "box_head_dim": 8, "mask_head_channels": 8}


def convert(**overrides: object) -> Path:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("convert_checkpoint", [f"{k}={v}" for k, v in overrides.items()])
    check_values("convert_checkpoint", cfg)
    return convert_checkpoint.run(cfg)


@pytest.mark.parametrize(("architecture", "num_classes"), [("cascade_mask_rcnn_r50_fpn", 1), ("mask_rcnn_r50_fpn", 3)])
def test_round_trip_of_weights_is_exact(tmp_path: Path, architecture: str, num_classes: int) -> None:
    original = to_detectron2(build_detector(architecture, num_classes, **TINY))
    torch.save({"model": original}, tmp_path / "original.pth")
    ours = convert(source=tmp_path / "original.pth", output=tmp_path / "a.safetensors", format="cutler_pl")
    back = convert(source=ours, output=tmp_path / "new" / "b.pkl", format="detectron2", num_classes=num_classes)
    assert any(key.startswith("roi_heads.stages.0.") for key in read_state(ours))
    found = read_state(back)
    assert list(found) == list(original)
    assert all(torch.equal(found[key], value) for key, value in original.items())


def test_refuse_invalid_settings(tmp_path: Path) -> None:
    """Refused before anything is read."""
    with pytest.raises(ConfigError, match="format=caffe: expected one of detectron2"):
        convert(source="missing", output=tmp_path / "a.pth", format="caffe")
    with pytest.raises(ConfigError, match=r"\.pth \.pkl \.safetensors"):
        convert(source="missing", output=tmp_path / "a.bin")


def test_backbone_alone_is_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="holds no detector with box and mask heads"):
        convert(source=tmp_path / "resnet.pth", output=tmp_path / "a.pth")
    assert not (tmp_path / "a.pth").exists()


def test_refuse_checkpoint_of_another_model(command: Command, tmp_path: Path) -> None:
    """The command prints one sentence and exits with 1."""
    torch.save({"encoder.weight": torch.zeros(2)}, tmp_path / "other.pth")
    words = (f"source={tmp_path / 'other.pth'}", f"output={tmp_path / 'out.pth'}")
    line = sentence(command("scripts/convert_checkpoint.py", *words))
    assert line.startswith(f"error: {tmp_path / 'other.pth'}: holds no detector with box and mask heads")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cwd", "other.pth"]


def test_description_travels_with_the_weights(tmp_path: Path) -> None:
    model = build_detector("cascade_mask_rcnn_r50_fpn", 1, **TINY, min_size_test=64)
    described = detector_config(model, category_ids=[7], class_names=["bird"])
    torch.save({"state_dict": model.state_dict(), "model_config": described}, tmp_path / "a.ckpt")
    for name, form in (("b.safetensors", "cutler_pl"), ("c.pth", "detectron2"), ("d.pkl", "detectron2")):
        converted = convert(source=tmp_path / "a.ckpt", output=tmp_path / name, format=form)
        found, metadata = load_detector(converted)
        assert found.config.min_size_test == 64
        assert metadata == ((7,), ("bird",), False)


def test_number_of_classes_is_checked(tmp_path: Path) -> None:
    torch.save(build_detector("mask_rcnn_r50_fpn", 3, **TINY).state_dict(), tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=r"num_classes=80, but .*a\.pth was trained with 3"):
        convert(source=tmp_path / "a.pth", output=tmp_path / "b.pth", num_classes=80)


@pytest.mark.parametrize("ending", ["out.pth", "out.safetensors"])
def test_backbone_converts_for_torchvision(tmp_path: Path, ending: str) -> None:
    """Out of a detector, and out of a file that holds a ResNet-50 alone."""
    detector = build_detector("mask_rcnn_r50_fpn", 1, **TINY)
    torch.save(detector.state_dict(), tmp_path / "a.pth")
    resnet = torchvision.models.resnet50()
    torch.save({"state_dict": {f"module.encoder_q.{k}": v for k, v in resnet.state_dict().items()}}, tmp_path / "b.pth")
    for source, model, expected in (
        ("a.pth", torchvision.models.resnet18(), detector.backbone.body.state_dict()),
        ("b.pth", torchvision.models.resnet50(), resnet.state_dict()),
    ):
        path = convert(source=tmp_path / source, output=tmp_path / ending, format="torchvision")
        state = torch.load(path) if ending.endswith("pth") else safetensors.torch.load_file(path)
        result = model.load_state_dict(state, strict=False)
        assert set(result.missing_keys) <= {"fc.weight", "fc.bias"}
        assert result.unexpected_keys == []
        assert all(torch.equal(value, expected[key]) for key, value in state.items())


def test_half_precision_is_half_as_large(tmp_path: Path) -> None:
    model = build_detector("cascade_mask_rcnn_r50_fpn", 1, **TINY)
    described = detector_config(model, category_ids=[1], class_names=["fg"])
    torch.save({"model": model.state_dict(), "model_config": described}, tmp_path / "a.pth")
    sizes = []
    for half in (False, True):
        output = tmp_path / f"{half}.safetensors"
        convert(source=tmp_path / "a.pth", output=output, format="cutler_pl", half=half)
        sizes.append(output.stat().st_size)
    assert sizes[1] < 0.55 * sizes[0]
    loaded, _ = load_detector(tmp_path / "True.safetensors")
    for key, value in model.state_dict().items():
        assert loaded.state_dict()[key].dtype == value.dtype
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=1e-3, atol=1e-6)


def test_half_refuses_numbers_out_of_range(tmp_path: Path) -> None:
    state = build_detector("cascade_mask_rcnn_r50_fpn", 1, **TINY).state_dict()
    state["rpn.head.conv.bias"].fill_(1e6)
    torch.save({"model": state}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"rpn\.head\.conv\.bias has numbers beyond"):
        convert(source=tmp_path / "a.pth", output=tmp_path / "b.safetensors", format="cutler_pl", half=True)
    assert not (tmp_path / "b.safetensors").exists()

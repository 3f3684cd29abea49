import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from cutler_pl.coco.categories import COCO_CATEGORIES
from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.models import Detector, build_detector, load_detector
from cutler_pl.models.checkpoint import detector_config
from cutler_pl.weights.files import write_state
from cutler_pl.weights.load import to_detectron2

HERE = Path(__file__).parent
CASCADE, SINGLE = "cascade_mask_rcnn_r50_fpn", "mask_rcnn_r50_fpn"
TINY = {"backbone": "resnet18", "fpn_channels": 32, "box_head_dim": 12, "mask_head_channels": 8, "mask_head_convs": 2}


def tiny(name: str = CASCADE, num_classes: int = 1, **options: Any) -> Detector:
    return build_detector(name, num_classes, **TINY | options)


def assert_same(model: nn.Module, source: nn.Module) -> None:
    expected = source.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def save(path: Path, model: Detector, **changes: Any) -> Path:
    config = detector_config(model, category_ids=[4, 9], class_names=["cat", "dog"])
    config["detector"] |= changes
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "model_config": config, "epoch": 3}, path)
    return path


def test_checkpoint_describes_its_model(tmp_path: Path) -> None:
    source = tiny(num_classes=2, min_size_test=64, pixel_mean=(1.0, 2.0, 3.0))
    model, metadata = load_detector(save(tmp_path / "a.ckpt", source), max_detections=5)
    assert_same(model, source)
    assert (model.config.min_size_test, model.config.max_detections) == (64, 5)
    assert model.pixel_mean.tolist() == [1, 2, 3]
    assert metadata.category_ids == (4, 9)
    assert metadata.class_names == ("cat", "dog")


def test_checkpoint_of_2026_11_loads() -> None:
    """Written by commit e082497 (Trainer.save_checkpoint), every weight a zero tensor expanded from one element."""
    model, metadata = load_detector(HERE / "cascade_e082497.ckpt")
    assert metadata == ((3,), ("object",), False)
    config = model.config
    assert (config.min_size_test, config.max_size_test, config.max_detections) == (64, 96, 7)
    assert (config.backbone, config.fpn_channels, len(config.stage_ious)) == ("resnet18", 8, 3)
    assert not any(parameter.any() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "num_classes", "options"),
    [
        (CASCADE, 1, {}),
        (CASCADE, 80, {"backbone": "resnet50"}),
        (CASCADE, 2, {"stage_ious": (0.5, 0.6), "stage_box_weights": ((10, 10, 5, 5), (20, 20, 10, 10)), "norm": "gn"}),
        (SINGLE, 1, {"backbone": "resnet34"}),
        (SINGLE, 3, {"norm": "frozen"}),
        (SINGLE, 3, {"class_agnostic_boxes": True}),
    ],
)
@pytest.mark.parametrize("ending", ["ours.safetensors", "detectron2.pth", "detectron2.pkl"])
def test_architecture_is_read_off_weights(
    tmp_path: Path, name: str, num_classes: int, options: dict[str, Any], ending: str
) -> None:
    source = tiny(name, num_classes, **options)
    write_state(tmp_path / ending, source.state_dict() if "ours" in ending else to_detectron2(source))
    model, metadata = load_detector(tmp_path / ending)
    found, expected = model.config, source.config
    for option in (*TINY, "num_classes", "stage_ious", "stage_box_weights"):
        assert getattr(found, option) == getattr(expected, option), option
    assert found.norm == ("bn" if expected.norm == "frozen" else expected.norm)  # frozen or not is one at inference
    assert found.class_agnostic_boxes == expected.class_agnostic_boxes
    shared = model.state_dict().keys() & source.state_dict().keys()
    assert all(torch.equal(model.state_dict()[key], source.state_dict()[key]) for key in shared)
    ids = tuple(COCO_CATEGORIES) if num_classes == 80 else tuple(range(1, num_classes + 1))
    assert metadata.category_ids == ids
    assert metadata.class_names[-1] == {1: "fg", 80: "toothbrush"}.get(num_classes, str(num_classes))
    assert metadata.assumed


def test_options_of_inference_act(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", tiny(num_classes=2))
    changes = {"min_size_test": 64, "nms_threshold": 0.3, "score_threshold": 0.2, "rpn_post_nms_test": 7}
    model, _ = load_detector(path, **changes, num_classes=2)
    assert {name: getattr(model.config, name) for name in changes} == changes
    assert model.roi_heads.config is model.config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"num_classes": 5}, "num_classes=5, but .*a.ckpt was trained with 2; leave num_classes out"),
        ({"anchor_sizes": [8, 16, 32, 64, 128]}, "anchor_sizes=.* was trained with"),
        ({"roi_batch_per_image": 5}, "roi_batch_per_image is an option of training"),
        ({"no_such": 5}, "no_such"),
    ],
)
def test_options_of_training_are_refused(tmp_path: Path, override: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "a.ckpt", tiny(num_classes=2))
    with pytest.raises(ConfigError, match=message):
        load_detector(path, **override)


def test_timm_backbone_has_to_be_named(tmp_path: Path) -> None:
    source = tiny(backbone="timm/test_resnet")
    torch.save(source.state_dict(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: its backbone is not one of resnet18.*give backbone=timm"):
        load_detector(tmp_path / "a.pth")
    assert_same(load_detector(tmp_path / "a.pth", backbone="timm/test_resnet")[0], source)


def test_backbone_alone_is_no_detector(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"resnet\.pth: holds no detector with box and mask heads"):
        load_detector(tmp_path / "resnet.pth")


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.ckpt: no such file.*released"):
        load_detector(tmp_path / "nothing.ckpt")
    (tmp_path / "junk.ckpt").write_bytes(b"not a checkpoint at all")
    with pytest.raises(CheckpointError, match=r"junk\.ckpt: not a checkpoint"):
        load_detector(tmp_path / "junk.ckpt")
    (tmp_path / "cut.ckpt").write_bytes(save(tmp_path / "whole.ckpt", tiny(num_classes=2)).read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"cut\.ckpt: not readable as a PyTorch checkpoint"):
        load_detector(tmp_path / "cut.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "empty.ckpt")
    with pytest.raises(CheckpointError, match=r"empty\.ckpt: holds no weights"):
        load_detector(tmp_path / "empty.ckpt")


def test_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": {}, "model_config": Payload()}, tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError, match="refused"):
        load_detector(tmp_path / "bad.ckpt")
    assert not (tmp_path / "ran").exists()


def test_weights_that_do_not_fit_the_description(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", tiny(num_classes=2), fpn_channels=64)
    with pytest.raises(CheckpointError, match=r"(?s)backbone\.fpn\.inner_blocks.*built as the file describes"):
        load_detector(path)


def test_prediction_imports_no_lightning(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", tiny(num_classes=2, min_size_test=64, rpn_post_nms_test=20))
    program = (
        "import sys, torch\n"
        "from cutler_pl.models import build_detector, load_detector, load_weights\n"
        f"model, _ = load_detector({str(path)!r})\n"
        f"load_weights(model, {str(path)!r})\n"
        "model.eval()([torch.zeros(3, 40, 50, dtype=torch.uint8)])\n"
        "assert not {'lightning', 'pytorch_lightning', 'lightning_fabric'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

"""Weights that do not fit the model, in part or at all."""

import json
import re
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from cutler_pl.errors import CheckpointError
from cutler_pl.models import build_detector, load_weights
from cutler_pl.weights.load import to_detectron2

from .tiny_detectors import CASCADE, SINGLE, assert_same, copied, tiny


def broken_state(model: nn.Module) -> dict[str, Tensor]:
    state = to_detectron2(model)
    del state["backbone.fpn_lateral3.weight"], state["roi_heads.box_head.1.fc2.bias"]
    state["roi_heads.box_predictor.2.cls_score.bias"] = torch.zeros(7)
    return state | {"proposal_generator.extra": torch.zeros(1), "roi_heads.keypoint_head.weight": torch.zeros(1)}


def test_strict_loading_names_every_mismatch() -> None:
    """The model does not change."""
    model = tiny(seed=2)
    before = copied(model)
    with pytest.raises(CheckpointError) as error:
        load_weights(model, broken_state(tiny(seed=1)))
    message = str(error.value)
    assert message.startswith("the given state dict does not fit the model: ")
    assert "1 of another shape: roi_heads.stages.2.predictor.cls_score.bias" in message
    assert "[7] instead of [2]" in message
    missing = "2 missing in the source: backbone.fpn.inner_blocks.1.0.weight (backbone.fpn_lateral3.weight)"
    assert missing in message
    assert "(roi_heads.box_head.1.fc2.bias)" in message
    unexpected = "proposal_generator.extra, roi_heads.keypoint_head.weight"
    assert f"2 without a place in the model: {unexpected}" in message
    assert_same(model, before)


def test_lenient_loading_reports_mismatches() -> None:
    """What fits is loaded."""
    source, model = tiny(seed=1), tiny(seed=2)
    before = copied(model)
    report = load_weights(model, broken_state(source), strict=False)
    left = {"backbone.fpn.inner_blocks.1.0.weight", "roi_heads.stages.1.head.fc2.bias"}
    assert set(report.missing) == left
    assert report.unexpected == ("proposal_generator.extra", "roi_heads.keypoint_head.weight")
    assert report.mismatched == (("roi_heads.stages.2.predictor.cls_score.bias", (2,), (7,)),)
    assert not report.fits
    assert_same(model, source.state_dict() | {key: before[key] for key in (*left, report.mismatched[0].key)})
    assert "of another shape" in str(report)


@pytest.mark.parametrize(
    "state",
    [{"encoder.weight": torch.zeros(2)}, torchvision.models.squeezenet1_1(weights=None).state_dict()],
    ids=["unknown", "squeezenet"],
)
def test_name_checkpoint_of_another_model(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"model": state}, tmp_path / "other.pth")
    pattern = r"other\.pth is a checkpoint of another model: none of its weights fits"
    with pytest.raises(CheckpointError, match=pattern) as error:
        load_weights(tiny(), tmp_path / "other.pth")
    assert all(key in str(error.value) for key in state)


def test_refuse_torchvision_detector() -> None:
    """Although its backbone fits."""
    model = tiny()
    state = {key: value for key, value in copied(model).items() if key.startswith("backbone.body.")}
    state |= {"rpn.head.conv.0.0.weight": torch.zeros(1), "roi_heads.box_head.fc6.weight": torch.zeros(1)}
    with pytest.raises(
        CheckpointError, match=r"2 without a place in the model: rpn\.head\.conv\.0\.0\.weight"
    ) as error:
        load_weights(model, state)
    assert "missing in the source: backbone.fpn.inner_blocks.0.0.weight" in str(error.value)


def test_mask_rcnn_does_not_load_into_a_cascade() -> None:
    with pytest.raises(CheckpointError, match=re.escape("roi_heads.box_head.2.fc1.weight")):
        load_weights(tiny(CASCADE), to_detectron2(tiny(SINGLE)))


HEAD_LAYERS = {
    *(f"roi_heads.stages.{stage}.predictor.cls_score.{leaf}" for stage in range(3) for leaf in ("weight", "bias")),
    *(f"roi_heads.mask_head.predictor.{leaf}" for leaf in ("weight", "bias")),
}


def test_refuse_other_number_of_classes() -> None:
    """The error names the head layers and the way out."""
    with pytest.raises(CheckpointError, match=r"another number of classes.*reset_head=True") as error:
        load_weights(tiny(CASCADE, 80), to_detectron2(tiny(CASCADE, 1)))
    assert all(key in str(error.value) for key in HEAD_LAYERS)


def test_reset_head_keeps_initial_head_layers() -> None:
    source, model = tiny(CASCADE, 1, seed=1), tiny(CASCADE, 80, seed=2)
    before = copied(model)
    report = load_weights(model, to_detectron2(source), reset_head=True)
    assert set(report.newly_initialized) == HEAD_LAYERS
    assert report.fits
    assert_same(model, copied(source) | {key: before[key] for key in HEAD_LAYERS})
    assert "8 newly initialized (roi_heads.mask_head.predictor, roi_heads.stages.0.predictor.cls_score" in str(report)


def test_reset_head_does_not_excuse_other_layers() -> None:
    state = to_detectron2(tiny(CASCADE, 1)) | {"roi_heads.box_head.0.fc1.bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"roi_heads\.stages\.0\.head\.fc1\.bias"):
        load_weights(tiny(CASCADE, 80), state, reset_head=True)


@pytest.mark.golden
def test_golden_one_class_into_80_classes(golden_dir: Path) -> None:
    """The listed layers keep their initial weights."""
    shapes = json.loads((golden_dir / "detector/state_dict_keys.json").read_text())["cascade_imagenet"]["state_dict"]
    state = {key: torch.zeros(()).expand(entry["shape"]) for key, entry in shapes.items()}
    report = load_weights(build_detector(CASCADE, 80), state, reset_head=True)
    assert {report.source_names[key] for key in report.newly_initialized} == {
        *(f"roi_heads.box_predictor.{k}.cls_score.{leaf}" for k in range(3) for leaf in ("weight", "bias")),
        *(f"roi_heads.mask_head.predictor.{leaf}" for leaf in ("weight", "bias")),
    }
    assert len(report.loaded) == 400

"""The model options: the defaults of the code, and what the recipe changes."""

from dataclasses import asdict
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from cutler_pl.models import Detector
from cutler_pl.models.config import make_config
from cutler_pl.models.droploss import DropLoss

CONF = Path(__file__).resolve().parents[2] / "conf"


def _detector(model: str, num_classes: int = 1) -> Detector:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(overrides=[f"+model={model}", "model.init=scratch"])
    return instantiate(cfg.model.detector)(num_classes=num_classes)


@pytest.mark.parametrize(
    ("model", "name"),
    [("cascade_mask_rcnn", "cascade_mask_rcnn_r50_fpn"), ("mask_rcnn", "mask_rcnn_r50_fpn")],
)
def test_unsupervised_models_differ_in_droploss(model, name):
    config = _detector(model).config
    assert config == make_config(name, classification_weights=config.classification_weights)
    assert isinstance(config.classification_weights, DropLoss)
    assert config.classification_weights.iou_thresh == 0.01


@pytest.mark.parametrize(
    ("model", "num_classes", "changed"),
    [
        ("cascade_mask_rcnn_self_train", 1, set()),
        ("cascade_mask_rcnn_coco", 80, {"score_threshold", "num_classes"}),
        ("cascade_mask_rcnn_moco", 80, {"score_threshold", "num_classes"}),
    ],
)
def test_self_training_overrides(model, num_classes, changed):
    """Later trainings differ from the first in these settings alone."""
    first, later = asdict(make_config("cascade_mask_rcnn_r50_fpn")), asdict(_detector(model, num_classes).config)
    assert {key for key in first if later[key] != first[key]} == changed | {"rpn_nms_threshold", "rpn_post_nms_train"}


@pytest.mark.parametrize(("loss", "weights"), [("soft", type(None)), ("soft_droploss", DropLoss)])
def test_soft_losses_with_and_without_droploss(loss, weights):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(overrides=["+model=mask_rcnn", f"model/loss={loss}", "model.init=scratch"])
    keywords = instantiate(cfg.model.detector).keywords
    assert keywords["soft_targets"] is True
    assert type(keywords["classification_weights"]) is weights


@pytest.mark.parametrize(
    ("loss", "soft", "weights"),
    [
        ("confidence", False, type(None)),
        ("[droploss,confidence]", False, DropLoss),
        ("[soft_droploss,confidence]", True, DropLoss),
    ],
)
def test_confidence_goes_with_other_losses(loss, soft, weights):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(overrides=["+model=mask_rcnn", f"model/loss={loss}", "model.init=scratch"])
    keywords = instantiate(cfg.model.detector).keywords
    assert keywords["pixel_confidence"] is True
    assert keywords["soft_targets"] is soft
    assert type(keywords.get("classification_weights")) is weights


def test_tiny_cascade_is_tiny():
    detector = _detector("cascade_mask_rcnn_tiny")
    assert len(detector.roi_heads.stages) == 3
    assert sum(p.numel() for p in detector.parameters()) < 15e6

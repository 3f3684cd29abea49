import json
from pathlib import Path

import pytest
import torchvision

from cutler_pl.errors import CheckpointError
from cutler_pl.weights.detectron2_keys import (
    from_detectron2,
    from_detectron2_key,
    to_detectron2,
    to_detectron2_key,
)

MODELS = ("cascade_imagenet", "mask_rcnn_imagenet", "cascade_semi_coco80")


@pytest.fixture(scope="module")
def official(golden_dir: Path) -> dict:
    return json.loads((golden_dir / "detector" / "state_dict_keys.json").read_text())


@pytest.mark.golden
@pytest.mark.parametrize("model", MODELS)
def test_official_keys_map_one_to_one(official, model):
    keys = official[model]["state_dict"]
    ours = from_detectron2(keys)
    assert len(ours) == len(keys) == official[model]["n_keys"]
    assert list(to_detectron2(ours)) == list(keys)


@pytest.mark.golden
def test_dino_backbone_keys_lie_in_the_cascade_backbone(official):
    shapes = official["dino_RN50_pretrain_d2_format_pkl"]["model_keys_shapes"]
    cascade = from_detectron2(official["cascade_imagenet"]["state_dict"])
    ours = from_detectron2(shapes)
    assert len(ours) == 265
    assert all(cascade[key]["shape"] == list(shape) for key, shape in ours.items())


@pytest.mark.golden
def test_torchvision_resnet50_fills_the_same_backbone(official):
    cascade = from_detectron2(official["cascade_imagenet"]["state_dict"])
    state = torchvision.models.resnet50().state_dict()
    ours = {f"backbone.body.{key}": list(value.shape) for key, value in state.items() if not key.startswith("fc.")}
    body = {key: value["shape"] for key, value in cascade.items() if key.startswith("backbone.body.")}
    assert ours == body


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("backbone.bottom_up.stem.conv1.norm.running_var", "backbone.body.bn1.running_var"),
        ("res2.0.shortcut.weight", "backbone.body.layer1.0.downsample.0.weight"),
        ("backbone.bottom_up.res5.2.conv3.norm.bias", "backbone.body.layer4.2.bn3.bias"),
        ("backbone.fpn_lateral2.norm.weight", "backbone.fpn.inner_blocks.0.1.weight"),
        ("proposal_generator.rpn_head.anchor_deltas.bias", "rpn.head.anchor_deltas.bias"),
        ("roi_heads.box_predictor.2.cls_score.weight", "roi_heads.stages.2.predictor.cls_score.weight"),
        ("roi_heads.box_head.fc1.weight", "roi_heads.stages.0.head.fc1.weight"),
        ("roi_heads.mask_head.mask_fcn1.weight", "roi_heads.mask_head.convs.0.weight"),
        ("roi_heads.mask_head.deconv.bias", "roi_heads.mask_head.deconv.bias"),
    ],
)
def test_names_of_each_part(theirs, ours):
    assert from_detectron2_key(theirs) == ours


@pytest.mark.parametrize(
    "key", ["pixel_mean", "proposal_generator.anchor_generator.cell_anchors.4", "fc.weight", "stem.fc.bias"]
)
def test_constants_and_classifiers_have_nothing_to_load(key):
    assert from_detectron2_key(key) is None


def test_only_a_cascade_numbers_its_stages_in_detectron2():
    key = "roi_heads.stages.0.head.fc2.bias"
    assert to_detectron2_key(key, cascade=True) == "roi_heads.box_head.0.fc2.bias"
    assert to_detectron2_key(key, cascade=False) == "roi_heads.box_head.fc2.bias"


def test_unknown_names_are_all_listed():
    with pytest.raises(CheckpointError, match=r"head\.lost\.weight, roi_heads\.keypoint\.0\.bias"):
        from_detectron2({"head.lost.weight": 0, "fc.bias": 0, "roi_heads.keypoint.0.bias": 0})
    with pytest.raises(CheckpointError, match="timm_stage"):
        to_detectron2({"backbone.body.timm_stage.weight": 0})

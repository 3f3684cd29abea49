import pytest
import torch
from torch import nn

from cutler_pl.errors import ConfigError
from cutler_pl.models import build_detector
from cutler_pl.models.backbone import build_backbone
from cutler_pl.models.config import DetectorConfig, make_config
from cutler_pl.weights.detectron2_keys import from_detectron2, to_detectron2

SMALL = {"backbone": "resnet18", "fpn_channels": 32, "box_head_dim": 16, "mask_head_channels": 8, "mask_head_convs": 1}


def test_defaults_are_the_recipe_of_both_architectures():
    cascade, single = make_config("cascade_mask_rcnn_r50_fpn"), make_config("mask_rcnn_r50_fpn")
    assert cascade == DetectorConfig()
    for params in (cascade, single):
        assert (params.score_threshold, params.rpn_nms_threshold, params.max_detections) == (0.0, 0.65, 100)
        assert (params.rpn_post_nms_train, params.rpn_post_nms_test) == (4000, 1000)
        assert (params.min_size_test, params.max_size_test) == (800, 1333)
    assert (single.stage_ious, single.class_agnostic_boxes) == ((0.5,), False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nms": 0.5}, "detector option 'nms' does not exist; choose one of num_classes, backbone"),
        ({"detections_per_image": 5}, "detector option 'detections_per_image' is now called 'max_detections'"),
        ({"norm": "ln"}, "norm=ln: expected one of bn, gn, frozen"),
        ({"backbone": "vgg16"}, "backbone=vgg16: no such network; choose one of resnet18"),
        ({"backbone": "timm/no_such_net"}, "backbone=timm/no_such_net: gives no feature maps"),
        ({"backbone": "timm/resnet18", "norm": "frozen"}, "keeps its own normalisation"),
        ({"norm": "gn", "fpn_channels": 48}, "fpn_channels must be a multiple of 32, found 48"),
        ({"anchor_sizes": [32, 64]}, "anchor_sizes=.*: expected a list of 5 items"),
        ({"stage_ious": [0.5]}, "found 1 IoUs and 3 weights"),
        ({"class_agnostic_boxes": False}, "must be true in a cascade"),
        ({"num_classes": 0}, "num_classes=0: expected an integer from 1"),
        ({"nms_threshold": 1.5}, "nms_threshold=1.5: expected a number from 0 to 1"),
    ],
)
def test_wrong_options_are_refused_with_the_way_out(options, message):
    with pytest.raises(ConfigError, match=message):
        build_detector("cascade_mask_rcnn_r50_fpn", **options)


def test_unknown_architecture():
    with pytest.raises(ConfigError, match="choose one of cascade_mask_rcnn_r50_fpn, mask_rcnn_r50_fpn"):
        build_detector("retinanet")


def test_accept_lists_and_integers_of_configs():
    params = make_config("mask_rcnn_r50_fpn", stage_box_weights=[[10, 10, 5, 5]], score_threshold=0)
    assert params.stage_box_weights == ((10.0, 10.0, 5.0, 5.0),)
    assert isinstance(params.score_threshold, float)


@pytest.mark.golden
@pytest.mark.parametrize("model", ["cascade_imagenet", "mask_rcnn_imagenet", "cascade_semi_coco80"])
def test_weight_names_and_shapes_equal_original(golden_dir, model):
    import json

    name, num_classes = {
        "cascade_imagenet": ("cascade_mask_rcnn_r50_fpn", 1),
        "mask_rcnn_imagenet": ("mask_rcnn_r50_fpn", 1),
        "cascade_semi_coco80": ("cascade_mask_rcnn_r50_fpn", 80),
    }[model]
    official = json.loads((golden_dir / "detector" / "state_dict_keys.json").read_text())[model]
    with torch.device("meta"):
        detector = build_detector(name, num_classes)
    ours = {key: list(value.shape) for key, value in to_detectron2(detector.state_dict()).items()}
    assert ours == {key: entry["shape"] for key, entry in official["state_dict"].items()}
    assert from_detectron2(ours).keys() == detector.state_dict().keys()
    assert sum(p.numel() for p in detector.parameters()) == official["n_parameters"]


@pytest.mark.parametrize(("norm", "kind"), [("bn", nn.BatchNorm2d), ("gn", nn.GroupNorm)])
def test_every_convolution_of_backbone_and_pyramid_is_normalised(norm, kind):
    backbone = build_backbone("resnet18", channels=32, norm=norm)
    normalised = sum(isinstance(module, kind) for module in backbone.modules())
    convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    assert normalised == len(convolutions) == 28
    assert all(conv.bias is None for conv in convolutions)


def test_frozen_norm_has_nothing_to_train():
    backbone = build_backbone("resnet18", channels=32, norm="frozen")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    assert all(parameter.ndim == 4 for parameter in backbone.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "timm/mobilenetv3_small_050"])
def test_pyramid_has_five_levels_of_one_width(name):
    backbone = build_backbone(name, channels=32, norm="bn").eval()
    with torch.no_grad():
        levels = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(level.shape) for level in levels] == [(1, 32, -(-64 // s), -(-96 // s)) for s in (4, 8, 16, 32, 64)]
    assert torch.equal(levels[4], levels[3][:, :, ::2, ::2])


def test_bottleneck_stride_in_3x3_convolution():
    body = build_backbone("resnet50", channels=32, norm="bn").body
    assert body.layer2[0].conv1.stride == (1, 1)
    assert body.layer2[0].conv2.stride == (2, 2)


def test_heads_start_as_the_original_ones():
    heads = build_detector("cascade_mask_rcnn_r50_fpn", **SMALL | {"box_head_dim": 256, "fpn_channels": 64})
    stage, rpn, mask = heads.roi_heads.stages[0], heads.rpn.head, heads.roi_heads.mask_head
    assert stage.predictor["cls_score"].weight.std().item() == pytest.approx(0.01, rel=0.2)
    assert stage.predictor["bbox_pred"].weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert rpn.conv.weight.std().item() == pytest.approx(0.01, rel=0.2)
    assert mask.predictor.weight.std().item() == pytest.approx(0.001, rel=0.6)
    fan_in = stage.head.fc1.in_features
    assert stage.head.fc1.weight.abs().max().item() == pytest.approx((3 / fan_in) ** 0.5, rel=0.01)
    assert mask.convs[0].weight.std().item() == pytest.approx((2 / (8 * 9)) ** 0.5, rel=0.1)
    biases = [p for name, p in heads.named_parameters() if name.endswith("bias") and "backbone" not in name]
    assert not any(bias.any() for bias in biases)

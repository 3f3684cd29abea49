import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cutler_pl.errors import ConfigError
from cutler_pl.models import build_detector
from cutler_pl.training.optim import sgd
from cutler_pl.weights.detectron2_keys import from_detectron2_key


class Heads(nn.Module):
    """Names as in the real detector: only layers under `roi_heads` are the heads' last ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.bbox_pred = nn.Linear(2, 1)
        self.roi_heads = nn.ModuleDict({"cls_score": nn.Linear(2, 1), "fc": nn.Linear(2, 2)})


def by_name(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    values = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    return {name: values[id(p)] for name, p in model.named_parameters() if id(p) in values}


def test_parameter_groups() -> None:
    """Normalisation does not decay; last layers learn faster."""
    model = Heads()
    found = by_name(model, sgd(model, lr=0.1, weight_decay=0.5, head_lr_multiplier=4.0).param_groups)
    assert found == {
        "conv.weight": (0.1, 0.5),
        "conv.bias": (0.1, 0.5),
        "norm.weight": (0.1, 0.0),
        "norm.bias": (0.1, 0.0),
        "bbox_pred.weight": (0.1, 0.5),
        "bbox_pred.bias": (0.1, 0.5),
        "roi_heads.cls_score.weight": (0.4, 0.5),
        "roi_heads.cls_score.bias": (0.4, 0.5),
        "roi_heads.fc.weight": (0.1, 0.5),
        "roi_heads.fc.bias": (0.1, 0.5),
    }


@pytest.mark.parametrize(
    "norm", [nn.SyncBatchNorm(2), nn.GroupNorm(1, 2), nn.LayerNorm(2), nn.InstanceNorm2d(2, affine=True)]
)
def test_every_kind_of_normalisation_is_known(norm: nn.Module) -> None:
    (group,) = sgd(nn.Sequential(norm), lr=1.0, weight_decay=0.5).param_groups
    assert group["weight_decay"] == 0.0
    assert len(group["params"]) == 2


def test_skip_frozen_and_shared_parameters() -> None:
    """Frozen parameters are left out, shared ones come once."""
    shared = nn.Linear(2, 2, bias=False)
    frozen = nn.Linear(2, 2).requires_grad_(False)
    (group,) = sgd(nn.Sequential(shared, shared, frozen), lr=1.0, weight_decay=0.0).param_groups
    assert group["params"] == [shared.weight]


def test_refuse_unmatched_lr_multiplier() -> None:
    with pytest.raises(ConfigError, match=r"head_lr_multiplier=4\.0 .* Linear has none: set it to 1"):
        sgd(nn.Linear(2, 2), lr=0.1, weight_decay=0.0, head_lr_multiplier=4.0)


def test_clipping_is_kept_in_every_group() -> None:
    optimizer = sgd(Heads(), lr=0.1, weight_decay=0.5, head_lr_multiplier=2.0, per_param_clip_norm=1.0)
    assert [group["per_param_clip_norm"] for group in optimizer.param_groups] == [1.0, 1.0, 1.0]


@pytest.mark.golden
@pytest.mark.parametrize(
    "config",
    ["cascade_imagenet", "mask_rcnn_imagenet", "cascade_self_train", "cascade_semi_1perc", "cascade_semi_10perc"],
)
def test_groups_equal_the_original(golden_dir: Path, config: str) -> None:
    golden = json.loads((golden_dir / "detector/solver.json").read_text())[config]
    solver = golden["solver_cfg"]
    name = "mask_rcnn_r50_fpn" if config.startswith("mask_rcnn") else "cascade_mask_rcnn_r50_fpn"
    with torch.device("meta"):
        model = build_detector(name, num_classes=golden["other_cfg"]["ROI_HEADS.NUM_CLASSES"])
    multiplier = max(group["lr"] for group in golden["groups"]) / solver["BASE_LR"]
    optimizer = sgd(
        model,
        lr=solver["BASE_LR"],
        weight_decay=solver["WEIGHT_DECAY"],
        momentum=solver["MOMENTUM"],
        head_lr_multiplier=multiplier,
    )
    expected = {
        from_detectron2_key(key): (value["lr"], value["weight_decay"]) for key, value in golden["per_param"].items()
    }
    assert by_name(model, optimizer.param_groups) == expected
    assert {name for name, _ in model.named_parameters()} == set(expected)
    theirs = Counter((g["lr"], g["weight_decay"], g["n_params"]) for g in golden["groups"])
    ours = Counter((g["lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups)
    assert ours == theirs
    assert all(g["momentum"] == 0.9 and not g["nesterov"] and g["dampening"] == 0 for g in optimizer.param_groups)


@pytest.mark.parametrize(
    ("scale", "batch_size", "rate", "line"),
    [
        ("none", 16, 0.01, "learning rate 0.01 with optimizer.scale=none: 0.01 is for 16 images per step"),
        ("none", 8, 0.01, ", this run has 8; optimizer.scale=linear gives 0.005"),
        (
            "linear",
            8,
            0.005,
            "learning rate 0.005 with optimizer.scale=linear: 0.01 is for 16 images per step, this run ",
        ),
        ("linear", None, 0.01, "learning rate 0.01 with optimizer.scale=linear: 0.01 is for 16 images per step"),
    ],
)
def test_rate_follows_the_images_per_step(
    scale: str, batch_size: int | None, rate: float, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "cutler_pl"):
        optimizer = sgd(Heads(), lr=0.01, weight_decay=0.0, scale=scale, batch_size=batch_size, head_lr_multiplier=2.0)
    assert {group["lr"] for group in optimizer.param_groups} == {rate, 2 * rate}
    assert line in caplog.text


def test_unknown_scale_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.scale=sqrt: expected linear or none"):
        sgd(Heads(), lr=0.1, weight_decay=0.0, scale="sqrt")
    with pytest.raises(ConfigError, match=r"optimizer\.lr_batch_size=0: expected an integer"):
        sgd(Heads(), lr=0.1, weight_decay=0.0, lr_batch_size=0)

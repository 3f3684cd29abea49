"""Files of a backbone alone."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from cutler_pl.errors import CheckpointError
from cutler_pl.models import load_weights
from cutler_pl.weights.load import to_detectron2

from .tiny_detectors import assert_same, copied, tiny


def resnet18() -> nn.Module:
    torch.manual_seed(5)
    return torchvision.models.resnet18(weights=None)


def moco(model: nn.Module) -> dict[str, Any]:
    query = {f"module.encoder_q.{key}": value for key, value in model.state_dict().items() if "fc." not in key}
    key_encoder = {key.replace("encoder_q", "encoder_k"): torch.zeros_like(value) for key, value in query.items()}
    head = {f"module.encoder_q.fc.{i}.weight": torch.zeros(2) for i in (0, 2)}
    return {
        "epoch": 200,
        "arch": "resnet18",
        "state_dict": query | key_encoder | head | {"module.queue": torch.zeros(2)},
    }


def detectron2_backbone(model: nn.Module) -> dict[str, Any]:
    renamed = {}
    for key, value in model.state_dict().items():
        name = re.sub(r"layer(\d)", lambda m: f"res{int(m[1]) + 1}", key)
        name = re.sub(r"bn(\d)", r"conv\1.norm", name)
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        if not name.startswith("fc.") and "num_batches_tracked" not in name:
            renamed[name if name.startswith("res") else f"stem.{name}"] = value.numpy()
    return {"model": renamed, "__author__": "DINO", "matching_heuristics": True}


@pytest.mark.parametrize(
    "convert",
    [lambda model: model.state_dict(), moco, detectron2_backbone],
    ids=["torchvision", "MoCo", "detectron2 pickle"],
)
def test_backbone_file_sets_backbone_alone(tmp_path: Path, convert: Callable[[nn.Module], dict[str, Any]]) -> None:
    source, model = resnet18(), tiny(seed=2)
    before, saved = copied(model), convert(source)
    if "__author__" in saved:
        (tmp_path / "backbone").write_bytes(pickle.dumps(saved))
    else:
        torch.save(saved, tmp_path / "backbone")
    report = load_weights(model, tmp_path / "backbone")
    assert report.kind == "backbone"
    assert set(report.newly_initialized) == {key for key in before if not key.startswith("backbone.body.")}
    expected = {f"backbone.body.{key}": value for key, value in source.state_dict().items()}
    if "__author__" in saved:
        expected |= {key: value for key, value in before.items() if key.endswith("num_batches_tracked")}
    assert_same(model, before | expected)
    assert "newly initialized (all outside the backbone's body)" in str(report)


def test_incomplete_backbone_names_its_keys() -> None:
    """In the names of its file."""
    saved = detectron2_backbone(resnet18())
    del saved["model"]["res3.0.conv1.weight"]
    pattern = re.escape("1 missing in the source: backbone.body.layer2.0.conv1.weight (res3.0.conv1.weight)")
    with pytest.raises(CheckpointError, match=pattern):
        load_weights(tiny(), saved)


def test_deeper_backbone_is_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"layer1\.2\.conv1\.weight"):
        load_weights(tiny(), torchvision.models.resnet34(weights=None).state_dict())


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv3_small_050"])
def test_timm_classifiers_load_into_their_own_backbone(name: str) -> None:
    source = timm.create_model(name, pretrained=False)
    model = tiny(backbone=f"timm/{name}")
    report = load_weights(model, source.state_dict())
    assert report.kind == "backbone"
    assert {key for key in model.state_dict() if key.startswith("backbone.body.")} == set(report.loaded)
    first = next(iter(source.state_dict().values()))
    assert torch.equal(next(iter(model.backbone.body.state_dict().values())), first)


def test_timm_backbone_has_no_detectron2_format() -> None:
    with pytest.raises(CheckpointError, match="detectron2"):
        to_detectron2(tiny(backbone="timm/convnext_atto"))


@pytest.mark.golden
def test_golden_dino_keys_fill_backbone(golden_dir: Path) -> None:
    facts = json.loads((golden_dir / "detector/state_dict_keys.json").read_text())["dino_RN50_pretrain_d2_format_pkl"]
    state = {key: np.full(shape, 2.0, dtype=np.float32) for key, shape in facts["model_keys_shapes"].items()}
    assert len(state) == 265
    model = tiny(backbone="resnet50")
    report = load_weights(model, {"model": state, "__author__": "DINO", "matching_heuristics": True})
    body = {key: value for key, value in model.state_dict().items() if key.startswith("backbone.body.")}
    weights = {key for key in body if not key.endswith("num_batches_tracked")}
    assert set(report.loaded) == weights
    assert len(weights) == 265
    assert all(torch.all(body[key] == 2) for key in weights)

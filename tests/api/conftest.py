"""A small detector whose head always finds something, and its checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cutler_pl.models import build_detector
from cutler_pl.models.checkpoint import detector_config

TINY: dict[str, Any] = {
    "backbone": "resnet18",
    "fpn_channels": 16,
    "box_head_dim": 16,
    "mask_head_channels": 8,
    "mask_head_convs": 1,
    "min_size_test": 64,
    "max_size_test": 96,
    "max_detections": 8,
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with the category ids 4 and 9."""
    torch.manual_seed(0)
    model = build_detector("cascade_mask_rcnn_r50_fpn", 2, **TINY)
    path = tmp_path_factory.mktemp("api") / "tiny.ckpt"
    config = detector_config(model, category_ids=[4, 9], class_names=["cat", "dog"])
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "model_config": config}, path)
    return path


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `checkpoint`, with a tiny backbone: it is copied, hashed and sent."""
    torch.manual_seed(0)
    model = build_detector("cascade_mask_rcnn_r50_fpn", 2, **(TINY | {"backbone": "timm/test_resnet"}))
    config = detector_config(model, category_ids=[4, 9], class_names=["cat", "dog"])
    path = tmp_path_factory.mktemp("hub") / "tiny.ckpt"
    torch.save({"state_dict": model.state_dict(), "model_config": config}, path)
    return path


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)

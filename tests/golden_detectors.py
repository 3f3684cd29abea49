"""Detectors with the golden numbers' weights: made by a rule, since the released files cannot be had everywhere."""

import hashlib
import json
import math
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from cutler_pl.models import Detector, build_detector
from cutler_pl.weights.detectron2_keys import from_detectron2

ARCHITECTURES = {
    "cascade_imagenet": ("cascade_mask_rcnn_r50_fpn", 1),
    "mask_rcnn_imagenet": ("mask_rcnn_r50_fpn", 1),
    "cascade_semi_coco80": ("cascade_mask_rcnn_r50_fpn", 80),
}
_GAINS = {
    "fpn_lateral5": 0.4,
    "fpn_lateral4": 0.3,
    "fpn_lateral": 0.2,
    "fpn_output": 1.0,
    "objectness_logits.weight": 1.0,
    "anchor_deltas.weight": 0.15,
    "cls_score.weight": 1.0,
    "bbox_pred.weight": 0.5,
    "mask_head.predictor.weight": 1.5,
}


def rule_weight(key: str, shape: list[int]) -> np.ndarray:
    """Value of a detectron2 weight by the rule of the golden numbers (NOTES, section 2)."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    n = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(shape))
    if key.endswith(".norm.weight"):
        w = 1.0 + 0.05 * n
    elif key.endswith((".norm.bias", "running_mean")):
        w = 0.05 * n
    elif key.endswith("running_var"):
        w = 1.0 + 0.1 * abs(n)
    elif key.endswith(".bias"):
        w = 0.01 * n
    else:
        axis = 0 if "deconv" in key else 1
        fan = shape[0] if "deconv" in key else math.prod(shape[1:])
        if shape[axis] % 2 == 0:
            half = np.take(n, np.arange(shape[axis] // 2), axis=axis)
            n = np.concatenate([half, -half], axis=axis)
        w = (_gain(key) / math.sqrt(float(fan))) * n
    return w.astype(np.float32)


def _gain(key: str) -> float:
    if "bottom_up" in key:
        return 0.75 if ".conv3." in key else 1.25 if ".shortcut." in key else 2.0
    return next((gain for part, gain in _GAINS.items() if part in key), 2.0)


class DeterministicSampler:
    """Takes candidates in index order: training steps that can be compared number by number."""

    def __call__(self, count: int, device: torch.device) -> Float[Tensor, " boxes"]:
        """Falling priorities."""
        return -torch.arange(count, device=device, dtype=torch.float32)


@pytest.fixture(scope="session")
def detectron2_state(golden_dir: Path) -> Callable[[str], dict[str, torch.Tensor]]:
    """Factory of the rule's state dicts under detectron2's names, checked against the golden checksums."""
    shapes = json.loads((golden_dir / "detector" / "state_dict_keys.json").read_text())
    checksums = json.loads((golden_dir / "detector" / "weights_checksums.json").read_text())["checksums"]

    @cache
    def make(model: str) -> dict[str, torch.Tensor]:
        state = {}
        for key, entry in shapes[model]["state_dict"].items():
            value = rule_weight(key, entry["shape"])
            digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]
            assert digest == checksums[model][key]["sha256_16"], key
            state[key] = torch.from_numpy(value)
        return state

    return make


@pytest.fixture(scope="session")
def golden_detector(detectron2_state) -> Callable[..., Detector]:
    """Factory of detectors with the rule's weights, in eval mode."""

    def make(model: str, **options: object) -> Detector:
        name, num_classes = ARCHITECTURES[model]
        detector = build_detector(name, num_classes, **options)
        detector.load_state_dict(from_detectron2(detectron2_state(model)))
        return detector.eval()

    return make

"""Small detectors whose weights differ by seed."""

import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from cutler_pl.models import Detector, build_detector

CASCADE, SINGLE = "cascade_mask_rcnn_r50_fpn", "mask_rcnn_r50_fpn"


TINY = {"backbone": "resnet18", "fpn_channels": 8, "box_head_dim": 8, "mask_head_channels": 8}


@cache
def template(name: str, num_classes: int, options: tuple[tuple[str, Any], ...]) -> Detector:
    return build_detector(name, num_classes, **dict(options))


def tiny(name: str = CASCADE, num_classes: int = 1, *, seed: int = 0, **options: Any) -> Detector:
    """A small detector; another seed gives other weights everywhere."""
    detector = copy.deepcopy(template(name, num_classes, tuple({**TINY, **options}.items())))
    with torch.no_grad():
        for value in detector.state_dict().values():
            if value.is_floating_point():
                value.add_(1 + seed)
    return detector


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same(model: nn.Module, state: dict[str, Tensor]) -> None:
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key

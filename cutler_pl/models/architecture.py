"""Read the architecture of a detector off its weights: names give the stages, shapes the widths and classes."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cutler_pl.errors import CheckpointError
from cutler_pl.models.config import DetectorConfig
from cutler_pl.weights.detectron2_keys import from_detectron2, is_detectron2

# Whether there is a third convolution per block, and the blocks per layer.
_RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
}
_BLOCK = re.compile(r"backbone\.body\.layer([1-4])\.(\d+)\.conv(\d)\.weight")
_STAGE = "roi_heads.stages.{}.predictor.cls_score.weight"
_MASK_CONV = "roi_heads.mask_head.convs.{}.weight"


def infer_options(state: Mapping[str, Tensor], *, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `build_detector` that the weights determine.

    Args:
        state: Weights of a whole detector, under our or detectron2's names.
        name: What to call them in messages.
        given: Options that are known already and need not be inferred.

    Raises:
        CheckpointError: The weights are not those of a detector, or of one that cannot be told.
    """
    if is_detectron2(state):
        state = from_detectron2(state)
    stages, convs = _count(state, _STAGE), _count(state, _MASK_CONV)
    if not 1 <= stages <= len(DetectorConfig.stage_ious) or not convs:
        raise CheckpointError(
            f"{name}: holds no detector with box and mask heads; give a detector's checkpoint, or build the model and "
            "start from these weights"
        )

    def rows(key: str) -> int:
        if key not in state or not state[key].ndim:
            raise CheckpointError(f"{name}: holds no detector, {key} is missing or one number; fetch the file again")
        return state[key].shape[0]

    num_classes = rows(_STAGE.format(0)) - 1
    box_columns = rows("roi_heads.stages.0.predictor.bbox_pred.weight")
    return {
        "num_classes": num_classes,
        "backbone": given["backbone"] if "backbone" in given else _resnet(state, name),
        "norm": "bn" if "backbone.fpn.inner_blocks.0.1.running_mean" in state else "gn",
        "fpn_channels": rows("backbone.fpn.inner_blocks.0.0.weight"),
        "stage_ious": DetectorConfig.stage_ious[:stages],
        "stage_box_weights": DetectorConfig.stage_box_weights[:stages],
        "class_agnostic_boxes": stages > 1 or (box_columns == 4 and num_classes > 1),
        "box_head_dim": rows("roi_heads.stages.0.head.fc1.weight"),
        "mask_head_channels": rows(_MASK_CONV.format(0)),
        "mask_head_convs": convs,
    }


def _resnet(state: Mapping[str, Tensor], name: str) -> str:
    blocks = [match.groups() for key in state if (match := _BLOCK.fullmatch(key))]
    per_layer = tuple(len({block for layer, block, _ in blocks if layer == str(n)}) for n in range(1, 5))
    backbone = _RESNETS.get((any(conv == "3" for *_, conv in blocks), per_layer))
    if backbone is None:
        raise CheckpointError(
            f"{name}: its backbone is not one of {', '.join(_RESNETS.values())}, and the file does not name it: give "
            "backbone=timm/<name>"
        )
    return backbone


def _count(state: Mapping[str, Tensor], template: str) -> int:
    """How many numbered entries there are, from 0 on."""
    count = 0
    while template.format(count) in state:
        count += 1
    return count

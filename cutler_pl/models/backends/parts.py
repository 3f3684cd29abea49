"""The networks of a detector that are exported one by one: backbone with FPN, RPN head, box heads, mask head."""

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cutler_pl.errors import ConfigError
from cutler_pl.models.detector import Detector
from cutler_pl.models.heads import BOX_POOL_SIZE, MASK_POOL_SIZE

_SHAPED_BY = (
    "num_classes", "backbone", "norm", "fpn_channels", "anchor_ratios", "stage_ious", "class_agnostic_boxes",
    "box_head_dim", "mask_head_channels", "mask_head_convs",
)  # fmt: skip
_EXAMPLE_BATCH = 2  # tracing takes a size of 1 for a constant


class Part(NamedTuple):
    """A network of a detector, which takes one tensor."""

    name: str
    """Of its file."""
    module: str
    """Path of the network in the detector."""
    given: str
    """Name of its input."""
    example: Tensor
    """An input."""
    dynamic: dict[int, str]
    """Axes of the input that may have any size, and their names."""
    outputs: tuple[str, ...]
    """Names of what it gives."""
    note: str
    """What goes in."""


def parts_of(detector: Detector) -> Iterator[Part]:
    """All networks of a detector."""
    channels, images = detector.config.fpn_channels, {0: "batch", 2: "height", 3: "width"}
    yield Part(
        "backbone",
        "backbone",
        "pixels",
        torch.zeros(_EXAMPLE_BATCH, 3, 64, 96),
        images,
        ("p2", "p3", "p4", "p5", "p6"),
        "float32 RGB (batch, 3, height, width), normalised, height and width multiples of 32",
    )
    yield Part(
        "rpn_head",
        "rpn.head",
        "level",
        torch.zeros(_EXAMPLE_BATCH, channels, 16, 24),
        images,
        ("logits", "deltas"),
        "a level of the pyramid",
    )
    for stage in range(len(detector.config.stage_ious)):
        yield Part(
            f"box_head_{stage}",
            f"roi_heads.stages.{stage}",
            "pooled",
            torch.zeros(_EXAMPLE_BATCH, channels, BOX_POOL_SIZE, BOX_POOL_SIZE),
            {0: "proposals"},
            ("logits", "deltas"),
            "pooled features of the proposals",
        )
    yield Part(
        "mask_head",
        "roi_heads.mask_head",
        "pooled",
        torch.zeros(_EXAMPLE_BATCH, channels, MASK_POOL_SIZE, MASK_POOL_SIZE),
        {0: "detections"},
        ("logits",),
        "pooled features of the detections",
    )


def weights_digest(detector: Detector) -> str:
    """SHA-256 of the networks: of their weights, and of the options that shape them."""
    options = {name: getattr(detector.config, name) for name in _SHAPED_BY}
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for name, tensor in sorted(detector.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
    return digest.hexdigest()


def require_weights(detector: Detector) -> None:
    """Make sure that a detector holds its weights as they are stored, no backend having replaced its networks.

    Raises:
        ConfigError: They are in a backend.
    """
    with torch.device("meta"):
        stored = Detector(detector.config).state_dict()
    if stored.keys() != detector.state_dict().keys():
        raise ConfigError("a backend holds the weights of this detector in its own form; load it with backend=torch")


def network(detector: Detector, part: Part) -> nn.Module:
    """The module of a part."""
    return detector.get_submodule(part.module)

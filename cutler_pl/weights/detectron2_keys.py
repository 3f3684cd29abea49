"""Names of weights: detectron2's, torchvision's and ours, and how to get from one to the other.

Every rule is a pair of templates that reads both ways, so a checkpoint converted to our names and back is the same
file. Only names change, never values: this package keeps the background as the last class inside the heads, as
detectron2 does, and torchvision's ResNet holds the same tensors in the same layout.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TypeVar

from cutler_pl.errors import CheckpointError

Value = TypeVar("Value")

# Saved by older versions of detectron2: constants, not weights.
_CONSTANTS = re.compile(r"pixel_(mean|std)|(.*\.)?anchor_generator\.cell_anchors\.\d+")
_CLASSIFIER = re.compile(r"(stem\.|head\.|linear\.)?fc\.(weight|bias)")
_LEAF = r"weight|bias|running_mean|running_var|num_batches_tracked"
_TOKENS = {"{n}": r"(?P<n>\d+)", "{i}": r"(?P<i>\d+)", "{c}": r"(?P<c>\d+)", "{name}": r"(?P<name>\w+)"}

# (detectron2's name, our name, how much larger {n} is in detectron2's); {leaf} is added to each.
_BACKBONE = (
    ("backbone.bottom_up.stem.conv1", "backbone.body.conv1", 0),
    ("backbone.bottom_up.stem.conv1.norm", "backbone.body.bn1", 0),
    ("backbone.bottom_up.res{n}.{i}.conv{c}", "backbone.body.layer{n}.{i}.conv{c}", 1),
    ("backbone.bottom_up.res{n}.{i}.conv{c}.norm", "backbone.body.layer{n}.{i}.bn{c}", 1),
    ("backbone.bottom_up.res{n}.{i}.shortcut", "backbone.body.layer{n}.{i}.downsample.0", 1),
    ("backbone.bottom_up.res{n}.{i}.shortcut.norm", "backbone.body.layer{n}.{i}.downsample.1", 1),
    ("backbone.fpn_lateral{n}", "backbone.fpn.inner_blocks.{n}.0", 2),
    ("backbone.fpn_lateral{n}.norm", "backbone.fpn.inner_blocks.{n}.1", 2),
    ("backbone.fpn_output{n}", "backbone.fpn.layer_blocks.{n}.0", 2),
    ("backbone.fpn_output{n}.norm", "backbone.fpn.layer_blocks.{n}.1", 2),
)
_HEADS = (
    ("proposal_generator.rpn_head.{name}", "rpn.head.{name}", 0),
    ("roi_heads.mask_head.mask_fcn{n}", "roi_heads.mask_head.convs.{n}", 1),
    ("roi_heads.mask_head.{name}", "roi_heads.mask_head.{name}", 0),
)
_CASCADE = (
    ("roi_heads.box_head.{n}.{name}", "roi_heads.stages.{n}.head.{name}", 0),
    ("roi_heads.box_predictor.{n}.{name}", "roi_heads.stages.{n}.predictor.{name}", 0),
)
_SINGLE = (
    ("roi_heads.box_head.{name}", "roi_heads.stages.0.head.{name}", 0),
    ("roi_heads.box_predictor.{name}", "roi_heads.stages.0.predictor.{name}", 0),
)


def from_detectron2_key(key: str) -> str | None:
    """Our name of a weight of a detectron2 checkpoint.

    Args:
        key: Name in a whole detector (`backbone.bottom_up.res2.0.conv1.weight`) or in a backbone alone, as the DINO
            and MoCo pickles have it (`res2.0.conv1.weight`).

    Returns:
        The name in `build_detector`'s state dict, or None where there is nothing to load: detectron2's constants
        and an ImageNet classifier.

    Raises:
        CheckpointError: No rule knows the name.
    """
    if _CONSTANTS.fullmatch(key) or _CLASSIFIER.fullmatch(key):
        return None
    whole = f"backbone.bottom_up.{key}" if key.startswith(("stem.", "res")) else key
    for theirs, ours, shift in (*_BACKBONE, *_HEADS, *_CASCADE, *_SINGLE):
        renamed = _rename(whole, theirs, ours, -shift)
        if renamed is not None:
            return renamed
    raise CheckpointError(f"weight {key!r} is not one of a detectron2 ResNet-FPN detector, so it has no place here")


def to_detectron2_key(key: str, *, cascade: bool) -> str:
    """Detectron2's name of one of our weights.

    Args:
        key: Name in `build_detector`'s state dict.
        cascade: Whether the detector is a cascade: detectron2 numbers the stages only then.

    Raises:
        CheckpointError: Detectron2 has no such weight, as with a timm backbone.
    """
    for theirs, ours, shift in (*_BACKBONE, *_HEADS, *(_CASCADE if cascade else _SINGLE)):
        renamed = _rename(key, ours, theirs, shift)
        if renamed is not None:
            return renamed
    raise CheckpointError(
        f"weight {key!r} has no name in detectron2's format; only ResNet backbones and the built-in heads have one"
    )


def is_detectron2(keys: Iterable[str]) -> bool:
    """Whether the names are detectron2's names of a whole detector, not ours."""
    return any(key.startswith(("backbone.bottom_up.", "proposal_generator.")) for key in keys)


def is_cascade(keys: Iterable[str]) -> bool:
    """Whether our names are those of a detector with several stages."""
    return any(key.startswith("roi_heads.stages.1.") for key in keys)


def from_detectron2(state: Mapping[str, Value]) -> dict[str, Value]:
    """A detectron2 state dict under our names, in its order, without constants and classifier.

    Raises:
        CheckpointError: A name is unknown; the message lists all that are.
    """
    renamed: dict[str, Value] = {}
    unknown = []
    for key, value in state.items():
        try:
            ours = from_detectron2_key(key)
        except CheckpointError:
            unknown.append(key)
            continue
        if ours is not None:
            renamed[ours] = value
    if unknown:
        raise CheckpointError(f"not weights of a detectron2 ResNet-FPN detector: {', '.join(unknown)}")
    return renamed


def to_detectron2(state: Mapping[str, Value]) -> dict[str, Value]:
    """A state dict of ours under detectron2's names, in its order.

    Raises:
        CheckpointError: A weight has no name there.
    """
    cascade = is_cascade(state)
    return {to_detectron2_key(key, cascade=cascade): value for key, value in state.items()}


def _rename(key: str, source: str, target: str, shift: int) -> str | None:
    match = _pattern(source).fullmatch(key)
    if match is None:
        return None
    values = match.groupdict()
    if "n" in values:
        values["n"] = str(int(values["n"]) + shift)
    return f"{target}.{{leaf}}".format(**values)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    expression = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    for token, group in _TOKENS.items():
        expression = expression.replace(token, group)
    return re.compile(rf"{expression}\.(?P<leaf>{_LEAF})")

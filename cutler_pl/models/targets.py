"""The targets of a batch in tensors of one shape, so that all images can be matched at once."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cutler_pl.types import Target


class PaddedTargets(NamedTuple):
    """At least one row per image; rows beyond its objects have an empty box, which overlaps nothing, and class 0."""

    boxes: Float[Tensor, "batch gt 4"]
    classes: Int64[Tensor, "batch gt"]
    """Counted from 0."""
    counts: list[int]
    """Objects of each image."""


def pad_targets(targets: Sequence[Target]) -> PaddedTargets:
    """Put the objects of all images into tensors of one shape."""
    boxes = pad_sequence([target["boxes"].float() for target in targets], batch_first=True)
    classes = pad_sequence([target["labels"] - 1 for target in targets], batch_first=True)
    counts = [len(target["boxes"]) for target in targets]
    if boxes.shape[1] == 0:
        return PaddedTargets(boxes.new_zeros(len(targets), 1, 4), classes.new_zeros(len(targets), 1), counts)
    return PaddedTargets(boxes, classes, counts)

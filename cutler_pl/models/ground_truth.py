"""The ground truth of a batch in tensors of one shape, so that all images can be matched at once."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cutler_pl.types import Target


class GroundTruth(NamedTuple):
    """At least one row an image; rows beyond its objects have an empty box, which overlaps nothing, and class 0."""

    boxes: Float[Tensor, "batch gt 4"]
    classes: Int64[Tensor, "batch gt"]
    """Counted from 0."""


def pad_targets(targets: Sequence[Target]) -> GroundTruth:
    """Put the objects of all images into tensors of one shape."""
    boxes = pad_sequence([target["boxes"].float() for target in targets], batch_first=True)
    classes = pad_sequence([target["labels"] - 1 for target in targets], batch_first=True)
    if boxes.shape[1] == 0:
        return GroundTruth(boxes.new_zeros(len(targets), 1, 4), classes.new_zeros(len(targets), 1))
    return GroundTruth(boxes, classes)


def batched_gather(
    values: Shaped[Tensor, "batch rows *each"], indices: Int64[Tensor, "batch picked"]
) -> Shaped[Tensor, "batch picked *each"]:
    """For each image the rows of its own values that the indices name."""
    image = torch.arange(len(values), device=values.device)[:, None]
    return values[image, indices]

"""Groups: consecutive images of a batch, within which copy-paste draws its partners and losses are normalised.

The loss of a batch is the mean over its groups. Rows (proposals, boxes) get weights that make their weighted sum that
mean, so that no loop over groups is needed.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def effective_group_size(num_images: int, group_size: int | None) -> int:
    """Images per group of a batch: all of them where they are no multiple of `group_size`, or it is None."""
    return num_images if group_size is None or num_images % group_size else group_size


def row_weights(images: Int64[Tensor, " rows"], *, num_images: int, group_size: int) -> Float[Tensor, " rows"] | None:
    """Weight of each row, 1 / (groups × rows of its group): the weighted sum is the mean over groups of their means.

    A group without rows counts as a mean of 0.

    Args:
        images: Index of each row's image in the batch.
        num_images: Images of the batch.
        group_size: Images per group.

    Returns:
        None for a single group, whose mean is the plain one.
    """
    num_groups = num_images // group_size
    if num_groups == 1:
        return None
    group = images // group_size
    ones = torch.ones_like(group, dtype=torch.float)
    counts = ones.new_zeros(num_groups).index_add_(0, group, ones)
    return 1 / (num_groups * counts[group])

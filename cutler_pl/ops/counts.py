"""How often each of a few numbers occurs."""

import torch
from jaxtyping import Int64
from torch import Tensor


def count_each(values: Int64[Tensor, " values"], stop: int) -> list[int]:
    """Occurrences of 0 to stop - 1: `torch.bincount`, which waits for a GPU three times, with one wait."""
    numbers = torch.arange(stop, device=values.device)
    counts: list[int] = (values == numbers[:, None]).sum(1).tolist()
    return counts

"""Random generators that depend on a key alone."""

import torch


def generator(*key: int) -> torch.Generator:
    """CPU random generator for a key such as (seed, rank, step): equal keys give equal streams, on every machine."""
    state = 0x9E3779B97F4A7C15
    for part in key:  # splitmix64, so that neighbouring keys give unrelated seeds
        state = (state ^ (part & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return torch.Generator().manual_seed(state & 0x7FFFFFFFFFFFFFFF)
